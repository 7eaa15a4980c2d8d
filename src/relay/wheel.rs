//! One coarse timer wheel for all sessions of a worker.
//!
//! Keeps timers out of the per-byte path: an entry is not moved when bytes pass; whoever is due is
//! looked at, and scheduled again if it has lived on. Entries are never removed, only overtaken, so
//! an entry costs a few bytes for at most one turn of the wheel.

use std::time::Duration;

use crate::clock::Moment;

/// How exact the wheel is.
pub const TICK: Duration = Duration::from_millis(50);
/// One turn is 12.8 s: longer deadlines are looked at once a turn.
const SLOTS: u64 = 256;
const TICK_MICROS: u64 = 50_000;
const _: () = assert!(TICK.as_micros() == TICK_MICROS as u128);

/// Entries by the tick at which they are due.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<T>>,
    tick: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel that begins at `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self {
            slots,
            tick: tick_of(now),
        }
    }

    /// Enters `entry` for `deadline`, or for the end of this turn where that is sooner; returns the
    /// moment it is entered for, which [`Wheel::advance`] will name with it.
    pub fn schedule(&mut self, entry: T, deadline: Moment) -> Moment {
        let tick = (tick_of(deadline) + 1).clamp(self.tick + 1, self.tick + SLOTS - 1);
        self.slot(tick).push(entry);
        moment_of(tick)
    }

    /// Takes out all that is due by `now`, each with the moment it was entered for.
    pub fn advance(&mut self, now: Moment) -> Vec<(T, Moment)> {
        let target = tick_of(now);
        // After a long pause every slot is due once; further turns would find nothing.
        let first = (self.tick + 1).max((target + 1).saturating_sub(SLOTS));
        let skipped = first - (self.tick + 1);
        let mut due = Vec::new();
        for tick in first..=target {
            // An entry that a pause has passed over was entered for a tick one turn (or more) ago.
            let entered = if skipped == 0 {
                tick
            } else {
                self.entered(tick)
            };
            // The whole slot, or the room for a burst would be held in it for ever.
            let slot = std::mem::take(self.slot(tick));
            due.extend(slot.into_iter().map(|entry| (entry, moment_of(entered))));
        }
        self.tick = self.tick.max(target);
        due
    }

    /// The tick within one turn after the present one that shares the slot of `tick`.
    fn entered(&self, tick: u64) -> u64 {
        let base = self.tick + 1;
        base + (tick.wrapping_sub(base)) % SLOTS
    }

    fn slot(&mut self, tick: u64) -> &mut Vec<T> {
        let slot = usize::try_from(tick % SLOTS).unwrap_or(0);
        &mut self.slots[slot]
    }
}

fn tick_of(moment: Moment) -> u64 {
    moment.as_micros() / TICK_MICROS
}

fn moment_of(tick: u64) -> Moment {
    Moment::from_micros(tick * TICK_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32),
        Advance(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u32..40_000).prop_map(Step::Schedule),
            (0u32..2_000).prop_map(Step::Advance),
            (0u32..60_000).prop_map(Step::Advance),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn every_entry_is_named_once_with_its_moment_and_never_early(steps in steps()) {
            let mut wheel = Wheel::new(Moment::START);
            let mut now = Moment::START;
            let mut waiting: Vec<Option<Moment>> = Vec::new();
            for step in steps {
                match step {
                    Step::Schedule(millis) => {
                        let entry = waiting.len();
                        let deadline = now + Duration::from_millis(millis.into());
                        waiting.push(Some(wheel.schedule(entry, deadline)));
                    }
                    Step::Advance(millis) => {
                        now = now + Duration::from_millis(millis.into());
                        for (entry, at) in wheel.advance(now) {
                            prop_assert_eq!(waiting[entry].take(), Some(at));
                            prop_assert!(at <= now);
                        }
                        for at in waiting.iter().flatten() {
                            prop_assert!(*at + TICK > now, "an entry is overdue");
                        }
                    }
                }
            }
        }
    }
}
