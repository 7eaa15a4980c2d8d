//! A pin: by what it is found, and what it says.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::pool::placement::Subject;

/// Where a pin holds. One is shared by all sessions of a listener, so that a key is small and costs
/// one count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinScope {
    /// Pool.
    pub pool: Arc<str>,
    /// Listeners of one affinity share pins.
    pub affinity: Arc<str>,
}

/// What a pin is found by. Hashed with a random key, because clients choose their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinKey {
    /// Where it holds.
    pub scope: Arc<PinScope>,
    /// Whom it is about.
    pub subject: Subject,
}

impl PinKey {
    /// The key of the pin of `subject`.
    #[must_use]
    pub fn new(scope: &Arc<PinScope>, subject: Subject) -> Self {
        Self {
            scope: Arc::clone(scope),
            subject,
        }
    }

    /// The key of a partner's pin.
    #[must_use]
    pub fn of_partner(scope: &Arc<PinScope>, partner: &Arc<str>) -> Self {
        Self::new(scope, Subject::Partner(Arc::clone(partner)))
    }
}

/// Why a pin names its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedBy {
    /// By placement.
    Placed,
    /// The partner prefers this node.
    Configured,
    /// Its node before went down.
    Failover,
    /// Its node before refused a dial.
    DialFailed,
    /// An administrator said so.
    ByHand,
    /// It returned to the node that it had come from.
    Failback,
    /// It was sent away, did not come where it was sent, and was put back; or its maintenance was undone.
    Reverted,
    /// Its node before is being maintained.
    Maintenance,
}

impl PinnedBy {
    pub(super) const ALL: [Self; 8] = [
        Self::Maintenance,
        Self::Failback,
        Self::Reverted,
        Self::Placed,
        Self::Configured,
        Self::Failover,
        Self::DialFailed,
        Self::ByHand,
    ];

    /// The reason with this label.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.label() == label)
    }

    /// For the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Configured => "configured",
            Self::Failover => "failover",
            Self::DialFailed => "dial-failed",
            Self::ByHand => "by-hand",
            Self::Failback => "failback",
            Self::Reverted => "reverted",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A pin as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Name of the node.
    pub node: Arc<str>,
    /// When the pin came to name this node.
    pub since: Moment,
    /// Why it does.
    pub by: PinnedBy,
    /// Sessions that live under it.
    pub sessions: u32,
    /// When a session last began or ended under it.
    pub last_used: Moment,
    /// Configuration revision under which it was made.
    pub revision: u64,
    /// An address's pin lapses this long after its last session; a partner's never does.
    pub ttl: Duration,
    /// The administrator who made it so, by hand or for maintenance; gone once it moves otherwise.
    pub order: Option<Arc<Order>>,
    /// The node that a partner was taken away from, while it is away and nobody has decided otherwise.
    pub home: Option<Arc<str>>,
    /// An address's pin: whoever comes from there looks as if it could not fail over by itself. It moves at
    /// a failover as partners' do.
    pub looks_legacy: bool,
}

/// An administrator's word on a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When, in seconds since 1970.
    pub at: i64,
}

impl Pin {
    /// Makes it name `to`. A partner that is taken away keeps where its home is.
    pub(super) fn go(&mut self, key: &PinKey, to: &Arc<str>, by: PinnedBy, now: Moment) {
        let from = std::mem::replace(&mut self.node, Arc::clone(to));
        let home = self.home.take().or(Some(from));
        self.home =
            home.filter(|home| key.subject.is_partner() && by != PinnedBy::ByHand && home != to);
        self.since = now;
        self.by = by;
        self.order = None;
    }
}

/// What a new pin shall say.
#[derive(Clone, Debug)]
pub struct NewPin {
    /// Name of the node.
    pub node: Arc<str>,
    /// Why this one.
    pub by: PinnedBy,
    /// Configuration revision.
    pub revision: u64,
    /// Life after the last session, of an address's pin.
    pub ttl: Duration,
    /// As [`Pin::looks_legacy`].
    pub looks_legacy: bool,
}

/// What became of a wish to pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// There is a new pin.
    New,
    /// There was one already, naming this node; it stands.
    Kept(Arc<str>),
    /// The table is full of pins in use: this address goes without.
    Full,
}
