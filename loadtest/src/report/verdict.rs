//! Whether what was found is what must hold.
//!
//! Pure. An expectation must hold in every run: what happens once in five runs happens to users. A
//! ratio is one balancer's figure over another's in the same round, and the median over the rounds
//! counts, because neighbours on the machine disturb single runs.

use serde::{Deserialize, Serialize};

use super::{Run, balancers, median, spread};
use crate::peer::Kind;
use crate::scenario::{Expectation, Ratio, Scenario};

/// An expectation and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Of whom.
    pub balancer: String,
    /// Which figure.
    pub figure: String,
    /// Not more than this.
    pub at_most: Option<f64>,
    /// Not less than this.
    pub at_least: Option<f64>,
    /// The worst of what was found; absent: it was not measured.
    pub found: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}

/// A ratio and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioFound {
    /// Which figure.
    pub figure: String,
    /// Ours.
    pub balancer: String,
    /// The better of those it is held against.
    pub against: String,
    /// Ours over theirs may be so much.
    pub at_most: f64,
    /// Ours over theirs, round by round.
    pub rounds: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Whether it holds.
    pub holds: bool,
}

impl RatioFound {
    /// The least and the greatest over the rounds.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        spread(&self.rounds).unwrap_or((self.median, self.median))
    }
}

/// Every expectation of every balancer it is meant for and that was run.
pub(super) fn checks(scenario: &Scenario, runs: &[Run]) -> Vec<Check> {
    let balancers = balancers(runs);
    let mut checks = Vec::new();
    for expectation in &scenario.expectations {
        let meant = |balancer: &&&str| {
            expectation.only.is_empty() || expectation.only.iter().any(|name| name == *balancer)
        };
        checks.extend(balancers.iter().filter(meant).filter_map(|balancer| {
            let runs = runs.iter().filter(|run| run.findings.balancer == *balancer);
            check(expectation, balancer, &runs.collect::<Vec<_>>())
        }));
    }
    checks
}

/// `None`: the load it is about was left out of every run.
fn check(expectation: &Expectation, balancer: &str, runs: &[&Run]) -> Option<Check> {
    let load = expectation.figure.split('.').next().unwrap_or_default();
    let prefix = format!("{load}:");
    let is_left_out = |run: &&Run| {
        let mut left_out = run.findings.left_out.iter();
        let any = |figure: &String| figure.split('.').next() == Some(load);
        left_out.any(|note| note.starts_with(&prefix)) && !run.findings.figures.keys().any(any)
    };
    if runs.iter().all(is_left_out) {
        return None;
    }
    let found: Option<Vec<f64>> = runs
        .iter()
        .map(|run| run.findings.figures.get(&expectation.figure).copied())
        .collect();
    let extremes = found.as_deref().and_then(spread);
    let exceeds =
        |(_, greatest): (f64, f64)| expectation.at_most.is_some_and(|most| greatest > most);
    let lacks = |(least, _): (f64, f64)| expectation.at_least.is_some_and(|floor| least < floor);
    let worst = extremes.map(|(least, greatest)| {
        if expectation.at_most.is_none() || lacks((least, greatest)) {
            least
        } else {
            greatest
        }
    });
    Some(Check {
        balancer: balancer.to_owned(),
        figure: expectation.figure.clone(),
        at_most: expectation.at_most,
        at_least: expectation.at_least,
        found: worst,
        holds: extremes.is_some_and(|both| !exceeds(both) && !lacks(both)),
    })
}

/// Every ratio of which both sides were run.
pub(super) fn ratios(scenario: &Scenario, runs: &[Run]) -> Vec<RatioFound> {
    let ratios = scenario.ratios.iter();
    ratios.filter_map(|wanted| ratio(wanted, runs)).collect()
}

/// The other ratios, in words, where balancers were compared at all.
pub(super) fn unweighed(scenario: &Scenario, runs: &[Run]) -> Vec<String> {
    let is_compared = balancers(runs).len() > 1;
    let ratios = scenario
        .ratios
        .iter()
        .filter(|_| is_compared)
        .filter(|wanted| ratio(wanted, runs).is_none());
    let note = |wanted: &Ratio| {
        let (figure, rivals) = (&wanted.figure, wanted.against.join(" or "));
        let ours = Kind::Pinfold.name();
        format!("the ratio of {figure}: it takes {ours} beside {rivals}")
    };
    ratios.map(note).collect()
}

fn ratio(wanted: &Ratio, runs: &[Run]) -> Option<RatioFound> {
    let ours = Kind::Pinfold.name();
    let of = |balancer: &str| -> Vec<(u32, f64)> {
        let runs = runs.iter().filter(|run| run.findings.balancer == balancer);
        runs.filter_map(|run| Some((run.round, *run.findings.figures.get(&wanted.figure)?)))
            .collect()
    };
    let values = |of: &[(u32, f64)]| of.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    let rivals = wanted.against.iter().filter_map(|name| {
        let theirs = of(name);
        Some((name, median(&values(&theirs))?, theirs))
    });
    let (against, _, theirs) = rivals.min_by(|one, other| one.1.total_cmp(&other.1))?;
    let rounds: Vec<f64> = of(ours)
        .into_iter()
        .filter_map(|(round, value)| {
            let (_, other) = theirs
                .iter()
                .find(|(their_round, _)| *their_round == round)?;
            (*other > 0.0).then(|| value / other)
        })
        .collect();
    let median = median(&rounds)?;
    Some(RatioFound {
        figure: wanted.figure.clone(),
        balancer: ours.to_owned(),
        against: against.clone(),
        at_most: wanted.at_most,
        holds: median <= wanted.at_most,
        rounds,
        median,
    })
}
