//! What was run and found, for programs and for people.
//!
//! Owns the shape of a report. It is JSON as it stands; `text` shows it on a terminal, `html` as a page.

mod charts;
mod html;
mod svg;
mod text;
mod verdict;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

pub use self::text::Detail;
pub use self::verdict::{Check, RatioFound};
use crate::figure;
use crate::run::Findings;
use crate::scenario::{Load, Scenario};

/// One run of the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where and when.
    pub made: Made,
    /// What was run, in order.
    pub scenarios: Vec<Played>,
}

/// Where and when a report was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// When it began, RFC 3339.
    pub at: String,
    /// The command.
    pub command: String,
    /// The kernel.
    pub kernel: String,
    /// The processor, as it calls itself.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// What each balancer says of its version.
    pub versions: BTreeMap<String, String>,
}

/// A scenario that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Played {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it shows.
    pub about: String,
    /// Whose figures there are, in the order in which they are shown.
    #[serde(default)]
    pub loads: Vec<String>,
    /// Every run, in the order in which they were made.
    pub runs: Vec<Run>,
    /// What must hold of one balancer.
    pub checks: Vec<Check>,
    /// What must hold beside others.
    pub ratios: Vec<RatioFound>,
    /// Who was not run and what could not be weighed, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Runs that failed, and balancers that could not be had.
    pub failures: Vec<String>,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// From 1.
    pub round: u32,
    /// What it found.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Played {
    /// Weighs the runs of `scenario`.
    #[must_use]
    pub fn weigh(scenario: &Scenario, runs: Vec<Run>, failures: Vec<String>) -> Self {
        Self {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            about: scenario.about.trim().to_owned(),
            loads: in_order(scenario),
            checks: verdict::checks(scenario, &runs),
            ratios: verdict::ratios(scenario, &runs),
            left_out: verdict::unweighed(scenario, &runs),
            runs,
            failures,
        }
    }

    /// Whether everything holds and nothing failed.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Self {
            checks,
            ratios,
            failures,
            ..
        } = self;
        failures.is_empty()
            && checks.iter().all(|check| check.holds)
            && ratios.iter().all(|ratio| ratio.holds)
    }

    /// The balancers that were run, in the order of their first run.
    #[must_use]
    pub fn balancers(&self) -> Vec<&str> {
        balancers(&self.runs)
    }

    /// Every figure that says something, load by load, what matters first.
    fn figures(&self) -> Vec<&str> {
        let all = self.runs.iter().flat_map(|run| run.findings.figures.iter());
        let telling = all.filter(|(_, value)| **value != 0.0);
        let mut figures: Vec<_> = telling.map(|(figure, _)| figure.as_str()).collect();
        let place = |figure: &str| {
            let load = figure.split('.').next().unwrap_or_default();
            let at = self.loads.iter().position(|known| known == load);
            (at.unwrap_or(self.loads.len()), figure::rank(figure))
        };
        figures.sort_by_key(|figure| (place(figure), *figure));
        figures.dedup();
        figures
    }

    /// What was left out, of whom, and who was.
    fn notes(&self) -> Vec<String> {
        let notes = self.runs.iter().flat_map(|run| {
            let Findings {
                balancer, left_out, ..
            } = &run.findings;
            left_out
                .iter()
                .map(move |note| format!("{balancer}: {note}"))
        });
        let mut notes: Vec<_> = notes.chain(self.left_out.iter().cloned()).collect();
        notes.sort_unstable();
        notes.dedup();
        notes
    }

    /// `figure` of every run of `balancer`, by round.
    #[must_use]
    pub fn values(&self, balancer: &str, figure: &str) -> Vec<f64> {
        let runs = self
            .runs
            .iter()
            .filter(|run| run.findings.balancer == balancer);
        runs.filter_map(|run| run.findings.figures.get(figure).copied())
            .collect()
    }
}

impl Report {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.scenarios.iter().all(Played::holds)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// What writing refuses.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Reads what [`write_json`](Self::write_json) wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read_json(text: &str) -> io::Result<Self> {
        Ok(serde_json::from_str(text)?)
    }
}

/// Whose figures a scenario has: partners first, for whom all this is.
fn in_order(scenario: &Scenario) -> Vec<String> {
    let (partners, others): (Vec<_>, Vec<_>) = scenario
        .loads()
        .partition(|load| matches!(load, Load::Partners(_)));
    let loads = partners.into_iter().chain(others);
    let names = loads.map(|load| load.name().to_owned());
    names.chain([figure::BALANCER.to_owned()]).collect()
}

/// The balancers of `runs`, in the order of their first run.
fn balancers(runs: &[Run]) -> Vec<&str> {
    let mut names = Vec::new();
    for run in runs {
        let name = run.findings.balancer.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The middle of `values`; of an even number, the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = sorted.get(middle.checked_sub(1)?).copied()?;
    Some(f64::midpoint(lower, upper))
}

/// The least and the greatest of `values`.
#[must_use]
pub fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let greatest = values.iter().copied().max_by(f64::total_cmp)?;
    Some((least, greatest))
}

#[cfg(test)]
mod tests;
