//! Certificate names learned from addresses.
//!
//! Owns what completed handshakes have taught: which names the client at an address has shown to a node
//! that accepted them. A name only helps to place and to tell; nothing learned ever grants or blocks.
//! Partners are found through the names of the table in force, so a reload needs nothing here.
//! Invariants: at most [`Learned::MAX`] addresses, each with little; an address that shows two different
//! names teaches nothing until it has shown only one for a day.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// Names of one certificate, the most telling first.
pub type Names = Arc<[Box<str>]>;

/// What was seen of TLS beside the names: versions as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The newest version that was offered.
    pub offered: u16,
    /// The version that was agreed.
    pub negotiated: u16,
}

/// What an observation taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// The address has a name now.
    New,
    /// It is known longer.
    Renewed,
    /// It has shown another name lately: nothing.
    Ambiguous,
    /// There is no name in it.
    Nameless,
}

/// One address, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Where it connects from.
    pub address: IpAddr,
    /// What its certificate says.
    pub names: Vec<String>,
    /// Life that remains.
    pub remaining: Duration,
    /// For how long it teaches nothing yet, because it has shown another name; zero: it is known.
    pub doubt: Duration,
    /// What it spoke.
    pub spoken: Spoken,
}

/// All addresses. Shared by reference.
#[derive(Debug)]
pub struct Learned {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    max_per_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<IpAddr, Entry>,
    /// Entries by the moment they expire; the serial keeps places apart.
    queue: BTreeMap<(Moment, u64), IpAddr>,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    names: Names,
    spoken: Spoken,
    place: (Moment, u64),
    /// When it last showed another name than before.
    differed: Option<Moment>,
}

impl Default for Learned {
    fn default() -> Self {
        Self::with_shards(SHARDS, Self::MAX / SHARDS)
    }
}

impl Learned {
    /// Addresses that are remembered; those that would be forgotten first go for others.
    pub const MAX: usize = 16_384;
    /// An address that has not completed a handshake for so long is forgotten.
    pub const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
    /// For so long an address that has shown two names teaches nothing.
    pub const DOUBT: Duration = Duration::from_secs(24 * 3600);

    fn with_shards(shards: usize, max_per_shard: usize) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            max_per_shard: max_per_shard.max(1),
        }
    }

    /// A node has accepted the certificate with `names`, shown from `address`.
    pub fn observe(
        &self,
        address: IpAddr,
        names: &[Box<str>],
        spoken: Spoken,
        now: Moment,
    ) -> Lesson {
        let names = kept(names);
        if names.is_empty() {
            return Lesson::Nameless;
        }
        let mut shard = self.shard(address);
        shard.expire(now);
        let (lesson, differed) = match shard.entries.get(&address) {
            None => (Lesson::New, None),
            Some(entry) if !entry.names.iter().any(|name| names.contains(name)) => {
                (Lesson::Ambiguous, Some(now))
            }
            Some(entry) if entry.is_in_doubt(now) => (Lesson::Ambiguous, entry.differed),
            Some(entry) if entry.differed.is_some() => (Lesson::New, None),
            Some(_) => (Lesson::Renewed, None),
        };
        shard.store(address, (names, spoken, differed), now + Self::LIFE);
        while shard.entries.len() > self.max_per_shard {
            shard.forget_first();
        }
        lesson
    }

    /// A node has resumed a session with `address`: what is known of it holds longer.
    pub fn renew(&self, address: IpAddr, spoken: Spoken, now: Moment) {
        let mut shard = self.shard(address);
        shard.expire(now);
        if let Some(entry) = shard.entries.get(&address) {
            let (names, differed) = (Arc::clone(&entry.names), entry.differed);
            shard.store(address, (names, spoken, differed), now + Self::LIFE);
        }
    }

    /// The names that `address` is known by; none while they are in doubt.
    #[must_use]
    pub fn names(&self, address: IpAddr, now: Moment) -> Option<Names> {
        let shard = self.shard(address);
        let entry = shard.entries.get(&address)?;
        let is_known = entry.place.0 > now && !entry.is_in_doubt(now);
        is_known.then(|| Arc::clone(&entry.names))
    }

    /// Addresses that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        (0..self.shards.len())
            .map(|at| self.lock(at).entries.len())
            .sum()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that is remembered, what is in doubt, too: an address stays so over a restart.
    #[must_use]
    pub fn export(&self, now: Moment) -> Vec<Exported> {
        let mut all = Vec::new();
        for at in 0..self.shards.len() {
            let shard = self.lock(at);
            let known = shard.entries.iter();
            let known = known.filter(|(_, entry)| entry.place.0 > now);
            all.extend(known.map(|(address, entry)| Exported {
                address: *address,
                names: entry.names.iter().map(ToString::to_string).collect(),
                remaining: entry.place.0.since(now),
                doubt: entry.doubt(now),
                spoken: entry.spoken,
            }));
        }
        all
    }

    /// Addresses whose names are wanted, without doubt; of others nothing is copied. `is_wanted` is asked with a
    /// shard locked.
    pub fn seen_from(
        &self,
        now: Moment,
        is_wanted: impl Fn(&Names) -> bool,
    ) -> Vec<(IpAddr, Names)> {
        let mut seen = Vec::new();
        for at in 0..self.shards.len() {
            let shard = self.lock(at);
            let known = shard.entries.iter().filter(|(_, entry)| {
                let is_known = entry.place.0 > now && !entry.is_in_doubt(now);
                is_known && is_wanted(&entry.names)
            });
            seen.extend(known.map(|(address, entry)| (*address, Arc::clone(&entry.names))));
        }
        seen
    }

    /// Takes up what was exported. What is known already stands; no life is longer than
    /// [`Learned::LIFE`].
    pub fn import(&self, exported: impl IntoIterator<Item = Exported>, now: Moment) {
        for each in exported {
            let names: Vec<Box<str>> = each.names.into_iter().map(Into::into).collect();
            let names = kept(&names);
            let mut shard = self.shard(each.address);
            let is_welcome = !names.is_empty() && !each.remaining.is_zero();
            if is_welcome && !shard.entries.contains_key(&each.address) {
                let until = now + each.remaining.min(Self::LIFE);
                let doubted = Self::DOUBT.min(each.doubt);
                let differed = now.before(Self::DOUBT.saturating_sub(doubted));
                let differed = (!doubted.is_zero()).then_some(differed);
                shard.store(each.address, (names, each.spoken, differed), until);
                while shard.entries.len() > self.max_per_shard {
                    shard.forget_first();
                }
            }
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(address);
        self.lock(usize::try_from(hash % self.shards.len() as u64).unwrap_or(0))
    }

    /// Nothing can panic between two changes of a shard.
    fn lock(&self, at: usize) -> MutexGuard<'_, Shard> {
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_in_doubt(&self, now: Moment) -> bool {
        !self.doubt(now).is_zero()
    }

    fn doubt(&self, now: Moment) -> Duration {
        let passed = self.differed.map(|at| now.since(at));
        passed.map_or(Duration::ZERO, |passed| {
            Learned::DOUBT.saturating_sub(passed)
        })
    }
}

impl Shard {
    fn store(
        &mut self,
        address: IpAddr,
        (names, spoken, differed): (Names, Spoken, Option<Moment>),
        until: Moment,
    ) {
        self.serial += 1;
        let place = (until, self.serial);
        let entry = Entry {
            names,
            spoken,
            place,
            differed,
        };
        if let Some(before) = self.entries.insert(address, entry) {
            self.queue.remove(&before.place);
        }
        self.queue.insert(place, address);
    }

    fn expire(&mut self, now: Moment) {
        while self
            .queue
            .first_key_value()
            .is_some_and(|(place, _)| place.0 <= now)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, address)) = self.queue.pop_first() {
            self.entries.remove(&address);
        }
    }
}

/// As many of `names` as are kept of one certificate.
fn kept(names: &[Box<str>]) -> Names {
    let mut room = NAMES_BYTES_MAX;
    let mut kept = Vec::new();
    for name in names.iter().take(NAMES_MAX) {
        if let Some(left) = room.checked_sub(name.len()) {
            room = left;
            kept.push(name.clone());
        }
    }
    kept.into()
}

/// Enough that a dozen workers seldom meet in one shard.
const SHARDS: usize = 32;
const NAMES_MAX: usize = 16;
const NAMES_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
