//! A virtual schedule: at what moment the next of many may come who shall keep a rate.
//!
//! The generic cell rate algorithm (ITU-T I.371) in one number, the moment at which whoever keeps the rate
//! exactly would come next; a tolerance lets some come together. Keeps nothing itself, so that the number
//! may live in an atomic or under a lock.

use std::time::Duration;

use crate::clock::Moment;
use crate::config::model::Rate;

/// A place in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it is; never before now.
    pub at: Moment,
    /// The schedule once the place is taken.
    pub next: Moment,
}

/// The next place after the schedule stands at `next`, when it is `now`.
#[must_use]
pub fn slot(next: Moment, rate: Rate, tolerance: Duration, now: Moment) -> Slot {
    let step = rate.per / rate.count.max(1);
    let tolerance = u64::try_from(tolerance.as_micros()).unwrap_or(u64::MAX);
    let earliest = Moment::from_micros(now.as_micros().saturating_sub(tolerance));
    let place = next.max(earliest);
    Slot {
        at: place.max(now),
        next: place + step,
    }
}

/// The tolerance that lets a whole period's worth come together.
#[must_use]
pub fn whole_period(rate: Rate) -> Duration {
    rate.per - rate.per / rate.count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        count: 5,
        per: Duration::from_secs(1),
    };

    /// How many of those who come every millisecond for `seconds` come in time.
    fn in_time(tolerance: Duration, seconds: u64) -> usize {
        let mut next = Moment::START;
        let moments = (10_000_000..10_000_000 + seconds * 1_000_000).step_by(1000);
        let mut came = |micros| {
            let now = Moment::from_micros(micros);
            let slot = slot(next, RATE, tolerance, now);
            let is_in_time = slot.at == now;
            if is_in_time {
                next = slot.next;
            }
            is_in_time
        };
        moments.filter(|micros| came(*micros)).count()
    }

    #[test]
    fn the_rate_is_kept_over_time_and_the_tolerance_is_given_once() {
        assert_eq!(in_time(Duration::ZERO, 10), 50);
        assert_eq!(in_time(whole_period(RATE), 10), 54);
    }
}
