//! Operations on many pins at once: lapse, failover, nodes and partners that are gone, listing.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Pin, PinKey, PinTable, PinnedBy};
use crate::clock::Moment;
use crate::pool::placement::Subject;

/// A pin that a failover moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Whose.
    pub key: PinKey,
    /// The node that went down.
    pub from: Arc<str>,
    /// The node it names now.
    pub to: Arc<str>,
}

/// What a failover did to the pins of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedOver {
    /// Partners' pins that moved, in order of their keys.
    pub moved: Vec<Moved>,
    /// Partners' pins that stayed, because no other node was offered.
    pub stayed: usize,
    /// Pins of addresses that look legacy, and moved.
    pub addresses: usize,
    /// Pins of addresses that were dropped.
    pub dropped: usize,
}

impl PinTable {
    /// Removes pins that have lapsed, at most `limit` of them; how many. Where more are due than
    /// `limit`, the next call goes on where this one stopped.
    pub fn expire(&self, now: Moment, limit: usize) -> usize {
        let shards = self.shards.len();
        let from = self.sweep_from.load(Relaxed) % shards;
        let mut count = 0;
        for offset in 0..shards {
            let position = (from + offset) % shards;
            count += self.lock(position).expire(now, limit - count);
            if count == limit {
                self.sweep_from.store(position, Relaxed);
                break;
            }
        }
        self.count_lapsed(count);
        if count > 0 {
            self.news.ring();
        }
        count
    }

    /// Takes the pins off a node that is down. A partner's moves to what `place` answers and stays where it
    /// answers nothing. Those of addresses are dropped and placed anew when they return; of one that
    /// looks legacy it moves like a partner's, unless nothing is answered.
    pub fn fail_over(
        &self,
        pool: &str,
        affinity: &str,
        from: &Arc<str>,
        now: Moment,
        mut place: impl FnMut(&Subject) -> Option<Arc<str>>,
    ) -> FailedOver {
        let concerned = |key: &PinKey, node: &Arc<str>| {
            node == from && *key.scope.pool == *pool && *key.scope.affinity == *affinity
        };
        let mut outcome = FailedOver::default();
        let mut partners =
            self.keys_where(|key, pin| key.subject.is_partner() && concerned(key, &pin.node));
        partners.sort();
        for key in partners {
            match place(&key.subject).filter(|to| to != from) {
                Some(to) if self.move_from(&key, from, &to, PinnedBy::Failover, now) => {
                    let from = Arc::clone(from);
                    outcome.moved.push(Moved { key, from, to });
                }
                Some(_) => {}
                None => outcome.stayed += 1,
            }
        }
        for key in self.keys_where(|key, pin| pin.looks_legacy && concerned(key, &pin.node)) {
            let to = place(&key.subject).filter(|to| to != from);
            let has_moved =
                to.is_some_and(|to| self.move_from(&key, from, &to, PinnedBy::Failover, now));
            outcome.addresses += usize::from(has_moved);
        }
        outcome.dropped =
            self.remove_where(|key, node| !key.subject.is_partner() && concerned(key, node));
        outcome
    }

    /// Removes every pin of `pool` that names `node`; how many.
    pub fn forget_node(&self, pool: &str, node: &str) -> usize {
        self.remove_where(|key, named| *key.scope.pool == *pool && **named == *node)
    }

    /// Removes every pin of the partner `name`; how many.
    pub fn forget_partner(&self, name: &str) -> usize {
        self.remove_where(|key, _| match &key.subject {
            Subject::Partner(partner) => **partner == *name,
            Subject::Prefix(_) => false,
        })
    }

    /// All pins that have not lapsed, in order of their keys.
    #[must_use]
    pub fn list(&self, now: Moment) -> Vec<(PinKey, Pin)> {
        self.list_where(now, |_, _| true)
    }

    /// Those of them that are wanted; of others nothing is copied. `is_wanted` is asked with a shard locked.
    #[must_use]
    pub fn list_where(
        &self,
        now: Moment,
        is_wanted: impl Fn(&PinKey, &Pin) -> bool,
    ) -> Vec<(PinKey, Pin)> {
        let mut pins = Vec::new();
        for position in 0..self.shards.len() {
            let shard = self.lock(position);
            let wanted = shard.entries().filter(|(key, entry)| {
                is_wanted(key, &entry.pin) && shard.live(key, now).is_some()
            });
            pins.extend(wanted.map(|(key, entry)| (key.clone(), entry.pin.clone())));
        }
        pins.sort_by(|a, b| a.0.cmp(&b.0));
        pins
    }

    fn keys_where(&self, wanted: impl Fn(&PinKey, &Pin) -> bool) -> Vec<PinKey> {
        let mut keys = Vec::new();
        for position in 0..self.shards.len() {
            let shard = self.lock(position);
            let found = shard
                .entries()
                .filter(|(key, entry)| wanted(key, &entry.pin));
            keys.extend(found.map(|(key, _)| key.clone()));
        }
        keys
    }

    fn remove_where(&self, unwanted: impl Fn(&PinKey, &Arc<str>) -> bool) -> usize {
        let mut total = 0;
        for position in 0..self.shards.len() {
            let (addresses, partners) = self.lock(position).remove_where(&unwanted);
            self.addresses.fetch_sub(addresses, Relaxed);
            self.partners.fetch_sub(partners, Relaxed);
            total += addresses + partners;
        }
        if total > 0 {
            self.news.ring();
        }
        total
    }
}
