//! Measures how long a stubborn partner is cut off when its node fails.
//!
//! Owns the rounds: who serves the partner, the fault, the wait, the figure. The balancer is a
//! program of its own, met through its configuration file, its admin socket and signals
//! (`balancer`); the nodes are processes too, so that they are killed and stopped for real. The
//! partner and the bystanders run on a thread of their own (`stage`), undisturbed by polling.

mod balancer;
mod report;
mod stage;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use self::balancer::Balancer;
use self::report::Tally;
pub use self::report::{Gaps, Report};
use self::stage::Stage;
use crate::partner::Stats;
use crate::process::{EdgeProcess, wait_until};

/// A round in which this passes without another node has failed.
const ROUND_LIMIT: Duration = Duration::from_secs(10);

/// How long nodes and sessions may take to settle between two rounds.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);

/// A pause that must cut nobody.
const PAUSE: Duration = Duration::from_millis(500);

/// After a pause, long enough for a late verdict to show.
const AFTERMATH: Duration = Duration::from_millis(500);

const NODES: usize = 3;

/// What happens to the partner's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// SIGKILL: its port refuses.
    Kill,
    /// SIGSTOP: its kernel still accepts.
    Freeze,
    /// SIGSTOP for half a second, then SIGCONT: nobody may be moved.
    Pause500,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The balancer, run as `BALANCER serve --config FILE`.
    pub balancer: PathBuf,
    /// `pinfold-loadtest`, for the nodes.
    pub edge: PathBuf,
    /// What is done to the partner's node, round after round.
    pub fault: Fault,
    /// How often.
    pub rounds: u32,
    /// Bystanders.
    pub sessions: usize,
    /// Reloads before each fault.
    pub reloads: u32,
}

/// Runs all rounds and reports.
///
/// # Errors
/// The nodes or the balancer cannot be started; what the balancer said is in the message. A
/// failed round is no error: it is in the report.
pub fn failover_gap(plan: &Plan) -> io::Result<Report> {
    let mut bench = Bench::set_up(plan)?;
    let mut tally = Tally::new()?;
    let mut report = Report::new(plan);
    for round in 1..=plan.rounds {
        match bench.round(plan) {
            Ok(outcome) => {
                tally.add(outcome.gap);
                report.others_disturbed += outcome.others_disturbed;
            }
            Err(error) => report.failed.push(format!("round {round}: {error}")),
        }
        if let Err(error) = bench.mend() {
            report.failed.push(format!("after round {round}: {error}"));
            break;
        }
    }
    report.gap_us = tally.gaps();
    if !report.failed.is_empty() {
        report.balancer_output = bench.balancer.output();
    }
    Ok(report)
}

#[derive(Debug)]
struct Outcome {
    gap: Duration,
    others_disturbed: u64,
}

/// Everything that is needed for a round; the order of fields is the order of ending.
#[derive(Debug)]
struct Bench {
    stage: Stage,
    balancer: Balancer,
    edges: Vec<EdgeProcess>,
    broken: Option<usize>,
}

impl Bench {
    fn set_up(plan: &Plan) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let names = (1..=NODES).map(|number| format!("edge{number}"));
        let edges: io::Result<Vec<_>> = names
            .map(|name| EdgeProcess::spawn(&plan.edge, &name, any))
            .collect();
        let edges = edges?;
        let nodes = edges.iter().map(|edge| (edge.name(), edge.address()));
        let balancer = Balancer::start(&plan.balancer, nodes)?;
        let stage = Stage::open(balancer.address(), plan.sessions)?;
        let bench = Self {
            stage,
            balancer,
            edges,
            broken: None,
        };
        bench.wait_until_calm()?;
        Ok(bench)
    }

    fn round(&mut self, plan: &Plan) -> io::Result<Outcome> {
        for _ in 0..plan.reloads {
            self.balancer.reload()?;
        }
        let before = self.stage.partner().stats();
        let node = before.node.clone().unwrap_or_default();
        let edge = self.edges.iter().position(|edge| edge.name() == node);
        let edge = edge.ok_or_else(|| io::Error::other("nobody serves the partner"))?;
        let bystanders = self.stage.background().stats();
        self.broken = Some(edge);
        let gap = match plan.fault {
            Fault::Kill => {
                self.at(edge)?.kill()?;
                self.wait_for_another(&before, &node)?
            }
            Fault::Freeze => {
                self.at(edge)?.freeze()?;
                self.wait_for_another(&before, &node)?
            }
            Fault::Pause500 => self.pause(&before, edge)?,
        };
        let after = self.stage.background().stats();
        let spared = if plan.fault == Fault::Pause500 {
            ""
        } else {
            node.as_str()
        };
        let disturbed = after.disturbed_elsewhere(spared);
        let others_disturbed = disturbed - bystanders.disturbed_elsewhere(spared);
        Ok(Outcome {
            gap,
            others_disturbed,
        })
    }

    fn at(&mut self, edge: usize) -> io::Result<&mut EdgeProcess> {
        self.edges
            .get_mut(edge)
            .ok_or_else(|| io::Error::other("no such node"))
    }

    fn wait_for_another(&self, before: &Stats, node: &str) -> io::Result<Duration> {
        wait_until(ROUND_LIMIT, || {
            let stats = self.stage.partner().stats();
            let fresh = usize::try_from(stats.gaps_total - before.gaps_total).ok()?;
            let mut gaps = stats.gaps.iter().rev().take(fresh);
            gaps.find(|gap| gap.from_node == node && gap.to_node != node)
                .map(|gap| gap.duration)
        })
        .ok_or_else(|| {
            let stats = self.stage.partner().stats();
            io::Error::other(format!("\"{node}\" was not replaced in time: {stats:?}"))
        })
    }

    /// Pauses the node and tells how long the partner heard nothing.
    fn pause(&mut self, before: &Stats, edge: usize) -> io::Result<Duration> {
        self.at(edge)?.freeze()?;
        let partner = self.stage.partner();
        let mut silence = Duration::ZERO;
        wait_until(PAUSE, || {
            silence = silence.max(partner.stats().silent_for);
            None::<()>
        });
        self.at(edge)?.thaw()?;
        let partner = self.stage.partner();
        wait_until(AFTERMATH, || {
            silence = silence.max(partner.stats().silent_for);
            None::<()>
        });
        let after = partner.stats();
        if after.gaps_total != before.gaps_total || after.connections != before.connections {
            return Err(io::Error::other(format!(
                "a pause cut the partner: {after:?}"
            )));
        }
        if after.silent_for > PAUSE {
            return Err(io::Error::other(
                "the partner is still waiting for an answer",
            ));
        }
        Ok(silence)
    }

    /// Brings the broken node back and waits until all is as before the round.
    fn mend(&mut self) -> io::Result<()> {
        if let Some(edge) = self.broken.take() {
            let edge = self.at(edge)?;
            if edge.thaw().is_err() {
                edge.restart()?;
            }
        }
        self.wait_until_calm()
    }

    fn wait_until_calm(&self) -> io::Result<()> {
        let calm = wait_until(SETTLE_LIMIT, || {
            let partner = self.stage.partner().stats();
            let served = partner.connected && partner.silent_for < Duration::from_millis(100);
            let complete = self.stage.is_complete();
            (served && complete && self.balancer.nodes_up().ok()? == NODES).then_some(())
        });
        calm.ok_or_else(|| {
            let (partner, others) = (
                self.stage.partner().stats(),
                self.stage.background().stats(),
            );
            io::Error::other(format!(
                "no calm: partner {partner:?}; bystanders {others:?}; balancer:\n{}",
                self.balancer.output()
            ))
        })
    }
}
