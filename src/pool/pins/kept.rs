//! Pins that outlive the process, and those that an administrator makes: what changed, and putting back
//! what was.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::shard::Entry;
use super::{Order, Pin, PinKey, PinTable, PinnedBy};
use crate::clock::Moment;

/// A pin as it is to stand, whatever was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Name of the node.
    pub node: Arc<str>,
    /// When the pin came to name this node.
    pub since: Moment,
    /// Why it does.
    pub by: PinnedBy,
    /// When a session last began or ended under it: an address's pin lapses `ttl` later.
    pub last_used: Moment,
    /// Configuration revision.
    pub revision: u64,
    /// Life after the last session, of an address's pin.
    pub ttl: Duration,
    /// Who made it by hand.
    pub order: Option<Arc<Order>>,
    /// The node that a partner was taken away from.
    pub home: Option<Arc<str>>,
    /// As [`Pin::looks_legacy`].
    pub looks_legacy: bool,
}

/// What became of a pin that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none.
    New,
    /// It named this node before.
    Moved(Arc<str>),
    /// The table is full of pins in use: this address goes without.
    Full,
}

/// What changed since it was last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pins that were made, moved, used or removed; some perhaps twice.
    pub keys: Vec<PinKey>,
    /// There were more than the list holds: what is kept must be made anew.
    pub has_overflowed: bool,
}

impl PinTable {
    /// From here on changes are listed, and `bell` is called, without a lock, when there is something
    /// new since they were last taken. It must not wait.
    pub fn keep_changes(&self, bell: impl Fn() + Send + Sync + 'static) {
        self.news.keep(Box::new(bell));
        for position in 0..self.shards.len() {
            self.lock(position).keep_changes();
        }
    }

    /// The keys that changed. Each is then to be asked for with [`PinTable::record`].
    pub fn take_changes(&self) -> Changes {
        self.news.begin();
        let mut changes = Changes::default();
        for position in 0..self.shards.len() {
            let (keys, has_overflowed) = self.lock(position).take_changes();
            changes.keys.extend(keys);
            changes.has_overflowed |= has_overflowed;
        }
        changes
    }

    /// The pin as it is to be kept; `None`: there is none any more. Later changes are listed anew.
    pub fn record(&self, key: &PinKey, now: Moment) -> Option<Pin> {
        self.shard(key).record(key, now)
    }

    /// Every pin as it is to be kept.
    pub fn record_all(&self, now: Moment) -> Vec<(PinKey, Pin)> {
        let mut pins = Vec::with_capacity(self.len());
        for position in 0..self.shards.len() {
            let mut shard = self.lock(position);
            let keys = shard.keys();
            let recorded = keys.into_iter().filter_map(|key| {
                let pin = shard.record(&key, now)?;
                Some((key, pin))
            });
            pins.extend(recorded);
        }
        pins
    }

    /// Lists pins in use of which the last record says that they lapse. To be called now and then:
    /// not every use is a change, but one that lasts is.
    pub fn note_held(&self) {
        let mut count = 0;
        for position in 0..self.shards.len() {
            count += self.lock(position).note_held();
        }
        if count > 0 {
            self.news.ring();
        }
    }

    /// Lists the key as changed.
    pub fn note(&self, key: &PinKey) {
        self.shard(key).note(key);
        self.news.ring();
    }

    /// Makes the pin say what is `kept`; its sessions stay under it.
    pub fn put(&self, key: &PinKey, kept: Kept, now: Moment) -> Put {
        {
            let mut shard = self.shard(key);
            if shard.live(key, now).is_some()
                && let Some(before) = shard.replace(key, kept.clone())
            {
                drop(shard);
                self.news.ring();
                return Put::Moved(before);
            }
            let lapsed = usize::from(shard.remove(key).is_some());
            drop(shard);
            self.count_lapsed(lapsed);
        }
        let is_partner = key.subject.is_partner();
        if !is_partner && !self.make_room(key) {
            self.refused.fetch_add(1, Relaxed);
            return Put::Full;
        }
        let serial = self.serial.fetch_add(1, Relaxed);
        let mut shard = self.shard(key);
        // Another thread may have pinned it while no lock was held.
        let put = match shard.replace(key, kept.clone()) {
            Some(before) => Put::Moved(before),
            None => {
                shard.insert(key, Entry::kept(kept, serial));
                Put::New
            }
        };
        drop(shard);
        self.news.ring();
        match (&put, is_partner) {
            (Put::New, true) => _ = self.partners.fetch_add(1, Relaxed),
            (Put::Moved(_), false) => _ = self.addresses.fetch_sub(1, Relaxed),
            _ => {}
        }
        put
    }
}
