//! What `/v1/partners` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PinOrder;

/// `GET /v1/partners`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partners {
    /// Configured partners, in the order of the file.
    pub partners: Vec<Partner>,
}

/// A configured partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partner {
    /// Its name.
    pub name: String,
    /// What software it runs.
    pub generation: String,
    /// How it federates.
    pub federation: String,
    /// Whether it cannot fail over by itself.
    pub legacy: bool,
    /// Where it connects from.
    pub addresses: Vec<String>,
    /// Its pins: none before its first session.
    pub pins: Vec<PartnerPin>,
    /// Sessions of it that a node has answered, however it is pinned.
    pub sessions: u64,
    /// When one last began or ended, by its pins also before the process started; none: it never came.
    #[serde(default)]
    pub last_used: Option<Timestamp>,
    /// Whether a node's fault ended its session and it has not come back.
    pub awaited: bool,
    /// Whom to call.
    pub contact: Option<String>,
    /// What TLS it speaks; none before its first handshake.
    #[serde(default)]
    pub tls: Option<PartnerTls>,
    /// What its own `tls_min` is, where it has one.
    #[serde(default)]
    pub tls_min: Option<String>,
    /// From which time its software is, by its hello and its habits: `ocs-era`, `lync-era`, `modern`,
    /// `scanner` or `unknown`. A suggestion beside `generation`.
    #[serde(default)]
    pub looks_like: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub looks_like_because: Vec<String>,
    /// What DNS says of its names: those of `edge`, and the targets of its domains.
    #[serde(default)]
    pub names: Vec<PartnerName>,
    /// What DNS says of the federation service of its domains.
    #[serde(default)]
    pub srv: Vec<PartnerService>,
    /// Addresses by which DNS makes it known: those that are not another partner's, too, nor ours.
    #[serde(default)]
    pub resolved: usize,
}

/// A name of a partner, by DNS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerName {
    /// The name.
    pub name: String,
    /// Its addresses, by the last good answer.
    pub addresses: Vec<String>,
    /// How long that holds by its own word.
    pub ttl_s: Option<u64>,
    /// When it came; none: never.
    pub resolved_at: Option<Timestamp>,
    /// How the question fails since.
    pub error: Option<String>,
}

/// `_sipfederationtls._tcp` of a domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerService {
    /// The domain.
    pub domain: String,
    /// The target that an Access Edge uses.
    pub target: Option<String>,
    /// All records, by the last good answer.
    pub records: Vec<ServiceRecord>,
    /// See [`PartnerName`].
    pub ttl_s: Option<u64>,
    /// See [`PartnerName`].
    pub resolved_at: Option<Timestamp>,
    /// See [`PartnerName`].
    pub error: Option<String>,
}

/// One SRV record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Lower is better.
    pub priority: u16,
    /// Higher is better.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its host.
    pub target: String,
    /// Why an Access Edge refuses it.
    pub violation: Option<String>,
}

/// What TLS a partner speaks; with `state_dir` over restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerTls {
    /// The newest version that it offers.
    pub offers: Option<String>,
    /// How often which version was agreed, the oldest first.
    pub negotiated: Vec<VersionCount>,
    /// From when on it is counted.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// When TLS 1.1 or less was last agreed.
    pub old_last: Option<Timestamp>,
    /// When it last shook hands.
    pub last_seen: Option<Timestamp>,
    /// The name in its certificate, up to TLS 1.2.
    pub certificate: Option<String>,
    /// Its latest hello in short: JA4.
    #[serde(default)]
    pub ja4: Option<String>,
}

/// So many handshakes agreed on this version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionCount {
    /// The version.
    pub version: String,
    /// How many.
    pub handshakes: u64,
}

/// A pin of a partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerPin {
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// The node.
    pub node: String,
    /// When it came to be this node.
    pub since: Timestamp,
    /// Why it is this node.
    pub by: String,
    /// Sessions that live under it.
    pub sessions: u32,
    /// When a session last began or ended under it.
    pub last_used: Timestamp,
    /// The administrator who made it so, by hand or for maintenance.
    #[serde(default)]
    pub order: Option<PinOrder>,
    /// The node that a failover took the partner away from.
    #[serde(default)]
    pub home: Option<String>,
}
