//! One shard of the pin table: what happens under its lock.
//!
//! Owns the pins of some keys and the queue of those that are idle. Invariant: the queue holds
//! exactly the address pins without a lease, by the moment they lapse.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{NewPin, Pin, PinKey};
use crate::clock::Moment;

/// A pin, and what tells it from a later one of the same key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pin: Pin,
    serial: u64,
}

impl Entry {
    pub(super) fn new(new: NewPin, serial: u64, now: Moment) -> Self {
        let pin = Pin {
            node: new.node,
            since: now,
            by: new.by,
            sessions: 0,
            last_used: now,
            revision: new.revision,
            ttl: new.ttl,
        };
        Self { pin, serial }
    }

    /// Place in the queue of idle pins; the serial keeps places apart.
    fn place(&self) -> (Moment, u64) {
        (self.pin.last_used + self.pin.ttl, self.serial)
    }

    fn is_idle(&self, key: &PinKey) -> bool {
        self.pin.sessions == 0 && !key.subject.is_partner()
    }
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    // In boxes, because a table is half empty after it has grown.
    entries: HashMap<PinKey, Box<Entry>>,
    idle: BTreeMap<(Moment, u64), PinKey>,
}

impl Shard {
    /// The entry, unless it has lapsed.
    pub(super) fn live(&self, key: &PinKey, now: Moment) -> Option<&Entry> {
        let entry = &**self.entries.get(key)?;
        (!entry.is_idle(key) || entry.place().0 > now).then_some(entry)
    }

    pub(super) fn entry_mut(&mut self, key: &PinKey) -> Option<&mut Entry> {
        self.entries.get_mut(key).map(|entry| &mut **entry)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&PinKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, &**entry))
    }

    /// Stores an entry without leases; whether it replaced one.
    pub(super) fn insert(&mut self, key: PinKey, entry: Entry) -> bool {
        let replaced = self.remove(&key).is_some();
        if entry.is_idle(&key) {
            self.idle.insert(entry.place(), key.clone());
        }
        self.entries.insert(key, Box::new(entry));
        replaced
    }

    pub(super) fn remove(&mut self, key: &PinKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.idle.remove(&entry.place());
        Some(*entry)
    }

    /// Counts one session more; answers the serial of the entry.
    pub(super) fn lease(&mut self, key: &PinKey, now: Moment) -> Option<u64> {
        self.live(key, now)?;
        let entry = self.entries.get_mut(key)?;
        self.idle.remove(&entry.place());
        entry.pin.sessions += 1;
        entry.pin.last_used = now;
        Some(entry.serial)
    }

    /// Counts one session less, if the entry is still the one that was leased.
    pub(super) fn release(&mut self, key: &PinKey, serial: u64, now: Moment) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.serial != serial {
            return;
        }
        entry.pin.sessions = entry.pin.sessions.saturating_sub(1);
        entry.pin.last_used = entry.pin.last_used.max(now);
        if entry.is_idle(key) {
            self.idle.insert(entry.place(), key.clone());
        }
    }

    /// Removes the idle pin that would lapse first; whether there was one.
    pub(super) fn evict(&mut self) -> bool {
        let Some((_, key)) = self.idle.pop_first() else {
            return false;
        };
        self.entries.remove(&key);
        true
    }

    /// Removes up to `limit` pins that have lapsed; how many.
    pub(super) fn expire(&mut self, now: Moment, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(first) = self.idle.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            self.entries.remove(&key);
            count += 1;
        }
        count
    }

    /// Removes the pins that `unwanted` names; how many of addresses and of partners.
    pub(super) fn remove_where(
        &mut self,
        unwanted: impl Fn(&PinKey, &Arc<str>) -> bool,
    ) -> (usize, usize) {
        let Self { entries, idle } = self;
        let (mut addresses, mut partners) = (0, 0);
        entries.retain(|key, entry| {
            let goes = unwanted(key, &entry.pin.node);
            if goes {
                idle.remove(&entry.place());
                addresses += usize::from(!key.subject.is_partner());
                partners += usize::from(key.subject.is_partner());
            }
            !goes
        });
        (addresses, partners)
    }
}
