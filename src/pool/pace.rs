//! How fast survivors of a failover admit those who come back.
//!
//! Owns the pace of one node and the recovery of its pool. Partners are not its business: they are admitted
//! at once. Shared by all workers; nothing locks. Does not decide that there was a failover, and does not
//! wait: it says from when on a session may go ahead.
//!
//! A pool recovers from a cut until as many have come back as were displaced, or a minute has passed. Nodes
//! that are killed end their sessions themselves before anybody knows why, so the count of the displaced
//! looks back a little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::schedule::slot;
use crate::clock::Moment;
use crate::config::model::Rate;

/// What a pool has to recover from. Counts strangers: everybody but configured partners.
#[derive(Debug, Default)]
pub struct Recovery {
    /// In microseconds; 0: there was no cut.
    cut_at: AtomicU64,
    /// Sessions of strangers that ended by a node's fault, ever.
    lost: AtomicU64,
    /// What of those belongs to the time before the cut.
    lost_before: AtomicU64,
    /// Strangers that a node has served since the cut.
    back: AtomicU64,
}

impl Recovery {
    /// A stranger lost its session by a node's fault.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// How many strangers have lost their session by a node's fault, ever.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The sessions of a node are cut at `now`; whoever was lost after `lost_before` belongs to it. A cut
    /// while the pool recovers from another prolongs that.
    pub fn begin(&self, lost_before: u64, now: Moment) {
        if !self.is_under_way(now) {
            self.lost_before.store(lost_before, Relaxed);
            self.back.store(0, Relaxed);
        }
        self.cut_at.store(now.as_micros().max(1), Relaxed);
    }

    /// Whether strangers are paced.
    #[must_use]
    pub fn is_under_way(&self, now: Moment) -> bool {
        let cut_at = self.cut_at.load(Relaxed);
        if cut_at == 0 {
            return false;
        }
        let since = now.since(Moment::from_micros(cut_at));
        since < SETTLING || (since < LONGEST && self.missing() > 0)
    }

    /// A node has answered a stranger. Whoever was only admitted may yet be refused, or try another node.
    pub fn serve(&self, now: Moment) {
        if self.is_under_way(now) {
            self.back.fetch_add(1, Relaxed);
        }
    }

    /// Strangers that were displaced and have not come back.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let displaced = self.lost().saturating_sub(self.lost_before.load(Relaxed));
        displaced.saturating_sub(self.back.load(Relaxed))
    }
}

/// The pace of one node.
#[derive(Debug)]
pub struct Pace {
    recovery: Arc<Recovery>,
    /// The moment at which the next one would come who keeps the pace exactly, in microseconds.
    next: AtomicU64,
    admitted: AtomicU64,
}

/// What a stranger is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admittance {
    /// Go ahead.
    Now,
    /// Go ahead at this moment: the place is taken.
    At(Moment),
    /// Too many wait already.
    Never,
}

impl Pace {
    /// The pace of a node of the pool that `recovery` is about.
    #[must_use]
    pub fn new(recovery: Arc<Recovery>) -> Self {
        Self {
            recovery,
            next: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
        }
    }

    /// How many strangers it has admitted while its pool recovered, ever.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// What its pool has to recover from.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Admits one stranger at `now`: at once while nothing has to be recovered from, else at `rate`.
    pub fn admit(&self, rate: Rate, now: Moment) -> Admittance {
        if !self.recovery.is_under_way(now) {
            return Admittance::Now;
        }
        let place = |next: u64| slot(Moment::from_micros(next), rate, BURST, now);
        let book = |next: u64| {
            let slot = place(next);
            (slot.at <= now + HOLD_MAX).then(|| slot.next.as_micros())
        };
        match self.next.fetch_update(Relaxed, Relaxed, book) {
            Err(_) => Admittance::Never,
            Ok(before) => {
                self.admitted.fetch_add(1, Relaxed);
                match place(before).at {
                    at if at == now => Admittance::Now,
                    at => Admittance::At(at),
                }
            }
        }
    }
}

/// Whoever would have to wait longer is better told at once: it may have other addresses to try.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// What comes together may go together.
const BURST: Duration = Duration::from_millis(50);
/// The sessions of a dead node end within this time; before it, nobody knows how many they were.
const SETTLING: Duration = Duration::from_secs(1);
/// Whoever has not come back by then does not come all at once any more.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        count: 100,
        per: Duration::from_secs(1),
    };

    fn ms(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn pool(displaced: u64) -> Pace {
        let recovery = Arc::new(Recovery::default());
        (0..7).for_each(|_| recovery.lose());
        let before = recovery.lost();
        (0..displaced).for_each(|_| recovery.lose());
        recovery.begin(before, ms(1000));
        Pace::new(recovery)
    }

    #[test]
    fn at_other_times_nothing_is_paced() {
        let pace = Pace::new(Arc::default());
        for _ in 0..10_000 {
            assert_eq!(pace.admit(RATE, ms(1000)), Admittance::Now);
        }
    }

    #[test]
    fn the_pace_is_never_exceeded_beyond_its_tolerance() {
        let pace = pool(100_000);
        let mut at = Vec::new();
        for now in 1000..6000 {
            for _ in 0..3 {
                match pace.admit(RATE, ms(now)) {
                    Admittance::Now => at.push(ms(now)),
                    Admittance::At(moment) => {
                        assert!(moment > ms(now) && moment <= ms(now) + HOLD_MAX);
                        at.push(moment);
                    }
                    Admittance::Never => {}
                }
            }
        }
        for (index, first) in at.iter().enumerate() {
            let within = at
                .iter()
                .skip(index)
                .take_while(|moment| moment.since(*first) < RATE.per);
            assert!(
                within.count() <= 106,
                "a second's worth and what the tolerance allows"
            );
        }
        assert!(at.len() >= 500, "nor does it fall behind: {}", at.len());
    }

    #[test]
    fn it_ends_when_as_many_have_come_back_as_were_displaced() {
        let pace = pool(10);
        for _ in 0..10 {
            assert_ne!(pace.admit(RATE, ms(1500)), Admittance::Never);
        }
        assert_eq!(pace.recovery().missing(), 10, "nobody has been served yet");
        (0..10).for_each(|_| pace.recovery().serve(ms(1600)));
        assert!(
            pace.recovery().is_under_way(ms(1999)),
            "more may yet be found lost"
        );
        assert!(!pace.recovery().is_under_way(ms(2000)));
        assert_eq!(pace.recovery().missing(), 0);
        pace.recovery().serve(ms(2100));
        pace.recovery().lose();
        assert_eq!(
            pace.recovery().missing(),
            1,
            "who comes later makes up for nobody"
        );
    }

    #[test]
    fn it_ends_after_a_minute_whoever_is_missing() {
        let pace = pool(10);
        assert!(pace.recovery().is_under_way(ms(60_999)));
        assert!(!pace.recovery().is_under_way(ms(61_000)));
    }

    #[test]
    fn a_second_cut_prolongs_a_recovery_and_keeps_its_count() {
        let pace = pool(10);
        pace.recovery().begin(pace.recovery().lost(), ms(30_000));
        assert_eq!(pace.recovery().missing(), 10);
        assert!(pace.recovery().is_under_way(ms(89_999)));
    }
}
