//! Which node a subject was given before: the pin table, shared by all threads.
//!
//! Owns the pins of every pool and affinity, their leases (sessions that live under a pin), their
//! lapse and their bound. Does not know health and does not place: whoever asks brings the node.
//!
//! Where somebody keeps pins ([`PinTable::keep_changes`]), it also lists which of them changed; it does
//! not know how they are kept. What is listed are keys alone: whoever takes the list asks for the pin
//! as it then stands, so the order of changes does not matter.
//!
//! Invariants: at most `max` pins of addresses; a partner's pin is never evicted and never lapses;
//! a pin with a lease is neither evicted nor lapses; what lapsed is never returned. Order of locks:
//! one shard at a time, never two, and no foreign code runs under one. The number of address pins
//! is an atomic that is raised before a pin is stored and lowered after it is gone, so it may
//! briefly count too many, never too few.
//!
//! Eviction takes the idle pin that would lapse first, in the shard of the newcomer where it has
//! one, else in the next shard that has: least recently used, approximated.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::news::News;
use self::shard::{Entry, Shard};
use crate::clock::Moment;

mod kept;
mod news;
mod pin;
mod rekey;
mod shard;
mod sweep;

pub use kept::{Changes, Kept, Put};
pub use pin::{NewPin, Order, Pin, PinKey, PinScope, Pinned, PinnedBy};
pub use sweep::{FailedOver, Moved};

/// A session's hold on a pin. Give it back with [`PinTable::release`].
#[derive(Debug)]
#[must_use = "a lease that is not released keeps its pin for ever"]
pub struct Lease {
    key: PinKey,
    serial: u64,
}

impl Lease {
    /// The pin.
    #[must_use]
    pub const fn key(&self) -> &PinKey {
        &self.key
    }
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pins of addresses.
    pub addresses: usize,
    /// Pins of partners.
    pub partners: usize,
    /// Pins evicted for others since the start.
    pub evicted: u64,
    /// Addresses that went without since the start.
    pub refused: u64,
    /// Pins that lapsed since the start.
    pub lapsed: u64,
}

/// The table. Shared by reference.
#[derive(Debug)]
pub struct PinTable {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    max: AtomicUsize,
    addresses: AtomicUsize,
    partners: AtomicUsize,
    serial: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    lapsed: AtomicU64,
    /// Shard where the next bounded sweep begins.
    sweep_from: AtomicUsize,
    news: News,
}

impl PinTable {
    /// An empty table for at most `max` pins of addresses.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::with_shards(max, SHARDS)
    }

    fn with_shards(max: usize, shards: usize) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            max: AtomicUsize::new(max),
            addresses: AtomicUsize::new(0),
            partners: AtomicUsize::new(0),
            serial: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lapsed: AtomicU64::new(0),
            sweep_from: AtomicUsize::new(0),
            news: News::default(),
        }
    }

    /// Sets the bound; pins beyond a lower one go as newcomers arrive.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// The node that the pin names; `None` where there is none or it has lapsed.
    #[must_use]
    pub fn look_up(&self, key: &PinKey, now: Moment) -> Option<Arc<str>> {
        let shard = self.shard(key);
        let entry = shard.live(key, now)?;
        Some(Arc::clone(&entry.pin.node))
    }

    /// The whole pin; `None` where there is none or it has lapsed.
    #[must_use]
    pub fn inspect(&self, key: &PinKey, now: Moment) -> Option<Pin> {
        let shard = self.shard(key);
        shard.live(key, now).map(|entry| entry.pin.clone())
    }

    /// Pins `key` unless it is pinned. To be called when the node has sent its first byte.
    pub fn pin(&self, key: &PinKey, new: NewPin, now: Moment) -> Pinned {
        {
            let mut shard = self.shard(key);
            if let Some(entry) = shard.live(key, now) {
                return Pinned::Kept(Arc::clone(&entry.pin.node));
            }
            let lapsed = usize::from(shard.remove(key).is_some());
            self.count_lapsed(lapsed);
        }
        if !key.subject.is_partner() && !self.make_room(key) {
            self.refused.fetch_add(1, Relaxed);
            return Pinned::Full;
        }
        let serial = self.serial.fetch_add(1, Relaxed);
        let mut shard = self.shard(key);
        // Another thread may have pinned it while no lock was held.
        if let Some(entry) = shard.live(key, now) {
            let node = Arc::clone(&entry.pin.node);
            drop(shard);
            if !key.subject.is_partner() {
                self.addresses.fetch_sub(1, Relaxed);
            }
            return Pinned::Kept(node);
        }
        let replaced = shard.insert(key, Entry::new(new, serial, now));
        drop(shard);
        self.news.ring();
        if key.subject.is_partner() {
            self.partners.fetch_add(1, Relaxed);
        }
        self.count_lapsed(usize::from(replaced));
        Pinned::New
    }

    /// Begins a session under the pin, which then neither lapses nor is evicted; `None` where
    /// there is no pin.
    pub fn lease(&self, key: &PinKey, now: Moment) -> Option<Lease> {
        let (serial, is_change) = self.shard(key).lease(key, now)?;
        if is_change {
            self.news.ring();
        }
        Some(Lease {
            key: key.clone(),
            serial,
        })
    }

    /// Ends a session. A pin that was made anew meanwhile is not touched.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a lease can be given back once"
    )]
    pub fn release(&self, lease: Lease, now: Moment) {
        let is_change = self
            .shard(&lease.key)
            .release(&lease.key, lease.serial, now);
        if is_change {
            self.news.ring();
        }
    }

    /// Makes an existing pin name `node`, for the reason `by`; answers the node before. A pin that
    /// names it already is left as it is; `None` where there is no pin.
    pub fn move_to(
        &self,
        key: &PinKey,
        node: &Arc<str>,
        by: PinnedBy,
        now: Moment,
    ) -> Option<Arc<str>> {
        let mut shard = self.shard(key);
        shard.live(key, now)?;
        let pin = &mut shard.entry_mut(key)?.pin;
        let before = Arc::clone(&pin.node);
        if before != *node {
            pin.go(key, node, by, now);
            shard.note(key);
            drop(shard);
            self.news.ring();
        }
        Some(before)
    }

    /// Makes a pin that names `from` name `to`; whether it did. Somebody else may have moved it while
    /// nobody locked.
    pub fn move_from(
        &self,
        key: &PinKey,
        from: &Arc<str>,
        to: &Arc<str>,
        by: PinnedBy,
        now: Moment,
    ) -> bool {
        let mut shard = self.shard(key);
        if shard.live(key, now).is_none() {
            return false;
        }
        let Some(entry) = shard.entry_mut(key) else {
            return false;
        };
        if entry.pin.node != *from || from == to {
            return false;
        }
        entry.pin.go(key, to, by, now);
        shard.note(key);
        drop(shard);
        self.news.ring();
        true
    }

    /// As [`PinTable::move_from`], by an administrator's word; answers the pin as it was, if it was moved.
    pub fn order_away(
        &self,
        key: &PinKey,
        from: &Arc<str>,
        (to, by): (&Arc<str>, PinnedBy),
        order: Arc<Order>,
        now: Moment,
    ) -> Option<Pin> {
        let mut shard = self.shard(key);
        shard.live(key, now)?;
        let pin = &mut shard.entry_mut(key)?.pin;
        if pin.node != *from || from == to {
            return None;
        }
        let before = pin.clone();
        pin.go(key, to, by, now);
        pin.order = Some(order);
        shard.note(key);
        drop(shard);
        self.news.ring();
        Some(before)
    }

    /// From here on an address's pin is one of somebody who looks legacy.
    pub fn mark_legacy(&self, key: &PinKey, now: Moment) {
        let mut shard = self.shard(key);
        if shard
            .live(key, now)
            .is_none_or(|entry| entry.pin.looks_legacy)
        {
            return;
        }
        if let Some(entry) = shard.entry_mut(key) {
            entry.pin.looks_legacy = true;
        }
        shard.note(key);
        drop(shard);
        self.news.ring();
    }

    /// Removes the pin; whether there was one.
    pub fn forget(&self, key: &PinKey) -> bool {
        let gone = self.shard(key).remove(key).is_some();
        if gone {
            self.news.ring();
            self.count_gone(key, 1);
        }
        gone
    }

    /// Pins, lapsed ones that were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.load(Relaxed) + self.partners.load(Relaxed)
    }

    /// Whether there is no pin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            addresses: self.addresses.load(Relaxed),
            partners: self.partners.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            lapsed: self.lapsed.load(Relaxed),
        }
    }

    fn shard(&self, key: &PinKey) -> MutexGuard<'_, Shard> {
        self.lock(self.position(key))
    }

    fn position(&self, key: &PinKey) -> usize {
        let count = self.shards.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % count).unwrap_or(0)
    }

    /// A thread that panicked under the lock has not left a shard half changed: none of its
    /// operations can panic between two changes.
    fn lock(&self, position: usize) -> MutexGuard<'_, Shard> {
        self.shards[position]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more address pin, after evicting one if there are too many.
    fn make_room(&self, key: &PinKey) -> bool {
        let max = self.max.load(Relaxed);
        let reserve = |count: usize| (count < max).then_some(count + 1);
        let first = self.position(key);
        for offset in 0..self.shards.len() {
            if self
                .addresses
                .fetch_update(Relaxed, Relaxed, reserve)
                .is_ok()
            {
                return true;
            }
            let mut shard = self.lock((first + offset) % self.shards.len());
            // The place of the evicted is handed to the newcomer, unless the bound was lowered.
            while self.addresses.load(Relaxed) >= max && shard.evict() {
                self.addresses.fetch_sub(1, Relaxed);
                self.evicted.fetch_add(1, Relaxed);
            }
        }
        self.addresses
            .fetch_update(Relaxed, Relaxed, reserve)
            .is_ok()
    }

    fn count_gone(&self, key: &PinKey, count: usize) {
        let counter = if key.subject.is_partner() {
            &self.partners
        } else {
            &self.addresses
        };
        counter.fetch_sub(count, Relaxed);
    }

    fn count_lapsed(&self, count: usize) {
        self.addresses.fetch_sub(count, Relaxed);
        self.lapsed.fetch_add(count as u64, Relaxed);
    }
}

/// Enough that a dozen workers seldom meet in one shard, few enough to sweep quickly.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests;
