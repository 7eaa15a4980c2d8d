//! Scenarios run against balancers, round by round.
//!
//! Owns who takes part and in which order. Balancers take turns within a round, and another one is
//! first in each round, so that whatever the machine does meanwhile befalls them alike.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::peer::Kind;
use crate::report::{Made, Played, Report, Run};
use crate::run::{Contender, Progress, run};
use crate::scenario::Scenario;

/// What is to be run.
#[derive(Debug)]
pub struct Campaign {
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// Who takes part.
    pub contenders: Vec<Contender>,
    /// Who was asked for and cannot take part, with the reason.
    pub absent: Vec<String>,
    /// How often; absent: as each scenario says.
    pub rounds: Option<u32>,
    /// `pinfold-loadtest`, for the nodes.
    pub edge: PathBuf,
}

impl Campaign {
    /// Finds the programs of `kinds`; whoever is missing is named in `absent`, not guessed.
    ///
    /// # Errors
    /// This program does not know where it is.
    pub fn of(
        scenarios: Vec<Scenario>,
        kinds: &[Kind],
        pinfold: Option<&Path>,
    ) -> io::Result<Self> {
        let mut absent = Vec::new();
        let mut contenders = Vec::new();
        for &kind in kinds {
            let given = pinfold.filter(|_| kind == Kind::Pinfold);
            let found = match (given, kind) {
                (Some(path), _) => Ok(path.to_owned()),
                (None, Kind::Direct) => Ok(PathBuf::new()),
                (None, _) => kind.find(),
            };
            match found {
                Ok(program) => contenders.push(Contender::Program { kind, program }),
                Err(error) => absent.push(error.to_string()),
            }
        }
        Ok(Self {
            scenarios,
            contenders,
            absent,
            rounds: None,
            edge: std::env::current_exe()?,
        })
    }

    /// Runs everything. What fails is in the report.
    #[must_use]
    pub fn run(&self, progress: &Progress) -> Report {
        let made = self.made();
        let scenarios = self
            .scenarios
            .iter()
            .map(|scenario| self.play(scenario, progress));
        Report {
            scenarios: scenarios.collect(),
            made,
        }
    }

    /// How much measuring there is in all.
    #[must_use]
    pub fn length(&self) -> Duration {
        let scenarios = self.scenarios.iter();
        let once = scenarios.map(|scenario| scenario.run.measure.0 * self.rounds_of(scenario));
        once.sum::<Duration>() * u32::try_from(self.contenders.len()).unwrap_or(u32::MAX)
    }

    fn rounds_of(&self, scenario: &Scenario) -> u32 {
        self.rounds.unwrap_or(scenario.run.rounds)
    }

    fn play(&self, scenario: &Scenario, progress: &Progress) -> Played {
        let mut runs = Vec::new();
        let mut failures = self.absent.clone();
        let rounds = self.rounds_of(scenario);
        let (mut able, mut left_out) = (Vec::new(), Vec::new());
        for contender in &self.contenders {
            match contender.cannot_run(scenario) {
                None => able.push(contender),
                Some(why) => left_out.push(format!("{}: {why}", contender.name())),
            }
        }
        if able.is_empty() {
            failures.append(&mut left_out);
        }
        for round in 1..=rounds {
            let mut turn = able.clone();
            let first = (round as usize - 1)
                .checked_rem(turn.len())
                .unwrap_or_default();
            turn.rotate_left(first);
            for contender in turn {
                let (name, who) = (&scenario.name, contender.name());
                progress.title(format!("{name} · {who} · {round} of {rounds}"));
                match run(scenario, contender, &self.edge, progress) {
                    Ok(findings) => runs.push(Run { round, findings }),
                    Err(error) => failures.push(format!("{who}, round {round}: {error}")),
                }
            }
        }
        let mut played = Played::weigh(scenario, runs, failures);
        played.left_out.append(&mut left_out);
        played
    }

    fn made(&self) -> Made {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let models = processors
            .lines()
            .filter_map(|line| line.strip_prefix("model name"));
        let models: Vec<_> = models
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']))
            .collect();
        let versions = self
            .contenders
            .iter()
            .filter_map(|contender| match contender {
                Contender::Program { kind, program } if *kind != Kind::Direct => {
                    Some((kind.name().to_owned(), kind.version(program)))
                }
                Contender::Program { .. } | Contender::Elsewhere(_) => None,
            });
        Made {
            at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            command: command(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: models
                .first()
                .map_or_else(String::new, |model| (*model).to_owned()),
            processors: models.len(),
            versions: versions.collect(),
        }
    }
}

/// The command as it was given, without the path of this program.
fn command() -> String {
    let name = std::iter::once(env!("CARGO_PKG_NAME").to_owned());
    let words = name.chain(std::env::args().skip(1));
    words.collect::<Vec<_>>().join(" ")
}
