//! What a measurement found, for people and for programs.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Fault, Plan};

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

impl Gaps {
    pub(super) fn of(gaps: &Histogram<u64>) -> Self {
        Self {
            p50: gaps.value_at_quantile(0.5),
            p90: gaps.value_at_quantile(0.9),
            p99: gaps.value_at_quantile(0.99),
            max: gaps.max(),
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
