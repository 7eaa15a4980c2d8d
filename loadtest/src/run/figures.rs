//! From what was counted to figures with names.
//!
//! Names and order are those of [`crate::figure`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Curve, Findings, Happened, TimedGap, disturbed, mib};
use crate::cost::Cost;
use crate::figure;
use crate::load::{Gap, Latency, Life, Record, Trouble, Unit};
use crate::scenario::Balancer;

/// Counts at one edge of the window.
#[derive(Debug)]
pub(super) struct Edges {
    pub(super) cost: Cost,
    at: Instant,
    units: Vec<u64>,
}

impl Edges {
    pub(super) fn read(cost: Cost, records: &[Arc<Record>]) -> Self {
        Self {
            cost,
            at: Instant::now(),
            units: records.iter().map(|record| record.units()).collect(),
        }
    }
}

/// The window that counts, open.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    at_rest: Cost,
    /// What the partners of each load had lived through before.
    lives: Vec<Vec<Life>>,
}

impl Window {
    /// Opens it for so long; `at_rest` is the balancer before anybody called.
    pub(super) fn open(records: &[Arc<Record>], length: Duration, at_rest: Cost) -> Self {
        let start = Instant::now();
        records
            .iter()
            .for_each(|record| record.open_window(start, length));
        Self {
            start,
            at_rest,
            lives: records.iter().map(|record| record.partners()).collect(),
        }
    }

    pub(super) const fn start(&self) -> Instant {
        self.start
    }

    /// Closes it, and names what it has found.
    pub(super) fn close(
        &self,
        records: &[Arc<Record>],
        balancer: &Balancer,
        before: &Edges,
        after: &Edges,
        events: &[Happened],
    ) -> Findings {
        let mut findings = Findings::default();
        let seconds = (after.at - before.at).as_secs_f64();
        let spent = after
            .cost
            .processor()
            .saturating_sub(before.cost.processor());
        let is_only = records.len() == 1;
        for (at, record) in records.iter().enumerate() {
            let counted = |edge: &Edges| edge.units.get(at).copied().unwrap_or_default();
            let units = counted(after).saturating_sub(counted(before));
            let mut load = OfLoad {
                name: record.name(),
                findings: &mut findings,
            };
            load.rates(record.unit(), units, seconds);
            if is_only {
                load.costs(record.unit(), units, spent);
            }
            if is_only && record.unit() == Unit::Session {
                load.room(record.standing(), &self.at_rest, &after.cost);
            }
            load.figure("standing", whole(record.standing()));
            let (latency, troubles) = record.close_window();
            let is_timed = !matches!(record.unit(), Unit::Byte | Unit::Session);
            load.latencies(latency.as_ref().filter(|_| is_timed));
            load.troubles(&troubles);
            if matches!(
                record.unit(),
                Unit::RoundTrip | Unit::Session | Unit::Packet
            ) {
                let ends = disturbed::elsewhere(&record.take_ends(), events, self.start);
                load.figure("disturbed_elsewhere", whole(ends));
            }
            if let Some(lives) = self.lives.get(at) {
                load.gaps(lives, &record.partners(), (self.start, events));
            }
        }
        of_balancer(&mut findings, balancer, before, after, spent, seconds);
        findings
    }
}

/// Names figures of one load.
struct OfLoad<'a> {
    name: &'a str,
    findings: &'a mut Findings,
}

impl OfLoad<'_> {
    fn figure(&mut self, figure: &str, value: f64) {
        let name = format!("{}.{figure}", self.name);
        debug_assert!(figure::find(&name).is_some(), "{name} is not listed");
        self.findings.figures.insert(name, value);
    }

    fn rates(&mut self, unit: Unit, units: u64, seconds: f64) {
        match unit {
            Unit::Byte => self.figure("gb_per_second", whole(units) / 1e9 / seconds),
            Unit::Session => {}
            Unit::RoundTrip | Unit::Connection | Unit::Packet => {
                self.figure("per_second", whole(units) / seconds);
            }
        }
    }

    fn costs(&mut self, unit: Unit, units: u64, spent: Duration) {
        if units == 0 || spent.is_zero() {
            return;
        }
        let each = spent.as_secs_f64() / whole(units);
        match unit {
            Unit::Byte => self.figure("cpu_s_per_gb", each * 1e9),
            Unit::Session => {}
            Unit::RoundTrip | Unit::Connection | Unit::Packet => self.figure("cpu_us", each * 1e6),
        }
    }

    fn room(&mut self, standing: u64, at_rest: &Cost, after: &Cost) {
        if standing == 0 || after.descriptors == 0 {
            return;
        }
        let bytes = after.resident_bytes.saturating_sub(at_rest.resident_bytes);
        let descriptors = after.descriptors.saturating_sub(at_rest.descriptors);
        self.figure("kib_per_session", whole(bytes) / 1024.0 / whole(standing));
        self.figure(
            "descriptors_per_session",
            whole(descriptors) / whole(standing),
        );
    }

    fn latencies(&mut self, latency: Option<&Latency>) {
        let Some(latency) = latency else {
            return;
        };
        self.figure("unanswered", whole(latency.unanswered()));
        let all = latency.all();
        if all.is_empty() {
            return;
        }
        for (figure, quantile) in [
            ("p50_us", 0.5),
            ("p90_us", 0.9),
            ("p99_us", 0.99),
            ("max_us", 1.0),
        ] {
            self.figure(figure, whole(all.value_at_quantile(quantile)));
        }
        self.figure("calm_p99_us", whole(latency.calm().value_at_quantile(0.99)));
        if !latency.lateness().is_empty() {
            let lateness = latency.lateness();
            self.figure("late_p99_us", whole(lateness.value_at_quantile(0.99)));
            self.figure("late_max_us", whole(lateness.max()));
        }
        let curve = Curve {
            quantiles: QUANTILES
                .map(|quantile| (quantile, all.value_at_quantile(quantile)))
                .to_vec(),
            slices: latency.course(),
        };
        self.findings.latencies.insert(self.name.to_owned(), curve);
    }

    fn troubles(&mut self, troubles: &BTreeMap<Trouble, u64>) {
        self.figure("troubles", whole(troubles.values().sum()));
        for trouble in Trouble::ALL {
            let count = troubles.get(&trouble).copied().unwrap_or_default();
            self.figure(trouble.name(), whole(count));
        }
    }

    /// How long partners and flows went without a node.
    fn gaps(&mut self, before: &[Life], after: &[Life], (start, events): (Instant, &[Happened])) {
        if after.is_empty() {
            return;
        }
        let mut gaps = Vec::new();
        let (mut not_back, mut violations) = (0, 0);
        let mut silence = Duration::ZERO;
        for life in after {
            let earlier = before.iter().find(|earlier| earlier.name == life.name);
            let known = earlier.map_or(0, |earlier| earlier.stats.gaps_total);
            let fresh = usize::try_from(life.stats.gaps_total - known).unwrap_or(usize::MAX);
            let oldest = life.stats.gaps.len().saturating_sub(fresh);
            let fresh = life.stats.gaps.iter().skip(oldest);
            gaps.extend(fresh.map(|gap| timed(gap, life, start)));
            let waits = life.waits.iter().map(|gap| timed(gap, life, start));
            gaps.extend(waits.filter(|gap| disturbed::is_by_event(gap, events)));
            silence = silence.max(life.silence);
            not_back += life.connections.saturating_sub(life.served);
            violations += life.pin_violations - earlier.map_or(0, |earlier| earlier.pin_violations);
        }
        gaps.sort_by(|one, other| one.at.total_cmp(&other.at));
        let has_moved = |gap: &&TimedGap| gap.from != gap.to && gap.to != NOBODY;
        let moves = gaps.iter().filter(has_moved).count();
        self.figure("moves", whole(moves as u64));
        let counts = |gap: &&TimedGap| has_moved(gap) || disturbed::is_by_event(gap, events);
        let mut lengths: Vec<_> = gaps.iter().filter(counts).map(|gap| gap.ms).collect();
        lengths.sort_by(f64::total_cmp);
        for (figure, quantile) in [
            ("gap_p50_ms", 0.5),
            ("gap_p99_ms", 0.99),
            ("gap_max_ms", 1.0),
        ] {
            if let Some(gap) = at_quantile(&lengths, quantile) {
                self.figure(figure, gap);
            }
        }
        self.figure("silence_max_ms", silence.as_secs_f64() * 1e3);
        self.figure("not_back", whole(not_back as u64));
        self.figure("pin_violations", whole(violations));
        self.findings.gaps.extend(gaps);
    }
}

/// Who answers after a gap that lasts.
const NOBODY: &str = "nobody";

fn timed(gap: &Gap, life: &Life, start: Instant) -> TimedGap {
    let to = Some(gap.to_node.as_str()).filter(|to| !to.is_empty());
    TimedGap {
        partner: life.name.clone(),
        at: gap.until.saturating_duration_since(start).as_secs_f64(),
        from: gap.from_node.clone(),
        to: to.unwrap_or(NOBODY).to_owned(),
        ms: gap.duration.as_secs_f64() * 1e3,
    }
}

fn of_balancer(
    findings: &mut Findings,
    balancer: &Balancer,
    before: &Edges,
    after: &Edges,
    spent: Duration,
    seconds: f64,
) {
    // One that others run shows none of this.
    if after.cost.threads.is_empty() {
        return;
    }
    let mut figure = |name: &str, value: f64| {
        let name = format!("{}.{name}", figure::BALANCER);
        debug_assert!(figure::find(&name).is_some(), "{name} is not listed");
        findings.figures.insert(name, value);
    };
    figure("processors", spent.as_secs_f64() / seconds);
    figure("resident_mib", mib(after.cost.resident_bytes));
    figure("descriptors", whole(after.cost.descriptors));
    let relaying = after.cost.threads_since(&before.cost);
    let relaying = relaying.iter().take(balancer.threads as usize);
    let (count, sum) = (relaying.len(), relaying.clone().sum::<Duration>());
    if let Some(busiest) = relaying.clone().next().filter(|busiest| !busiest.is_zero()) {
        figure(
            "imbalance",
            busiest.as_secs_f64() * whole(count as u64) / sum.as_secs_f64(),
        );
    }
}

/// The value at `quantile` of sorted `values`, by the nearest rank.
fn at_quantile(values: &[f64], quantile: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within a short list"
    )]
    let rank = (values.len() as f64 * quantile).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Counts here stay far below where a float would round them.
#[expect(clippy::cast_precision_loss, reason = "counts and bytes of one run")]
const fn whole(count: u64) -> f64 {
    count as f64
}

/// Where a curve of latencies is drawn: evenly on a scale of nines.
const QUANTILES: [f64; 13] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_the_nearest_rank() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(at_quantile(&values, 0.5), Some(2.0));
        assert_eq!(at_quantile(&values, 0.99), Some(4.0));
        assert_eq!(at_quantile(&values, 1.0), Some(4.0));
        assert_eq!(at_quantile(&[], 0.5), None);
    }
}
