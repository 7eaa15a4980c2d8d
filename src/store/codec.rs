//! Pins as bytes.
//!
//! JSON, because it is read by people in an emergency, tolerates fields that a later version adds, and
//! is quick enough by far. Pure: times are arguments. A record is data from a file: whatever it says, it
//! makes a pin or an error, never a panic.
//!
//! Life is kept in *lived* time: microseconds that instances with this file have lived, one after the
//! other. It stands still while none runs, so that what is kept is the life remaining.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::pool::pins::{Kept, Order, Pin, PinKey, PinnedBy};
use crate::pool::placement::Subject;

/// Whose pin it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Pool.
    pub pool: String,
    /// Affinity.
    pub affinity: String,
    /// Whom it is about.
    pub subject: Whom,
}

/// A [`Subject`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    /// A configured partner.
    Partner(String),
    /// Whoever comes from this prefix.
    Prefix(IpNet),
}

/// What is kept of a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The node.
    pub node: String,
    /// Why it is this node: a label of [`PinnedBy`].
    pub by: String,
    /// When it came to be this node.
    pub since: Timestamp,
    /// When a session last began or ended under it.
    pub last_used: Timestamp,
    /// When it lapses, in lived microseconds; `None` while it is in use, and of a partner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses: Option<u64>,
    /// Its life after the last session, in milliseconds.
    pub ttl_ms: u64,
    /// Revision of the configuration under which it was made.
    pub revision: u64,
    /// Who made it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Word>,
    /// The node that it was taken away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Whoever comes from this address looks legacy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looks_legacy: bool,
}

/// An [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// The present, by each of the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// Monotonic.
    pub moment: Moment,
    /// On the wall.
    pub wall: Timestamp,
    /// Microseconds that instances have lived.
    pub lived: u64,
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// They are no JSON, or lack a field.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The reason is none that is known.
    #[error("nothing is pinned by \"{0}\"")]
    By(String),
}

/// The bytes of a key. Different keys have different bytes.
///
/// # Errors
///
/// None that occurs: the type has only strings for keys.
pub fn encode_key(key: &PinKey) -> Result<Vec<u8>, Unreadable> {
    Ok(serde_json::to_vec(&Key::from(key))?)
}

/// The bytes of what is kept of `pin`.
///
/// # Errors
///
/// As [`encode_key`].
pub fn encode(key: &PinKey, pin: &Pin, now: Present) -> Result<Vec<u8>, Unreadable> {
    Ok(serde_json::to_vec(&Record::of(key, pin, now))?)
}

/// What bytes say of a pin.
///
/// # Errors
///
/// The bytes are no record of this version.
pub fn decode(key: &[u8], record: &[u8]) -> Result<(Key, Record), Unreadable> {
    let (key, record): (Key, Record) = (
        serde_json::from_slice(key)?,
        serde_json::from_slice(record)?,
    );
    if PinnedBy::from_label(&record.by).is_none() {
        return Err(Unreadable::By(record.by));
    }
    Ok((key, record))
}

impl Record {
    /// What is to be kept of `pin`.
    #[must_use]
    pub fn of(key: &PinKey, pin: &Pin, now: Present) -> Self {
        let is_idle = pin.sessions == 0 && !key.subject.is_partner();
        let lapses = (pin.last_used + pin.ttl).since(now.moment);
        Self {
            node: pin.node.to_string(),
            by: pin.by.label().into(),
            since: now.wall_of(pin.since),
            last_used: now.wall_of(pin.last_used),
            lapses: is_idle.then(|| now.lived.saturating_add(micros(lapses))),
            ttl_ms: u64::try_from(pin.ttl.as_millis()).unwrap_or(u64::MAX),
            revision: pin.revision,
            order: pin.order.as_deref().map(Word::from),
            home: pin.home.as_ref().map(ToString::to_string),
            looks_legacy: pin.looks_legacy,
        }
    }

    /// The pin as it is to stand; `None` where its life has run out. Nobody has more life than its
    /// `ttl`, whatever the record says.
    #[must_use]
    pub fn kept(&self, key: &Key, node: &Arc<str>, now: Present) -> Option<Kept> {
        let ttl = Duration::from_millis(self.ttl_ms);
        let is_partner = matches!(key.subject, Whom::Partner(_));
        let remaining = match self.lapses {
            Some(lapses) => Duration::from_micros(lapses.saturating_sub(now.lived)).min(ttl),
            // Its session has ended with the instance, if not before.
            None => ttl,
        };
        let last_used = match is_partner {
            true => now.moment_of(self.last_used),
            false if remaining.is_zero() => return None,
            false => now.moment.before(ttl - remaining),
        };
        Some(Kept {
            node: Arc::clone(node),
            since: now.moment_of(self.since),
            by: PinnedBy::from_label(&self.by)?,
            last_used,
            revision: self.revision,
            ttl,
            order: self.order.as_ref().map(|word| Arc::new(word.into())),
            home: self.home.as_deref().map(Arc::from),
            looks_legacy: self.looks_legacy && !is_partner,
        })
    }
}

impl Present {
    /// Microseconds that instances have lived at `moment`, which is no earlier.
    #[must_use]
    pub fn lived_at(self, moment: Moment) -> u64 {
        self.lived.saturating_add(micros(moment.since(self.moment)))
    }

    fn wall_of(self, moment: Moment) -> Timestamp {
        let ago = SignedDuration::try_from(self.moment.since(moment)).unwrap_or_default();
        self.wall.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A time to come, by a clock that was set back since, is the present.
    fn moment_of(self, wall: Timestamp) -> Moment {
        let ago = self.wall.duration_since(wall);
        self.moment.before(ago.try_into().unwrap_or_default())
    }
}

impl From<&PinKey> for Key {
    fn from(key: &PinKey) -> Self {
        Self {
            pool: key.scope.pool.to_string(),
            affinity: key.scope.affinity.to_string(),
            subject: match &key.subject {
                Subject::Partner(name) => Whom::Partner(name.to_string()),
                Subject::Prefix(net) => Whom::Prefix(*net),
            },
        }
    }
}

impl From<&Order> for Word {
    fn from(order: &Order) -> Self {
        Self {
            by: order.by.clone(),
            reason: order.reason.clone(),
            at: order.at,
        }
    }
}

impl From<&Word> for Order {
    fn from(word: &Word) -> Self {
        Self {
            by: word.by.clone(),
            reason: word.reason.clone(),
            at: word.at,
        }
    }
}

/// As it is kept: in microseconds, and never more than fit.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
