//! What is to be done when, the next first.
//!
//! Pure: knows no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Entries by their time.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    entries: BinaryHeap<Reverse<(Instant, T)>>,
}

impl<T: Ord> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            entries: BinaryHeap::new(),
        }
    }
}

impl<T: Ord> Agenda<T> {
    pub(super) fn enter(&mut self, at: Instant, what: T) {
        self.entries.push(Reverse((at, what)));
    }

    /// The time of the next entry.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next entry whose time has come by `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > now {
            return None;
        }
        self.entries.pop().map(|Reverse(entry)| entry)
    }
}

/// The pause to the next of random arrivals whose mean distance is `mean` (a Poisson process).
pub(super) fn random_pause(mean: Duration) -> Duration {
    // 1 - f64() is never zero.
    let factor = -(1.0 - fastrand::f64()).ln();
    mean.mul_f64(factor)
}

/// When it is the turn of `number` among `count`, if all have their turns within `length`.
pub(super) fn turn(length: Duration, number: u32, count: u32) -> Duration {
    length.mul_f64(f64::from(number) / f64::from(count.max(1)))
}

/// The distance of events that come `rate` times a second.
pub(super) fn period(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate.max(1e-6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_their_times_and_never_early() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        for millis in [5_u32, 1, 3, 3] {
            agenda.enter(start + Duration::from_millis(millis.into()), millis);
        }
        assert_eq!(agenda.take_due(start), None);
        let now = start + Duration::from_millis(4);
        let due: Vec<_> = std::iter::from_fn(|| agenda.take_due(now)).collect();
        assert_eq!(
            due.iter().map(|(_, what)| *what).collect::<Vec<_>>(),
            [1, 3, 3]
        );
        assert_eq!(agenda.next_at(), Some(start + Duration::from_millis(5)));
    }

    #[test]
    fn random_pauses_have_the_mean_they_are_asked_for() {
        fastrand::seed(7);
        let mean = Duration::from_millis(10);
        let total: Duration = (0..20_000).map(|_| random_pause(mean)).sum();
        let found = total / 20_000;
        assert!(
            found.abs_diff(mean) < Duration::from_micros(500),
            "{found:?}"
        );
    }
}
