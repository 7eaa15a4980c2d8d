//! Whether the datagrams of one door come so fast that it is cheaper to let a few gather than to be woken by each.
//!
//! Owns counting and deciding; whoever asks waits. Pure: time is an argument.

use std::time::Duration;

use crate::clock::Moment;

/// How long datagrams gather, on the way to the node and again on the way back: little beside the 20 ms between two
/// packets of a call, much beside what it takes to sleep and be woken.
pub(super) const PAUSE: Duration = Duration::from_micros(200);

/// What a door has seen of late.
#[derive(Debug)]
pub(super) struct Gathering {
    since: Moment,
    passed: usize,
    is_worth_it: bool,
}

impl Gathering {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            since: now,
            passed: 0,
            is_worth_it: false,
        }
    }

    /// So many datagrams have passed at once; whether the next ones may gather.
    pub(super) fn note(&mut self, datagrams: usize, now: Moment) -> bool {
        self.passed += datagrams;
        let elapsed = now.since(self.since);
        if elapsed >= WINDOW {
            let least = match self.is_worth_it {
                true => LEAVE,
                false => ENTER,
            };
            let due = elapsed.as_micros() * least / 1_000_000;
            self.is_worth_it = self.passed as u128 >= due;
            (self.since, self.passed) = (now, 0);
        }
        self.is_worth_it
    }
}

/// Long enough for a rate, short enough for the first words of many calls.
const WINDOW: Duration = Duration::from_millis(10);
/// Datagrams a second, both ways together, of which two come in a pause.
const ENTER: u128 = 10_000;
/// Fewer, so that it does not come and go.
const LEAVE: u128 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether they gather at the end of a second in which so many come, one after the other.
    fn after_a_second(gathering: &mut Gathering, start: u64, datagrams: u64) -> bool {
        let mut gathers = false;
        for number in 1..=datagrams {
            let now = Moment::from_micros(start + number * 1_000_000 / datagrams);
            gathers = gathering.note(1, now);
        }
        gathers
    }

    #[test]
    fn many_gather_and_few_do_not() {
        let mut gathering = Gathering::new(Moment::from_micros(0));
        let seconds = [
            (8_000, false),
            (12_000, true),
            (8_000, true),
            (4_000, false),
            (8_000, false),
            (50, false),
            (100_000, true),
            (3, false),
        ];
        for (second, (datagrams, expected)) in (0..).zip(seconds) {
            let found = after_a_second(&mut gathering, second * 1_000_000, datagrams);
            assert_eq!(found, expected, "{datagrams} in second {second}");
        }
    }

    #[test]
    fn a_burst_after_a_silence_is_no_rate() {
        let mut gathering = Gathering::new(Moment::from_micros(0));
        assert!(!gathering.note(64, Moment::from_micros(60_000_000)));
        assert!(!gathering.note(64, Moment::from_micros(60_009_000)));
        assert!(gathering.note(64, Moment::from_micros(60_011_000)));
    }
}
