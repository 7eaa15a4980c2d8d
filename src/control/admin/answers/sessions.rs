//! What `/v1/sessions` answers.

use serde::{Deserialize, Serialize};

/// `GET /v1/sessions`: how many, where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sessions {
    /// By listener, in the order of the file.
    pub listeners: Vec<ListenerSessions>,
    /// By node and the listeners that are probed together.
    pub nodes: Vec<NodeSessions>,
}

/// Sessions of a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerSessions {
    /// Its name.
    pub listener: String,
    /// Sessions now.
    pub sessions: u64,
    /// Sessions since the start, those refused included.
    pub sessions_total: u64,
    /// Sessions that there may be at once.
    pub max_sessions: u32,
    /// Bytes from clients to nodes.
    pub bytes_up: u64,
    /// Bytes from nodes to clients.
    pub bytes_down: u64,
    /// Ended sessions by outcome; outcomes that never occurred are left out.
    pub outcomes: Vec<OutcomeCount>,
}

/// So many sessions ended so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// How.
    pub outcome: String,
    /// Whose doing it was: `client`, `node`, `us` or `nobody`.
    pub blame: String,
    /// How many.
    pub sessions: u64,
}

/// Sessions of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeSessions {
    /// The pool.
    pub pool: String,
    /// The node.
    pub node: String,
    /// The listeners.
    pub listeners: Vec<String>,
    /// Sessions now, dials included.
    pub sessions: u32,
}
