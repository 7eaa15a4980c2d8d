//! What a measurement found, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Fault, Plan};

/// Far beyond the limit of a round.
const LONGEST_US: u64 = 3_600_000_000;

/// How long the partner heard nothing, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gaps {
    /// Half of the rounds were quicker.
    pub p50: u64,
    /// Nine of ten rounds were quicker.
    pub p90: u64,
    /// All but one of a hundred were quicker.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

/// The gaps of all rounds so far.
#[derive(Debug)]
pub(super) struct Tally(Histogram<u64>);

impl Tally {
    pub(super) fn new() -> io::Result<Self> {
        // With explicit bounds: a histogram that grows by itself saturates at two microseconds.
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, 3);
        bounds.map(Self).map_err(io::Error::other)
    }

    pub(super) fn add(&mut self, gap: Duration) {
        let micros = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    pub(super) fn gaps(&self) -> Gaps {
        Gaps {
            p50: self.0.value_at_quantile(0.5),
            p90: self.0.value_at_quantile(0.9),
            p99: self.0.value_at_quantile(0.99),
            max: self.0.max(),
        }
    }
}

/// The outcome of all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was done to the node.
    pub fault: Fault,
    /// How often.
    pub rounds: u32,
    /// Reloads before each fault.
    pub reloads: u32,
    /// The figures of the rounds that did not fail.
    pub gap_us: Gaps,
    /// Bystanders.
    pub other_sessions: usize,
    /// How often one of them was disturbed although its node was well.
    pub others_disturbed: u64,
    /// What went wrong, a sentence each.
    pub failed: Vec<String>,
    /// What the balancer said, if something went wrong.
    pub balancer_output: String,
}

impl Report {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            fault: plan.fault,
            rounds: plan.rounds,
            reloads: plan.reloads,
            gap_us: Gaps::default(),
            other_sessions: plan.sessions,
            others_disturbed: 0,
            failed: Vec::new(),
            balancer_output: String::new(),
        }
    }

    /// Writes it for people.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            fault,
            rounds,
            reloads,
            gap_us,
            ..
        } = self;
        writeln!(
            out,
            "{rounds} rounds of {fault:?}, {reloads} reloads before each"
        )?;
        for (label, micros) in [
            ("p50", gap_us.p50),
            ("p90", gap_us.p90),
            ("p99", gap_us.p99),
            ("max", gap_us.max),
        ] {
            writeln!(
                out,
                "  {label} {:>7}.{:03} ms",
                micros / 1000,
                micros % 1000
            )?;
        }
        let (disturbed, others) = (self.others_disturbed, self.other_sessions);
        writeln!(
            out,
            "  {others} other sessions, disturbed {disturbed} times"
        )?;
        for failure in &self.failed {
            writeln!(out, "  failed: {failure}")?;
        }
        out.write_all(self.balancer_output.as_bytes())
    }

    /// Writes it for programs, on one line.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_keep_their_size_within_a_thousandth() {
        let mut tally = Tally::new().unwrap();
        assert_eq!(tally.gaps(), Gaps::default());
        for millis in 1..=100 {
            tally.add(Duration::from_millis(millis));
        }
        let gaps = tally.gaps();
        let expected = [
            (gaps.p50, 50),
            (gaps.p90, 90),
            (gaps.p99, 99),
            (gaps.max, 100),
        ];
        for (found, millis) in expected {
            assert!(
                found.abs_diff(millis * 1000) <= millis,
                "{found} for {millis} ms"
            );
        }
        tally.add(Duration::MAX);
        assert!(tally.gaps().max >= LONGEST_US);
    }
}
