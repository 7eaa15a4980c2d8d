//! Invented histories of a pool, replayed against the pure layer: no sockets, no real time.
//!
//! A history is drawn from a seed. `PINFOLD_SIM_SEED=n` replays one; `PINFOLD_SIM_SEEDS=n` runs
//! that many. A failure names the seed and the step.

#![forbid(unsafe_code)]

mod driver;
mod history;
mod invariants;
mod world;

use driver::Rule;
use history::run;

/// Runs in a few seconds without optimisation.
const SEEDS: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_invented_history_keeps_the_invariants() {
    if let Some(seed) = number("PINFOLD_SIM_SEED") {
        println!("{:?}", run(seed, Rule::AsBuilt).unwrap());
        return;
    }
    let seeds = number("PINFOLD_SIM_SEEDS").unwrap_or(SEEDS);
    let mut total = driver::Tally::default();
    for seed in 0..seeds {
        match run(seed, Rule::AsBuilt) {
            Ok(tally) => total.add(&tally),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{seeds} histories: {total:?}");
    total.assert_everything_happened();
}

/// How many of the first histories break an invariant under a rule that is wrong on purpose.
fn caught(rule: Rule) -> usize {
    (0..200).filter(|seed| run(*seed, rule).is_err()).count()
}

#[test]
fn a_driver_that_ignores_cuts_is_caught() {
    assert!(caught(Rule::IgnoresCuts) > 20);
}

#[test]
fn a_driver_that_counts_soft_evidence_as_hard_is_caught() {
    assert!(caught(Rule::CountsSoftEvidence) > 20);
}

#[test]
fn a_driver_that_forgets_to_release_leases_is_caught() {
    assert!(caught(Rule::LeaksLeases) > 20);
}

#[test]
fn a_driver_that_counts_its_own_shortages_is_caught() {
    assert!(caught(Rule::CountsShortages) > 20);
}
