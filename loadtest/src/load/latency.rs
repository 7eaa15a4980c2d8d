//! How long units of a load took.
//!
//! Owns the histograms of one window, a slice each quarter of a second: a latency belongs to the
//! slice in which its message was due.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Short beside a noisy neighbour's turn, long enough for a percentile of its own.
const SLICE: Duration = Duration::from_millis(250);
/// Whoever waits longer than this has been lost.
const LONGEST_US: u64 = 60_000_000;

/// How long units took, by slices of the window.
#[derive(Debug)]
pub struct Latency {
    start: Instant,
    end: Instant,
    slices: Vec<Histogram<u64>>,
    lateness: Histogram<u64>,
    unanswered: u64,
}

impl Latency {
    pub(super) fn new(start: Instant, length: Duration) -> Self {
        let slices = length.as_nanos().div_ceil(SLICE.as_nanos());
        let slices = usize::try_from(slices).unwrap_or(1).clamp(1, 100_000);
        Self {
            start,
            end: start + length,
            unanswered: 0,
            // Not cloned: so the memory of a slice comes to be when it is written to.
            slices: (0..slices).map(|_| histogram()).collect(),
            lateness: histogram(),
        }
    }

    pub(super) fn add(&mut self, due: Instant, now: Instant) {
        let Some(since) = due.checked_duration_since(self.start) else {
            return;
        };
        let slice = usize::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX);
        if let Some(slice) = self.slices.get_mut(slice) {
            slice.saturating_record(micros(now.saturating_duration_since(due)));
        }
    }

    /// Nothing has answered by `now` what was due `count` times at `due`: it has taken at least so
    /// long, and what was due before the window has been waited for throughout.
    pub(super) fn add_unanswered(&mut self, due: Instant, now: Instant, count: u32) {
        if due < self.end {
            self.unanswered += u64::from(count);
            let since = due.max(self.start);
            (0..count).for_each(|_| self.add(since, now));
        }
    }

    pub(super) fn add_lateness(&mut self, lateness: Duration) {
        self.lateness.saturating_record(micros(lateness));
    }

    /// All latencies, in microseconds.
    #[must_use]
    pub fn all(&self) -> Histogram<u64> {
        self.sum(self.slices.iter())
    }

    /// The latencies of the calmer half of the slices, by their 99th percentile: a neighbour on the
    /// machine disturbs some slices, a slow balancer all of them.
    #[must_use]
    pub fn calm(&self) -> Histogram<u64> {
        let mut slices: Vec<_> = self
            .slices
            .iter()
            .filter(|slice| !slice.is_empty())
            .collect();
        slices.sort_by_key(|slice| slice.value_at_quantile(0.99));
        let half = slices.len().div_ceil(2);
        self.sum(slices.into_iter().take(half))
    }

    /// The 99th percentile of each slice, in microseconds; zero where nothing was due.
    #[must_use]
    pub fn course(&self) -> Vec<u64> {
        let p99 = |slice: &Histogram<u64>| slice.value_at_quantile(0.99);
        self.slices.iter().map(p99).collect()
    }

    /// How late this program itself was in sending, in microseconds.
    #[must_use]
    pub const fn lateness(&self) -> &Histogram<u64> {
        &self.lateness
    }

    /// How much of what was due before the end of the window was not answered in time to count.
    #[must_use]
    pub const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    fn sum<'a>(&self, slices: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
        let mut sum = histogram();
        for slice in slices {
            // Of one shape, so nothing can be refused.
            let _ = sum.add(slice);
        }
        sum
    }
}

/// Three digits: a thousandth of any figure.
fn histogram() -> Histogram<u64> {
    // With explicit bounds: one that grows by itself saturates at two microseconds.
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constants in order")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_from_the_time_it_was_due_and_only_within_the_window() {
        let start = Instant::now();
        let mut latency = Latency::new(start, Duration::from_secs(1));
        latency.add(start - Duration::from_millis(1), start);
        latency.add(
            start + Duration::from_secs(2),
            start + Duration::from_secs(3),
        );
        assert!(latency.all().is_empty());
        latency.add(start, start + Duration::from_millis(40));
        assert!(latency.all().max().abs_diff(40_000) < 100);
    }

    #[test]
    fn the_calm_half_leaves_a_disturbed_slice_out_and_keeps_a_slow_balancer() {
        let start = Instant::now();
        let mut latency = Latency::new(start, Duration::from_secs(1));
        for (slice, millis) in [(0, 2), (1, 90), (2, 2), (3, 3)] {
            let due = start + SLICE * slice;
            for _ in 0..100 {
                latency.add(due, due + Duration::from_millis(millis));
            }
        }
        assert!(latency.calm().max() < 2_100);
        assert!(latency.all().max() >= 90_000);
        assert_eq!(latency.course().len(), 4);
    }
}
