//! One run of a scenario against one balancer: nodes, balancer, loads, events, figures.
//!
//! Owns the order of things and the window that counts. The loads run on a thread of their own; this
//! one looks at the balancer's cost from time to time and makes happen what the scenario says.

mod disturbed;
mod figures;
mod fit;
mod nodes;
mod progress;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::figures::{Edges, Window};
use self::nodes::Nodes;
pub use self::progress::Progress;
use crate::cost::Cost;
use crate::load::{Record, Stage, Target};
use crate::peer::{Description, ELSEWHERE, Kind, PartnerAddress, Peer};
use crate::process::{raise_descriptor_limit, rest_until, wait_until};
use crate::scenario::{Listener, Load, Scenario};

/// From one look at the balancer's cost to the next.
const SAMPLE: Duration = Duration::from_millis(500);

/// After what a scenario says by itself, such as signing in.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// After the window: answers to what was due in it may still come.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Who is measured.
#[derive(Clone, Debug)]
pub enum Contender {
    /// A balancer that the harness starts.
    Program {
        /// What it is.
        kind: Kind,
        /// Where its program is.
        program: PathBuf,
    },
    /// One that others run, at these addresses, and with nodes that others run.
    Elsewhere(Vec<Target>),
}

impl Contender {
    /// Its name in figures and reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Program { kind, .. } => kind.name(),
            Self::Elsewhere(_) => ELSEWHERE,
        }
    }

    /// Why `scenario` cannot be run against it: something is to happen that cannot be made to.
    #[must_use]
    pub fn cannot_run(&self, scenario: &Scenario) -> Option<&'static str> {
        let mut reloads = scenario
            .events
            .iter()
            .filter(|event| event.to == "balancer");
        match self {
            Self::Program { kind, .. } => reloads.next().and_then(|_| kind.refuses_to_reload()),
            Self::Elsewhere(_) if scenario.events.is_empty() => None,
            Self::Elsewhere(_) => Some("what others run cannot be made to fail from here"),
        }
    }

    fn refuses(&self, listener: &Listener) -> Option<&'static str> {
        match self {
            Self::Program { kind, .. } => kind.refuses(listener),
            Self::Elsewhere(_) => None,
        }
    }
}

/// What a run found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Who was measured.
    pub balancer: String,
    /// Every figure by its name, `LOAD.FIGURE` or `balancer.FIGURE`.
    pub figures: BTreeMap<String, f64>,
    /// The latencies of each load that has them.
    pub latencies: BTreeMap<String, Curve>,
    /// The course of the run.
    pub course: Vec<Sample>,
    /// What happened when.
    pub events: Vec<Happened>,
    /// Every time a partner or a flow went without its node.
    pub gaps: Vec<TimedGap>,
    /// What was not done, and why.
    pub left_out: Vec<String>,
}

/// Latencies of one load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Quantile and microseconds, in order.
    pub quantiles: Vec<(f64, u64)>,
    /// The 99th percentile of each quarter of a second, in microseconds.
    pub slices: Vec<u64>,
}

/// The balancer at one moment of the window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the window opened.
    pub at: f64,
    /// Processors kept busy since the sample before.
    pub processors: f64,
    /// Resident memory in MiB.
    pub resident_mib: f64,
}

/// An event that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Happened {
    /// Seconds since the window opened.
    pub at: f64,
    /// To whom.
    pub to: String,
    /// What.
    pub command: String,
}

/// A partner or a flow without its node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TimedGap {
    /// Who.
    pub partner: String,
    /// Seconds since the window opened, of the first good answer after it.
    pub at: f64,
    /// Who answered last before it.
    pub from: String,
    /// Who answered first after it.
    pub to: String,
    /// How long nobody answered, in milliseconds.
    pub ms: f64,
}

/// Runs `scenario` once against `contender`, with nodes that are processes of `edge`.
///
/// # Errors
/// The nodes or the balancer cannot be started; the loads do not settle. What the balancer said is in
/// the message.
pub fn run(
    scenario: &Scenario,
    contender: &Contender,
    edge: &Path,
    progress: &Progress,
) -> io::Result<Findings> {
    let mut left_out = scenario.limited.clone();
    let scenario = fit::fit(
        scenario,
        |listener| contender.refuses(listener),
        &mut left_out,
    )?;
    progress.phase("starting");
    let mut bench = Bench::set_up(&scenario, contender, edge)?;
    let measured = bench.measure(&scenario, progress);
    let mut findings = measured.map_err(|error| {
        let said = bench.peer.last_words();
        io::Error::other(format!("{error}\n{said}"))
    })?;
    contender.name().clone_into(&mut findings.balancer);
    findings.left_out = left_out;
    Ok(findings)
}

/// The order of fields is the order of ending.
#[derive(Debug)]
struct Bench {
    stage: Option<Stage>,
    peer: Peer,
    partners: Vec<PartnerAddress>,
    nodes: Nodes,
}

impl Bench {
    fn set_up(scenario: &Scenario, contender: &Contender, edge: &Path) -> io::Result<Self> {
        let partners = partners_of(scenario);
        let (peer, nodes) = match contender {
            Contender::Elsewhere(targets) => (Peer::at(targets.clone()), Nodes::none()),
            Contender::Program { kind, program } => {
                let nodes = Nodes::start(edge, &scenario.nodes.names())?;
                let addresses = nodes.addresses();
                let description = describe(scenario, &addresses, &partners);
                (Peer::start(*kind, program, &description)?, nodes)
            }
        };
        Ok(Self {
            stage: None,
            peer,
            partners,
            nodes,
        })
    }

    fn measure(&mut self, scenario: &Scenario, progress: &Progress) -> io::Result<Findings> {
        let at_rest = self.cost()?;
        let stage = Stage::open(scenario, self.peer.targets())?;
        self.settle(scenario, &stage, progress)?;
        let length = scenario.run.measure.0;
        progress.phase("warming up");
        rest_until(Instant::now() + scenario.run.warm_up.0);
        progress.phase("measuring");
        let window = Window::open(stage.records(), length, at_rest);
        let before = Edges::read(self.cost()?, stage.records());
        self.stage = Some(stage);
        let start = window.start();
        let (course, events, last) = self.watch(scenario, start, &before.cost, progress)?;
        let after = Edges::read(self.cost()?.with_ended(&last), self.records());
        rest_until(Instant::now() + AFTERMATH);
        let mut findings =
            window.close(self.records(), &scenario.balancer, &before, &after, &events);
        findings.course = course;
        findings.events = events;
        Ok(findings)
    }

    fn records(&self) -> &[std::sync::Arc<Record>] {
        self.stage.as_ref().map_or(&[], |stage| stage.records())
    }

    fn cost(&self) -> io::Result<Cost> {
        self.peer
            .pid()
            .map_or_else(|| Ok(Cost::default()), Cost::read)
    }

    fn settle(&self, scenario: &Scenario, stage: &Stage, progress: &Progress) -> io::Result<()> {
        progress.phase("settling");
        let longest = scenario
            .loads()
            .map(Load::opening)
            .max()
            .unwrap_or_default();
        wait_until(SETTLE_LIMIT.saturating_add(longest), || {
            stage.is_settled().then_some(())
        })
        .ok_or_else(|| {
            let waiting = stage.records().iter().filter(|record| !record.is_settled());
            let waiting: Vec<_> = waiting
                .map(|record| {
                    let troubles = record.close_window().1;
                    format!(
                        "{} ({} stand, {troubles:?})",
                        record.name(),
                        record.standing()
                    )
                })
                .collect();
            io::Error::other(format!("the loads did not settle: {}", waiting.join(", ")))
        })
    }

    /// Lets the window pass: looks at the balancer, and makes happen what is to happen. The cost at the
    /// last look comes with it.
    fn watch(
        &mut self,
        scenario: &Scenario,
        start: Instant,
        before: &Cost,
        progress: &Progress,
    ) -> io::Result<(Vec<Sample>, Vec<Happened>, Cost)> {
        let mut agenda: Vec<_> = scenario
            .events
            .iter()
            .flat_map(|event| event.occurrences().map(move |at| (start + at, event)))
            .collect();
        agenda.sort_by_key(|(at, _)| *at);
        let mut agenda = agenda.into_iter().peekable();
        let end = start + scenario.run.measure.0;
        let (mut course, mut events) = (Vec::new(), Vec::new());
        let (mut last, mut last_at) = (before.clone(), Instant::now());
        let mut next_sample = start + SAMPLE;
        loop {
            let next_event = agenda.peek().map_or(end, |(at, _)| *at);
            rest_until(next_event.min(next_sample).min(end));
            let now = Instant::now();
            if now >= end && next_event >= end {
                if let Some((_, event)) = agenda.peek() {
                    return Err(io::Error::other(format!(
                        "the event \"{}\" never came: the measuring was over",
                        event.command
                    )));
                }
                return Ok((course, events, last));
            }
            if let Some((_, event)) = agenda.next_if(|(at, _)| *at <= now) {
                let to = self.happen(scenario, &event.to, &event.command)?;
                events.push(Happened {
                    at: (now - start).as_secs_f64(),
                    to,
                    command: event.command.clone(),
                });
            }
            if now >= next_sample {
                let cost = self.cost()?.with_ended(&last);
                let busy = cost.processor().saturating_sub(last.processor());
                course.push(Sample {
                    at: (now - start).as_secs_f64(),
                    processors: busy.as_secs_f64() / (now - last_at).as_secs_f64(),
                    resident_mib: mib(cost.resident_bytes),
                });
                (last, last_at) = (cost, now);
                next_sample += SAMPLE;
                progress.advance(SAMPLE);
            }
        }
    }

    /// Does to `to` what `command` says, and tells to whom that was.
    fn happen(&mut self, scenario: &Scenario, to: &str, command: &str) -> io::Result<String> {
        if to == "balancer" {
            let addresses = self.nodes.addresses();
            let description = describe(scenario, &addresses, &self.partners);
            self.peer.reload(&description)?;
            return Ok(to.to_owned());
        }
        let node = match to.strip_prefix("of ") {
            Some(group) => self.serving(scenario, group)?,
            None => to.to_owned(),
        };
        self.nodes.happen(&node, command)
    }

    /// The node that serves the first partner of `group`.
    fn serving(&self, scenario: &Scenario, group: &str) -> io::Result<String> {
        let at = scenario.loads().position(|load| load.name() == group);
        let record = at.and_then(|at| self.records().get(at));
        let life = record.and_then(|record| record.partners().into_iter().next());
        life.and_then(|life| life.stats.node)
            .ok_or_else(|| io::Error::other(format!("nobody serves {group}")))
    }
}

fn describe<'a>(
    scenario: &'a Scenario,
    nodes: &'a [(String, SocketAddr)],
    partners: &'a [PartnerAddress],
) -> Description<'a> {
    Description {
        balancer: &scenario.balancer,
        nodes,
        partners,
        descriptors: raise_descriptor_limit().unwrap_or_default(),
    }
}

fn partners_of(scenario: &Scenario) -> Vec<PartnerAddress> {
    let groups = scenario.partners.iter();
    let partners = groups.flat_map(|group| {
        (0..group.partners).map(|number| PartnerAddress {
            name: group.name_of(number),
            address: group.address_of(number).into(),
            generation: group.generation,
        })
    });
    partners.collect()
}

fn mib(bytes: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "memory of a process, exact to the byte or not"
    )]
    let bytes = bytes as f64;
    bytes / 1024.0 / 1024.0
}
