//! What `/v1/nodes` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::Wanted;

/// `GET /v1/nodes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodes {
    /// Nodes of every pool, in the order of the file; then those that a reload removed and that still
    /// have sessions.
    pub nodes: Vec<Node>,
}

/// A node of a pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// `active`, `draining`, `disabled`; or `removed` by a reload.
    pub state: String,
    /// Its share of placements.
    pub weight: u32,
    /// Who gave it this state, where it is not the file.
    pub administered: Option<Administered>,
    /// Its sessions, dials included.
    pub sessions: u64,
    /// What it does, one for each address and kind of probe.
    pub services: Vec<NodeService>,
}

/// An administrator's word on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Administered {
    /// What is wanted.
    pub state: Wanted,
    /// Who wants it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// When a drain cuts what is left.
    pub deadline: Option<Timestamp>,
    /// Its maintenance, while that lasts.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
}

/// A node is being emptied, or is empty, for maintenance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Maintenance {
    /// Since when.
    pub since: Timestamp,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A node's address as one kind of probe judges it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeService {
    /// The listeners that it serves.
    pub listeners: Vec<String>,
    /// Where it is dialled.
    pub address: String,
    /// `unproven`, `up`, `suspect` or `down`.
    pub health: String,
    /// What it is good for.
    pub standing: String,
    /// Since when its health is so.
    pub since: Timestamp,
    /// The last thing that spoke for or against it.
    pub evidence: Option<String>,
    /// When that was.
    pub evidence_at: Option<Timestamp>,
    /// Failures since the last good probe.
    pub failures: u32,
    /// What it last showed to a `tls-hello` probe.
    #[serde(default)]
    pub certificate: Option<NodeCertificate>,
    /// What it last said to a `turn-allocate` probe.
    #[serde(default)]
    pub turn: Option<NodeTurn>,
    /// Why it cannot be spoken to in TLS, as far as probes have tried.
    #[serde(default)]
    pub tls_fault: Option<NodeTlsFault>,
    /// Until when it takes only its pinned clients: a time, or `resume` by an administrator.
    pub held_until: Option<String>,
    /// Its sessions, dials included.
    pub sessions: u32,
}

/// What a node says to an Allocate without credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeTurn {
    /// The code of its refusal, 401 as it should be; `null`: it relays for anybody.
    pub code: Option<u16>,
    /// Where it sends its clients over UDP, if it says so.
    pub alternate_server: Option<String>,
    /// Where it should send them: its own configured address.
    pub configured: String,
    /// What is wrong with it: `elsewhere` (`alternate_server` is not `configured`), `other-code`, or `open`.
    pub fault: Option<String>,
}

/// Why a node cannot be spoken to in TLS from here. It lives all the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeTlsFault {
    /// `nothing-in-common`, `untrusted`, `refused` (what we show, or lack), or `odd`.
    pub fault: String,
    /// What was said of it.
    pub says: String,
    /// What to do about it.
    pub remedy: String,
}

/// A certificate that a node shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeCertificate {
    /// Its name.
    pub name: String,
    /// All its host names.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Option<Timestamp>,
    /// Until when it is valid.
    pub not_after: Option<Timestamp>,
    /// Whether it may be used by a client and by a server, both of which an Access Edge is.
    pub client: bool,
    /// See `client`.
    pub server: bool,
    /// SHA-256 of its public key, in hexadecimal.
    pub key: String,
    /// Whether all nodes that are asked alike show the same.
    pub same: bool,
}
