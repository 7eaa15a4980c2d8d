//! When each pool's recovery from a failover begins, and whom it counts.
//!
//! Remembers for a little while how many strangers had been lost: a node that is killed ends its sessions
//! before anything speaks against it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::pool::pace::Recovery;

/// The counts of the last moments, by pool, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recovering(HashMap<Arc<str>, VecDeque<(Moment, u64)>>);

impl Recovering {
    /// Takes note of how many strangers a pool has lost by now.
    pub(super) fn note(&mut self, pool: &Arc<str>, recovery: &Recovery, now: Moment) {
        let counts = self.0.entry(Arc::clone(pool)).or_default();
        if counts.back().is_some_and(|(at, _)| now.since(*at) < APART) {
            return;
        }
        if counts.len() == REMEMBERED {
            counts.pop_front();
        }
        counts.push_back((now, recovery.lost()));
    }

    /// Forgets pools that are no more.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|pool, _| is_kept(pool));
    }

    /// A node is cut at `now`, against which something first spoke at `first_evidence`.
    pub(super) fn begin(
        &self,
        pool: &str,
        recovery: &Recovery,
        first_evidence: Moment,
        now: Moment,
    ) {
        let counts = self.0.get(pool);
        let before = counts.and_then(|counts| {
            let is_before = |(at, _): &&(Moment, u64)| *at + MARGIN <= first_evidence;
            counts
                .iter()
                .rev()
                .find(is_before)
                .or_else(|| counts.front())
        });
        let lost_before = before.map_or_else(|| recovery.lost(), |(_, lost)| *lost);
        recovery.begin(lost_before, now);
    }
}

/// Distance of two counts.
const APART: Duration = Duration::from_millis(250);
/// A suspicion lasts for seconds where probes are calm.
const REMEMBERED: usize = 40;
/// Ends of sessions are seen before they are evidence.
const MARGIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_ended_just_before_the_evidence_count_and_older_ones_do_not() {
        let (recovery, pool) = (Recovery::default(), Arc::from("edge"));
        let mut recovering = Recovering::default();
        let ms = |millis: u64| Moment::from_micros(millis * 1000);
        let lose = |count: usize| (0..count).for_each(|_| recovery.lose());
        lose(5);
        for at in [1000, 1250, 1500] {
            recovering.note(&pool, &recovery, ms(at));
        }
        // Killed: sixty are gone at once, and the next look comes before the evidence does.
        lose(60);
        recovering.note(&pool, &recovery, ms(1750));
        recovering.begin(&pool, &recovery, ms(1760), ms(1765));
        assert_eq!(recovery.missing(), 60);
    }

    #[test]
    fn a_pool_that_was_never_looked_at_counts_from_the_cut_on() {
        let recovery = Recovery::default();
        recovery.lose();
        let now = Moment::from_micros(1_000_000);
        Recovering::default().begin("edge", &recovery, now, now);
        recovery.lose();
        assert_eq!(recovery.missing(), 1);
    }
}
