//! What `/v1/drill/{node}` answers, and what maintenance is made of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::control::NodeChanged;

/// `GET /v1/drill/{node}`: what would happen if the node were gone at this moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drill {
    /// The node.
    pub node: String,
    /// When this was so.
    pub at: Timestamp,
    /// Revision of the configuration in force.
    pub revision: u64,
    /// Where the configuration comes from.
    pub source: String,
    /// Whether the others can do without it.
    pub holds: bool,
    /// Why they cannot.
    pub problems: Vec<String>,
    /// What hurts all the same.
    pub hurts: Vec<String>,
    /// Partners that are pinned to it or have sessions there, legacy ones first.
    pub partners: Vec<DrillPartner>,
    /// Sessions of everybody else, by the listeners that share them.
    pub users: Vec<DrillUsers>,
    /// What the other nodes would have.
    pub survivors: Vec<Survivor>,
    /// How long it takes until everybody else is admitted at `max_new_per_node`; `None`: at once.
    pub users_back_s: Option<f64>,
}

/// A partner that would move.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillPartner {
    /// Its name.
    pub partner: String,
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// Whether it cannot fail over by itself.
    pub legacy: bool,
    /// Its sessions with the node.
    pub sessions: usize,
    /// Whether it is pinned to the node by name.
    pub pinned: bool,
    /// Where its pin would go; `None` where nobody else takes it, or it has none there.
    pub to: Option<String>,
    /// How long it may take to be back, in seconds, before that is an alarm.
    pub alarm_after_s: u64,
    /// Whom to call.
    pub contact: Option<String>,
}

/// Sessions that would be ended, of those who are no partners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrillUsers {
    /// The pool.
    pub pool: String,
    /// The listeners.
    pub listeners: Vec<String>,
    /// How many.
    pub sessions: u64,
}

/// A node that would have to carry more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Survivor {
    /// The pool.
    pub pool: String,
    /// The node.
    pub node: String,
    /// The listeners that this is about.
    pub listeners: Vec<String>,
    /// What it is good for there.
    pub standing: String,
    /// Its sessions now.
    pub sessions: u64,
    /// Its sessions then.
    pub sessions_then: u64,
    /// Ports that there are towards its address; a session takes one.
    pub ports: u64,
}

/// `POST /v1/nodes/{node}/maintain`: the node takes no new sessions from now on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MaintenanceBegun {
    /// One for each pool that uses the node.
    pub changed: Vec<NodeChanged>,
}

/// `POST /v1/nodes/{node}/move` and `/return`: pins that were moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PinsMoved {
    /// The pins concerned.
    pub moved: Vec<PinMoved>,
}

/// A pin of a partner that was moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinMoved {
    /// The partner.
    pub partner: String,
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// The node before.
    pub from: String,
    /// The node now.
    pub to: String,
    /// Sessions that it had there and that were ended, so that it comes again.
    pub ended: usize,
    /// Sessions of SIP that it had there: they were taken off the node, and go on with another one where one takes
    /// them.
    #[serde(default)]
    pub sip: usize,
    /// Whether a byte passed in one of them within `alarm_after`: it has a reason to be back by then.
    pub active: bool,
}

/// `POST /v1/nodes/{node}/end`: sessions that were taken off the node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SessionsEnded {
    /// How many ended.
    pub ended: usize,
    /// How many are of SIP: they go on with another node where one takes them.
    #[serde(default)]
    pub sip: usize,
    /// How many the node has still, those included that are just ending.
    pub left: u64,
}
