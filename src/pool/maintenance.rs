//! Pins that are moved for the maintenance of a node, and put back when it is undone.
//!
//! Pure. Owns what the pins said before; does not choose where anybody goes, and ends no session.
//!
//! Invariants: undoing touches only pins that maintenance moved and nobody else moved since; each says then what
//! it said before, also one that was by hand.

use std::collections::HashMap;
use std::sync::Arc;

use super::pins::{Kept, Order, Pin, PinKey, PinTable, PinnedBy};
use crate::clock::Moment;

/// Pins as they were before they were moved for maintenance, by pin and the node they were moved from: nodes of
/// several pools may be under maintenance at once.
#[derive(Debug, Default)]
pub struct Moves(HashMap<(PinKey, Arc<str>), Pin>);

/// A pin that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whose.
    pub key: PinKey,
    /// The node that it named until then.
    pub from: Arc<str>,
}

impl Moves {
    /// Makes a pin that names `from` name `to`, by the administrator's `word`; whether it did.
    pub fn let_go(
        &mut self,
        pins: &PinTable,
        key: &PinKey,
        (from, to): (&Arc<str>, &Arc<str>),
        word: Arc<Order>,
        now: Moment,
    ) -> bool {
        let whither = (to, PinnedBy::Maintenance);
        match pins.order_away(key, from, whither, word, now) {
            // It may have come back by hand, and been sent away again: what it said last counts.
            Some(before) => {
                self.0.insert((key.clone(), Arc::clone(from)), before);
                true
            }
            None => false,
        }
    }

    /// Puts back what was moved away from `node`. Of what an earlier instance moved it is not known what the pin
    /// said: it returns, where `is_of_this` says that it was moved for this maintenance.
    pub fn put_back(
        &mut self,
        pins: &PinTable,
        node: &Arc<str>,
        is_pool: impl Fn(&str) -> bool,
        is_of_this: impl Fn(&PinKey, &Pin) -> bool,
        now: Moment,
    ) -> Vec<Restored> {
        let name = |key: &PinKey| (key.clone(), Arc::clone(node));
        let is_meant = |key: &PinKey, pin: &Pin| {
            pin.by == PinnedBy::Maintenance
                && is_pool(&key.scope.pool)
                && (self.0.contains_key(&name(key))
                    || (pin.home.as_ref() == Some(node) && is_of_this(key, pin)))
        };
        let meant = pins.list_where(now, is_meant);
        let mut restored = Vec::new();
        for (key, pin) in meant {
            match self.0.remove(&name(&key)) {
                // One that had been away before keeps its first home, or has come home.
                Some(before) => drop(pins.put(&key, again(before, &pin, now), now)),
                None => drop(pins.move_to(&key, node, PinnedBy::Reverted, now)),
            }
            restored.push(Restored {
                key,
                from: pin.node,
            });
        }
        restored
    }

    /// The node is in use again in these pools: what was is not to come back.
    pub fn forget(&mut self, node: &str, is_pool: impl Fn(&str) -> bool) {
        self.0
            .retain(|(key, of), _| **of != *node || !is_pool(&key.scope.pool));
    }
}

/// The pin as it was, used since as it was used.
fn again(before: Pin, since: &Pin, now: Moment) -> Kept {
    Kept {
        node: before.node,
        since: now,
        by: before.by,
        last_used: since.last_used,
        revision: before.revision,
        ttl: before.ttl,
        order: before.order,
        home: before.home,
        looks_legacy: before.looks_legacy,
    }
}

#[cfg(test)]
mod tests;
