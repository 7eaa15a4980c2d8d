//! One shard of the pin table: what happens under its lock.
//!
//! Owns the pins of some keys, the queue of those that are idle, and the list of those that changed.
//! Invariants: the queue holds exactly the address pins without a lease, by the moment they lapse; a
//! pin of which a record would say something else is in the list, or the list has overflowed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Kept, NewPin, Pin, PinKey};
use crate::clock::Moment;

/// A pin, and what tells it from a later one of the same key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pin: Pin,
    serial: u64,
    /// When the pin lapses by its last record; [`Moment::NEVER`] where that found it in use.
    recorded: Moment,
    /// Whether it is in the list of changes.
    is_noted: bool,
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
            order: None,
            home: None,
            looks_legacy: new.looks_legacy,
        };
        Self::of(pin, serial)
    }

    pub(super) fn kept(kept: Kept, serial: u64) -> Self {
        let pin = Pin {
            node: kept.node,
            since: kept.since,
            by: kept.by,
            sessions: 0,
            last_used: kept.last_used,
            revision: kept.revision,
            ttl: kept.ttl,
            order: kept.order,
            home: kept.home,
            looks_legacy: kept.looks_legacy,
        };
        Self::of(pin, serial)
    }

    fn of(pin: Pin, serial: u64) -> Self {
        Self {
            pin,
            serial,
            recorded: Moment::START,
            is_noted: false,
        }
    }

    /// Place in the queue of idle pins; the serial keeps places apart.
    fn place(&self) -> (Moment, u64) {
        (self.pin.last_used + self.pin.ttl, self.serial)
    }

    fn is_idle(&self, key: &PinKey) -> bool {
        self.pin.sessions == 0 && !key.subject.is_partner()
    }

    /// What a record made now says of its lapse.
    fn lapse(&self, key: &PinKey) -> Moment {
        if self.is_idle(key) || key.subject.is_partner() {
            self.place().0
        } else {
            Moment::NEVER
        }
    }

    /// Whether the last record tells a life much too short, or does not know that it may end: not each
    /// use is worth a record.
    fn is_outdated(&self, key: &PinKey) -> bool {
        let lapse = self.place().0;
        let is_idle_now = self.recorded == Moment::NEVER && self.is_idle(key);
        is_idle_now || lapse.since(self.recorded) > self.pin.ttl / 8
    }
}

/// The list of changes of one shard, where somebody keeps them.
#[derive(Debug, Default)]
struct Changes {
    is_kept: bool,
    keys: Vec<PinKey>,
    has_overflowed: bool,
}

impl Changes {
    fn note(&mut self, key: &PinKey) {
        if !self.is_kept {
            return;
        }
        if self.keys.len() < CHANGES_MAX {
            self.keys.push(key.clone());
        } else {
            self.has_overflowed = true;
        }
    }
}

/// What a disk that hangs for a moment may leave waiting; beyond it everything is recorded anew.
const CHANGES_MAX: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Shard {
    // In boxes, because a table is half empty after it has grown.
    entries: HashMap<PinKey, Box<Entry>>,
    idle: BTreeMap<(Moment, u64), PinKey>,
    changes: Changes,
}

impl Shard {
    /// From here on changes are listed.
    pub(super) fn keep_changes(&mut self) {
        self.changes.is_kept = true;
    }

    /// The keys that changed, and whether there were more than the list holds.
    pub(super) fn take_changes(&mut self) -> (Vec<PinKey>, bool) {
        let has_overflowed = std::mem::take(&mut self.changes.has_overflowed);
        (std::mem::take(&mut self.changes.keys), has_overflowed)
    }

    /// Puts the key into the list of changes.
    pub(super) fn note(&mut self, key: &PinKey) {
        if !self.changes.is_kept {
            return;
        }
        match self.entries.get_mut(key) {
            Some(entry) if entry.is_noted => {}
            Some(entry) => {
                entry.is_noted = true;
                self.changes.note(key);
            }
            None => self.changes.note(key),
        }
    }

    /// The pin as it is to be recorded; from here on changes of it are listed again.
    pub(super) fn record(&mut self, key: &PinKey, now: Moment) -> Option<Pin> {
        let entry = self.entries.get_mut(key)?;
        entry.is_noted = false;
        entry.recorded = entry.lapse(key);
        (entry.recorded > now || key.subject.is_partner()).then(|| entry.pin.clone())
    }

    /// All keys.
    pub(super) fn keys(&self) -> Vec<PinKey> {
        self.entries.keys().cloned().collect()
    }

    /// Lists the pins in use whose record tells that they lapse; how many.
    pub(super) fn note_held(&mut self) -> usize {
        let Self {
            entries, changes, ..
        } = self;
        let mut count = 0;
        for (key, entry) in entries {
            let is_held = entry.lapse(key) == Moment::NEVER && entry.recorded != Moment::NEVER;
            if is_held && !entry.is_noted {
                entry.is_noted = changes.is_kept;
                changes.note(key);
                count += 1;
            }
        }
        count
    }

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
    pub(super) fn insert(&mut self, key: &PinKey, entry: Entry) -> bool {
        let replaced = self.remove(key).is_some();
        if entry.is_idle(key) {
            self.idle.insert(entry.place(), key.clone());
        }
        self.entries.insert(key.clone(), Box::new(entry));
        self.note(key);
        replaced
    }

    /// Makes an existing pin say what is `kept`; its sessions stay.
    pub(super) fn replace(&mut self, key: &PinKey, kept: Kept) -> Option<Arc<str>> {
        let entry = self.entries.get_mut(key)?;
        self.idle.remove(&entry.place());
        let (before, sessions) = (Arc::clone(&entry.pin.node), entry.pin.sessions);
        entry.pin = Entry::kept(kept, entry.serial).pin;
        entry.pin.sessions = sessions;
        if entry.is_idle(key) {
            self.idle.insert(entry.place(), key.clone());
        }
        self.note(key);
        Some(before)
    }

    pub(super) fn remove(&mut self, key: &PinKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.idle.remove(&entry.place());
        if !entry.is_noted {
            self.changes.note(key);
        }
        Some(*entry)
    }

    /// Counts one session more; answers the serial of the entry, and whether that is a change.
    pub(super) fn lease(&mut self, key: &PinKey, now: Moment) -> Option<(u64, bool)> {
        self.live(key, now)?;
        let entry = self.entries.get_mut(key)?;
        self.idle.remove(&entry.place());
        entry.pin.sessions += 1;
        entry.pin.last_used = now;
        let serial = entry.serial;
        let is_change = self.changes.is_kept && !entry.is_noted && entry.is_outdated(key);
        if is_change {
            entry.is_noted = true;
            self.changes.note(key);
        }
        Some((serial, is_change))
    }

    /// Counts one session less, if the entry is still the one that was leased; whether that is a
    /// change.
    pub(super) fn release(&mut self, key: &PinKey, serial: u64, now: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        if entry.serial != serial {
            return false;
        }
        entry.pin.sessions = entry.pin.sessions.saturating_sub(1);
        entry.pin.last_used = entry.pin.last_used.max(now);
        if entry.is_idle(key) {
            self.idle.insert(entry.place(), key.clone());
        }
        let is_change = self.changes.is_kept
            && entry.pin.sessions == 0
            && !entry.is_noted
            && entry.is_outdated(key);
        if is_change {
            entry.is_noted = true;
            self.changes.note(key);
        }
        is_change
    }

    /// Removes the idle pin that would lapse first; whether there was one.
    pub(super) fn evict(&mut self) -> bool {
        let Some((_, key)) = self.idle.pop_first() else {
            return false;
        };
        self.forget(&key);
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
            self.forget(&key);
            count += 1;
        }
        count
    }

    /// Removes an entry that is in the queue no more.
    fn forget(&mut self, key: &PinKey) {
        let gone = self.entries.remove(key);
        if gone.is_some_and(|entry| !entry.is_noted) {
            self.changes.note(key);
        }
    }

    /// Removes the pins that `unwanted` names; how many of addresses and of partners.
    pub(super) fn remove_where(
        &mut self,
        unwanted: impl Fn(&PinKey, &Arc<str>) -> bool,
    ) -> (usize, usize) {
        let Self {
            entries,
            idle,
            changes,
        } = self;
        let (mut addresses, mut partners) = (0, 0);
        entries.retain(|key, entry| {
            let goes = unwanted(key, &entry.pin.node);
            if goes {
                idle.remove(&entry.place());
                if !entry.is_noted {
                    changes.note(key);
                }
                addresses += usize::from(!key.subject.is_partner());
                partners += usize::from(key.subject.is_partner());
            }
            !goes
        });
        (addresses, partners)
    }
}
