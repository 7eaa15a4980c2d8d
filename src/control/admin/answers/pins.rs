//! What `/v1/pins` answers and takes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PinChanged, PinRemoved};

/// `GET /v1/pins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pins {
    /// Pins, partners first; with `?limit=N` no more than so many.
    pub pins: Vec<Pin>,
    /// Pins of partners.
    pub partners: usize,
    /// Pins of addresses.
    pub addresses: usize,
    /// Pins of addresses at most.
    pub max: usize,
}

/// A pin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// Whom it is about.
    pub subject: Subject,
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// The node.
    pub node: String,
    /// When it came to be this node.
    pub since: Timestamp,
    /// Why it is this node: `placed`, `configured`, `failover`, `dial-failed`, `by-hand`, `failback`,
    /// `reverted` or `maintenance`.
    pub by: String,
    /// Sessions that live under it.
    pub sessions: u32,
    /// When a session last began or ended under it.
    pub last_used: Timestamp,
    /// Revision of the configuration under which it was made.
    pub revision: u64,
    /// An address's pin lapses this long after its last session.
    #[serde(default)]
    pub ttl_ms: u64,
    /// When it lapses, unless it is used; `None` while it is, and of a partner's, which never does.
    #[serde(default)]
    pub remaining_ms: Option<u64>,
    /// Who made it by hand.
    #[serde(default)]
    pub order: Option<PinOrder>,
    /// The node that a failover took the partner away from.
    #[serde(default)]
    pub home: Option<String>,
    /// Whoever comes from this address looks as if it could not fail over by itself: the pin moves at a
    /// failover as partners' do.
    #[serde(default)]
    pub looks_legacy: bool,
}

/// An administrator's word on a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinOrder {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What `pinfold pins export` writes, and `POST /v1/pins/import` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinFile {
    /// Of the format: 1.
    pub version: u32,
    /// When it was written: life goes on from then.
    pub exported: Timestamp,
    /// The pins.
    pub pins: Vec<Pin>,
}

/// The body of `PUT /v1/pins/{partner}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinWish {
    /// The node.
    pub node: String,
    /// Whether the partner's sessions on other nodes are ended.
    #[serde(default)]
    pub now: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Only in this pool.
    #[serde(default)]
    pub pool: Option<String>,
    /// Only for listeners of this affinity.
    #[serde(default)]
    pub affinity: Option<String>,
}

/// `PUT /v1/pins/{partner}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinsChanged {
    /// The pins concerned.
    pub changed: Vec<PinChanged>,
}

/// `DELETE /v1/pins/{partner}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinsRemoved {
    /// The pins concerned.
    pub removed: Vec<PinRemoved>,
}

/// Whom a pin is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// `partner` or `address`.
    pub kind: SubjectKind,
    /// The partner's name, or the address or prefix.
    pub name: String,
}

/// What kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// A configured partner.
    Partner,
    /// Whoever comes from an address or prefix.
    Address,
}
