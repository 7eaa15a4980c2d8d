//! What the admin API answers, as the command line reads it.
//!
//! A contract: fields are added, never renamed. Times are RFC 3339 in UTC, rounded to milliseconds.
//! Owns what is answered of the process and of changes; each other path has a file of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::drill::{
    Drill, DrillPartner, DrillUsers, MaintenanceBegun, PinMoved, PinsMoved, SessionsEnded, Survivor,
};
pub use self::explanation::{
    Attempts, Back, Candidate, CutOff, Explanation, Judged, Place, SessionsOn, Source, Trouble,
};
pub use self::failovers::{Failover, Failovers, Gap};
pub use self::nodes::{
    Administered, Maintenance, Node, NodeCertificate, NodeService, NodeTlsFault, NodeTurn, Nodes,
};
pub use self::partners::{
    Partner, PartnerName, PartnerPin, PartnerService, PartnerTls, Partners, ServiceRecord,
    VersionCount,
};
pub use self::pins::{
    Pin, PinFile, PinOrder, PinWish, Pins, PinsChanged, PinsRemoved, Subject, SubjectKind,
};
pub use self::probing::{Probed, ProbedPool, ProbedService};
pub use self::sessions::{ListenerSessions, NodeSessions, OutcomeCount, Sessions};
pub use crate::control::pins::{PinChanged, PinRemoved};
pub use crate::control::{Imported, NodeChanged, PinAdopted, Reloaded};
use crate::store::Wanted;

mod drill;
mod explanation;
mod failovers;
mod nodes;
mod partners;
mod pins;
mod probing;
mod sessions;

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
    /// Where the admin API can be read beside its own address, as `view` writes it; a port 0 resolved.
    #[serde(default)]
    pub views: Vec<String>,
    /// How many pins there are.
    pub pins: PinCounts,
    /// How many partners there are.
    pub partners: PartnerCounts,
    /// The measures of the sandbox in force; empty: none. `None`: of a version that does not tell.
    #[serde(default)]
    pub sandbox: Option<Vec<String>>,
    /// By version of TLS, whether the kernel goes on with connections that carry bulk; empty: it is not asked to
    /// (`kernel_tls`). `None`: no listener has any, or this is of a version that does not tell.
    #[serde(default)]
    pub kernel_tls: Option<Vec<KernelTls>>,
    /// What the last reload said, if it failed.
    pub last_reload_failure: Option<String>,
    /// What an administrator must know, worst first.
    pub attention: Vec<String>,
    /// The same, each with how severe it is.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
}

/// What the kernel does of one version of TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelTls {
    /// `1.2` or `1.3`.
    pub version: String,
    /// Why nothing; `None`: it goes on with connections.
    pub refusal: Option<String>,
}

/// Something that an administrator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// How severe it is.
    pub severity: Severity,
    /// What it is, in a sentence.
    pub text: String,
}

/// How severe something is; the greater the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work as it should; clients are served all the same.
    Warning,
    /// Clients of a listener are not served.
    Critical,
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
