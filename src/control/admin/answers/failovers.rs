//! What `/v1/failovers` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/failovers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failovers {
    /// Failovers, newest last.
    pub failovers: Vec<Failover>,
}

/// One node's downfall on one group of listeners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// Its number, from 1; numbers go on over restarts.
    pub number: u64,
    /// The pool.
    pub pool: String,
    /// The node that went down.
    pub node: String,
    /// The listeners concerned.
    pub listeners: Vec<String>,
    /// When the first thing spoke against the node.
    pub first_evidence: Timestamp,
    /// When its sessions were cut.
    pub cut: Timestamp,
    /// From the first evidence to the cut.
    pub decided_in_ms: f64,
    /// What condemned it.
    pub evidence: String,
    /// Sessions that it had when it was cut.
    pub sessions: u32,
    /// Pins of partners that moved.
    pub pins_moved: usize,
    /// Partners that lost a session.
    pub partners: Vec<Gap>,
}

/// How long one partner was cut off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// Who.
    pub partner: String,
    /// On which listener.
    pub listener: String,
    /// Since when it went without its node.
    pub cut_off_since: Timestamp,
    /// From then to the end of its session.
    pub ended_after_ms: f64,
    /// The node that serves it since; `None` while it has not come back.
    pub node: Option<String>,
    /// From then to its next connection.
    pub connected_after_ms: Option<f64>,
    /// From then to its next first byte.
    pub served_after_ms: Option<f64>,
    /// Whether the alarm was raised that it never came back.
    #[serde(default)]
    pub alarmed: bool,
    /// Whether it is no longer waited for: it did not come for a day, or a reload has removed it.
    #[serde(default)]
    pub given_up: bool,
}
