//! Us or them: whether a partner fails by its own doing or by a node's.
//!
//! Pure. Looks at how the last sessions of each partner with each node went, on each listener for itself: what
//! works on one hides nothing on another, since nodes fail by the service and links by the VIP. A partner that
//! fails wherever it comes while others are normal there has trouble of its own, or on its way; a node on which
//! everybody fails while others are normal elsewhere is at fault, with what that listener asks of it. Where
//! neither is seen nobody is accused, and a single failure accuses nobody. Decides nothing: administrators and
//! the log are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::ground::Ground;
pub use self::record::Record;
use crate::telemetry::outcome::Outcome;

mod ground;
mod record;

/// How a partner fares with a node lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fared {
    /// On which listener.
    pub listener: Arc<str>,
    /// The node.
    pub node: Arc<str>,
    /// Failures since it was last served; 0: it is normal.
    pub failures: u32,
}

/// Who is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody: the partner is served.
    Neither,
    /// The partner, or the way to it.
    Partner,
    /// This node.
    Node(Arc<str>),
    /// Too little was seen.
    Unknown,
}

impl Verdict {
    /// For the admin API and the log.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Partner => "partner",
            Self::Node(_) => "node",
            Self::Unknown => "unknown",
        }
    }

    /// Whether somebody is accused.
    #[must_use]
    pub const fn is_accusation(&self) -> bool {
        matches!(self, Self::Partner | Self::Node(_))
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Who.
    pub verdict: Verdict,
    /// On which listener.
    pub listener: Arc<str>,
    /// Why, in a sentence.
    pub evidence: String,
}

/// Whether a session that ended so speaks for its node and its partner, against one of them, or says
/// nothing. `was_served`: the node has answered, and accepted what the client has shown. What breaks after
/// that is a matter of health, and of the ledger.
#[must_use]
pub const fn speaks_for(outcome: Outcome, was_served: bool) -> Option<bool> {
    match outcome {
        Outcome::NodeClosed | Outcome::ClientReset | Outcome::NodeReset => Some(was_served),
        Outcome::DialFailed | Outcome::TlsAlertClient | Outcome::TlsAlertNode => Some(false),
        Outcome::ClientClosed
        | Outcome::ClientLost
        | Outcome::NodeLost
        | Outcome::Idle
        | Outcome::Redirected
        | Outcome::NodeDown
        | Outcome::Drained
        | Outcome::Disabled
        | Outcome::Moved
        | Outcome::Removed
        | Outcome::Stopped => match was_served {
            true => Some(true),
            false => None,
        },
        Outcome::FirstBytesTimeout
        | Outcome::NoNode
        | Outcome::RefusedLimit
        | Outcome::RefusedPace
        | Outcome::RefusedAccess
        | Outcome::RefusedProxy
        | Outcome::RefusedTls
        | Outcome::RefusedMessage
        | Outcome::Shortage
        | Outcome::InternalError => None,
    }
}

/// How all partners fared on all nodes lately.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    grounds: BTreeMap<Arc<str>, Ground>,
    partners: BTreeSet<Arc<str>>,
}

impl Picture {
    /// Adds how one partner `fared`; of two words on one place the first counts. Nothing where the partner was
    /// added before.
    pub fn add(&mut self, partner: &Arc<str>, fared: impl IntoIterator<Item = Fared>) {
        let mut places: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for each in fared {
            let nodes = places.entry(each.listener).or_default();
            nodes.entry(each.node).or_insert(each.failures);
        }
        if places.is_empty() || !self.partners.insert(Arc::clone(partner)) {
            return;
        }
        for (listener, fared) in places {
            let ground = self.grounds.entry(Arc::clone(&listener));
            let ground = ground.or_insert_with(|| Ground::on(listener));
            ground.add(partner, fared);
        }
    }

    /// Who is at fault where `partner` fails: of what is to be said on each listener the gravest. `None` where
    /// no session of it with a node was seen.
    #[must_use]
    pub fn of_partner(&self, partner: &str) -> Option<Judgement> {
        let judged = self.judgements(partner);
        let gravest = judged.min_by_key(|(gravity, _)| *gravity);
        gravest.map(|(_, judgement)| judgement)
    }

    /// What accuses somebody where `partner` fails, on each listener.
    pub fn accusations_of(&self, partner: &str) -> impl Iterator<Item = Judgement> {
        let judged = self.judgements(partner).map(|(_, judgement)| judgement);
        judged.filter(|judgement| judgement.verdict.is_accusation())
    }

    fn judgements(&self, partner: &str) -> impl Iterator<Item = (Gravity, Judgement)> {
        let concerned = self.grounds.values();
        let concerned = concerned.filter(move |ground| ground.knows(partner));
        concerned.map(move |ground| {
            let judgement = ground.of_partner(partner);
            let gravity = match judgement.verdict {
                Verdict::Partner => Gravity::Theirs,
                Verdict::Node(_) => Gravity::Ours,
                Verdict::Unknown if ground.failures(partner) >= ENOUGH => Gravity::Somebodys,
                Verdict::Neither => Gravity::Nobodys,
                Verdict::Unknown => Gravity::Unseen,
            };
            (gravity, judgement)
        })
    }

    /// Nodes on which everybody fails on a listener while others are normal elsewhere, and what speaks against
    /// each.
    #[must_use]
    pub fn accused(&self) -> Vec<(Arc<str>, Judgement)> {
        self.grounds.values().flat_map(Ground::accused).collect()
    }

    /// Partners of which something was seen, in order of their names.
    pub fn partners(&self) -> impl Iterator<Item = &Arc<str>> {
        self.partners.iter()
    }

    /// Those of them that fail somewhere: nobody else can be accused.
    pub fn failing(&self) -> impl Iterator<Item = &Arc<str>> {
        let failing: BTreeSet<_> = self.grounds.values().flat_map(Ground::failing).collect();
        failing.into_iter()
    }
}

/// What is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gravity {
    Theirs,
    Ours,
    Somebodys,
    Nobodys,
    Unseen,
}

/// One failure may be anybody's.
const ENOUGH: u32 = 2;

#[cfg(test)]
mod tests;
