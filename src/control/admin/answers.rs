//! What the admin API answers, as the command line reads it.
//!
//! A contract: fields are added, never renamed. Times are RFC 3339 in UTC, rounded to milliseconds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::drill::{
    Drill, DrillPartner, DrillUsers, MaintenanceBegun, PinMoved, PinsMoved, SessionsEnded, Survivor,
};
pub use self::explanation::{
    Attempts, Back, Candidate, CutOff, Explanation, Judged, Place, SessionsOn, Source, Trouble,
};
pub use crate::control::pins::{PinChanged, PinRemoved};
pub use crate::control::{Imported, NodeChanged, Reloaded};
use crate::store::Wanted;

mod drill;
mod explanation;

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Revision of the configuration in force.
    pub revision: u64,
    /// Where the configuration comes from.
    pub source: String,
    /// When the process started.
    pub started: Timestamp,
    /// For how long it runs.
    pub uptime_s: u64,
    /// What `/ready` says.
    pub ready: bool,
    /// Why it is not.
    pub not_ready: Vec<String>,
    /// Listeners, in the order of the file.
    pub listeners: Vec<Listener>,
    /// How many pins there are.
    pub pins: PinCounts,
    /// How many partners there are.
    pub partners: PartnerCounts,
    /// What the last reload said, if it failed.
    pub last_reload_failure: Option<String>,
    /// What an administrator must know, worst first.
    pub attention: Vec<String>,
}

/// A listener of [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// What is spoken.
    pub service: String,
    /// Its pool.
    pub pool: String,
    /// Addresses that are listened on, a port 0 resolved.
    pub bound: Vec<String>,
    /// Whether all of them are open.
    pub open: bool,
    /// Sessions now.
    pub sessions: u64,
    /// Sessions since the start, those refused included.
    pub sessions_total: u64,
    /// Sessions that there may be at once.
    pub max_sessions: u32,
    /// Its nodes.
    pub nodes: Vec<ListenerNode>,
}

/// A node as one listener sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListenerNode {
    /// Its name.
    pub node: String,
    /// `unproven`, `up`, `suspect` or `down`.
    pub health: String,
    /// What it is good for: `takes`, `suspect`, `held`, `draining`, `unproven`, `down` or `never`.
    pub standing: String,
    /// Since when its health is so.
    pub since: Timestamp,
    /// Its sessions, those of listeners that are probed together included.
    pub sessions: u32,
}

/// How many pins there are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PinCounts {
    /// Of partners.
    pub partners: usize,
    /// Of addresses.
    pub addresses: usize,
    /// Of addresses at most.
    pub max: usize,
}

/// How many partners there are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PartnerCounts {
    /// In the configuration.
    pub configured: usize,
    /// Lost a session by a node's fault and have not been served since.
    pub awaited: usize,
}

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
    /// Until when it takes only its pinned clients: a time, or `resume` by an administrator.
    pub held_until: Option<String>,
    /// Its sessions, dials included.
    pub sessions: u32,
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
    /// Sessions that live under its pins.
    pub sessions: u64,
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
    /// From which time its TLS stack is, by its hello: `ocs-era`, `lync-era`, `modern`, `scanner` or
    /// `unknown`. A suggestion beside `generation`.
    #[serde(default)]
    pub looks_like: Option<String>,
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

/// What TLS a partner speaks, since the start of the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerTls {
    /// The newest version that it offers.
    pub offers: Option<String>,
    /// How often which version was agreed, the oldest first.
    pub negotiated: Vec<VersionCount>,
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
}

/// `POST /v1/nodes/{node}/…`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// What is wanted.
    pub state: Wanted,
    /// When a drain cuts what is left.
    pub deadline_s: Option<u64>,
    /// The nodes concerned, with their sessions at this moment.
    pub changed: Vec<NodeChanged>,
}

/// Anything that was refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Refused {
    /// Why, in a sentence.
    pub error: String,
    /// What a refused reload found: one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<String>,
    /// How `pinfold` exits on this, where it is not 69 (`sysexits.h`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}
