//! Whether the datagrams of one door come so fast that it is cheaper to let some gather than to be woken by each, and
//! for how long.
//!
//! [`Gathering`] counts and decides; pure: time is an argument. [`Turns`] waits by what it says.

use std::io;
use std::time::Duration;

use crate::clock::Moment;
use crate::net::crowd::Ear;

/// Whoever waits for the datagrams of some sockets, a turn at a time.
#[derive(Debug)]
pub(super) struct Turns {
    ear: Ear,
    gathering: Gathering,
    pause: Option<Duration>,
}

impl Turns {
    /// By `ear`.
    pub(super) fn new(ear: Ear) -> Self {
        Self {
            ear,
            gathering: Gathering::new(Moment::now()),
            pause: None,
        }
    }

    /// Waits for the next turn, and puts the names of sockets that can be read into `names`, in the place of what it
    /// held; see [`Ear::told`].
    ///
    /// # Errors
    ///
    /// The runtime is gone.
    pub(super) async fn next(&mut self, names: &mut Vec<u64>) -> io::Result<()> {
        match self.pause {
            Some(pause) => self.ear.told_after(pause, names).await,
            None => self.ear.told(names).await,
        }
    }

    /// So many datagrams have passed in this turn. Where there was `no_room` for all that had come, the next one follows
    /// at once.
    pub(super) fn end(&mut self, datagrams: usize, no_room: bool) {
        let pause = self.gathering.note(datagrams, Moment::now());
        self.pause = pause.map(|pause| match no_room {
            true => Duration::ZERO,
            false => pause,
        });
    }
}

/// What a door has seen of late.
#[derive(Debug)]
struct Gathering {
    since: Moment,
    passed: usize,
    pause: Option<Duration>,
}

impl Gathering {
    fn new(now: Moment) -> Self {
        Self {
            since: now,
            passed: 0,
            pause: None,
        }
    }

    /// So many datagrams have passed at once; for how long the next ones may gather, if at all. They do on the way to
    /// the node and again on the way back.
    fn note(&mut self, datagrams: usize, now: Moment) -> Option<Duration> {
        self.passed += datagrams;
        let elapsed = now.since(self.since);
        if elapsed >= WINDOW {
            self.pause = self.pause_after(elapsed);
            (self.since, self.passed) = (now, 0);
        }
        self.pause
    }

    /// For how long datagrams may gather that come as fast as those that have passed in a time of `elapsed`.
    fn pause_after(&self, elapsed: Duration) -> Option<Duration> {
        let passed = u32::try_from(self.passed).unwrap_or(u32::MAX);
        let apart = elapsed.checked_div(passed)?;
        let most = match self.pause {
            Some(_) => LEAVE,
            None => ENTER,
        };
        (apart <= most).then(|| (apart * WANTED).clamp(SHORTEST, LONGEST))
    }
}

/// Long enough for a rate, short enough for the first words of many calls.
const WINDOW: Duration = Duration::from_millis(10);
/// Between two datagrams, whichever way they go: of those that come no faster, too few gather.
const ENTER: Duration = Duration::from_micros(100);
/// More, so that it does not come and go.
const LEAVE: Duration = Duration::from_micros(200);
/// So many are to gather. What a turn costs besides them is little to each then.
const WANTED: u32 = 10;
/// Much beside what it takes to sleep and be woken.
const SHORTEST: Duration = Duration::from_micros(200);
/// Little beside the 20 ms between two packets of a call.
const LONGEST: Duration = Duration::from_micros(400);

#[cfg(test)]
mod tests {
    use super::*;

    /// For how long they gather at the end of a second in which so many come, one after the other; microseconds.
    fn after_a_second(gathering: &mut Gathering, start: u64, datagrams: u64) -> u128 {
        let mut pause = None;
        for number in 1..=datagrams {
            let now = Moment::from_micros(start + number * 1_000_000 / datagrams);
            pause = gathering.note(1, now);
        }
        pause.unwrap_or_default().as_micros()
    }

    #[test]
    fn many_gather_and_few_do_not() {
        let mut gathering = Gathering::new(Moment::from_micros(0));
        let seconds = [
            (8_000, 0),
            (12_500, 400),
            (8_000, 400),
            (4_000, 0),
            (8_000, 0),
            (50, 0),
            (40_000, 250),
            (100_000, 200),
            (3, 0),
        ];
        for (second, (datagrams, expected)) in (0..).zip(seconds) {
            let found = after_a_second(&mut gathering, second * 1_000_000, datagrams);
            assert_eq!(found, expected, "{datagrams} in second {second}");
        }
    }

    #[test]
    fn a_burst_after_a_silence_is_no_rate() {
        let mut gathering = Gathering::new(Moment::from_micros(0));
        assert_eq!(gathering.note(64, Moment::from_micros(60_000_000)), None);
        assert_eq!(gathering.note(64, Moment::from_micros(60_009_000)), None);
        let pause = gathering.note(64, Moment::from_micros(60_011_000));
        assert_eq!(pause, Some(LONGEST));
    }
}
