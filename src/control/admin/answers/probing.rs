//! What `/v1/nodes/{node}/probe` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{NodeCertificate, NodeTlsFault, NodeTurn};

/// `GET /v1/nodes/{node}/probe`: every service of a node, asked once and now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probed {
    /// The node.
    pub node: String,
    /// When it was asked.
    pub at: Timestamp,
    /// Whether all that were asked have answered, in time.
    pub all_answered: bool,
    /// What is wanted of it in each of its pools.
    pub pools: Vec<ProbedPool>,
    /// Each address, port and kind of probe once, in the order of the file.
    pub services: Vec<ProbedService>,
}

/// A pool of [`Probed`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbedPool {
    /// Its name.
    pub name: String,
    /// `active`, `draining` or `disabled`.
    pub state: String,
}

/// One question to a node, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbedService {
    /// The pools whose listeners ask so.
    pub pools: Vec<String>,
    /// The listeners that ask so.
    pub listeners: Vec<String>,
    /// Where it was asked.
    pub address: String,
    /// What was asked: `probe.kind`.
    pub probe: String,
    /// `answered`, `refused`, `reset`, `unreachable`, `timed-out`, `wrong-answer`, `not-asked` (its kind is
    /// `none`), or `failed` for a reason of this machine.
    pub result: String,
    /// After how long it answered or failed; after `timed-out`, how late the answer was, if one came.
    pub millis: Option<f64>,
    /// For how long it was waited for.
    pub timeout_ms: f64,
    /// What the system said.
    pub error: Option<String>,
    /// The version of TLS that it chose; probes offer 1.0 to 1.2.
    pub tls: Option<String>,
    /// What it showed, up to TLS 1.2. `same`: what the other nodes that are asked alike last showed.
    pub certificate: Option<NodeCertificate>,
    /// What it said to an Allocate.
    #[serde(default)]
    pub turn: Option<NodeTurn>,
    /// Why it cannot be spoken to in TLS, where a whole handshake was tried.
    #[serde(default)]
    pub tls_fault: Option<NodeTlsFault>,
}
