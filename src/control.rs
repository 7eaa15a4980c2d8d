//! Control: starts everything, reloads, stops, and answers administrators.
//!
//! Owns the life of the process. [`Control`] is one task that alone changes anything; the admin API
//! reads [`Shared`] and sends it requests. Nothing here is on the path of a byte.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use self::admin::answers::{PinFile, PinsMoved, SessionsEnded};
use crate::config::model::Config;
use crate::governor::{self, Governor, Verdicts};
use crate::pool::maintenance::Moves;
use crate::pool::pins::PinTable;
use crate::pool::placement::PlacementKey;
use crate::relay::diversions::Diversions;
use crate::relay::recognition::Recognition;
use crate::relay::report::Reports;
use crate::relay::session::{EndpointNumber, Survey};
use crate::resolve::Asking;
use crate::snapshot::{Capacity, Registry, Snapshot, Whereabouts};
use crate::store::{Administered, StateDir, Store, Wanted};
use crate::worker::Worker;

use self::chronicle::Chronicle;
pub use self::error::{ReloadError, StartError, chain};
pub use self::pins::import::Imported;
pub use self::sandbox::Sandbox;
pub use self::start::{Source, cores, start};

pub mod admin;
mod adoption;
mod certificates;
pub mod chronicle;
mod diverting;
mod doors;
mod error;
mod guess;
pub mod host_rules;
mod inventory;
mod learning;
pub mod maintenance;
pub mod naming;
mod nodes;
mod notify;
pub mod pins;
mod reload;
mod run;
mod sandbox;
mod start;
mod us_or_them;

/// What the admin API reads.
#[derive(Debug)]
pub struct Shared {
    /// The snapshot in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The pins.
    pub pins: Arc<PinTable>,
    /// Key of placement.
    pub placement: Arc<PlacementKey>,
    /// To the governor, for its view.
    pub governor: mpsc::Sender<governor::Command>,
    /// What the governor knows of the pools.
    pub verdicts: watch::Receiver<Verdicts>,
    /// To control, for changes.
    pub requests: mpsc::Sender<Request>,
    /// Where the admin API can be read, beside its own address.
    pub views: ReadAt,
    /// What is listened on.
    pub bound: ArcSwap<Vec<Bound>>,
    /// What administrators want of nodes.
    pub administered: ArcSwap<Vec<Administered>>,
    /// Room for sessions.
    pub capacity: Arc<Capacity>,
    /// Whether workers can speak to nodes in the names of clients.
    pub diversions: Arc<Diversions>,
    /// The sessions' side of the reports.
    pub reports: Reports,
    /// What is learned of clients.
    pub recognition: Arc<Recognition>,
    /// What DNS says of partners' names.
    pub asking: Asking,
    /// What is remembered of sessions.
    pub chronicle: Arc<Mutex<Chronicle>>,
    /// Whether clients are served: from READY to the stop.
    pub is_serving: AtomicBool,
    /// Reloads that failed since the start.
    pub reload_failures: AtomicU64,
    /// When the process started.
    pub started: Timestamp,
    /// Where the configuration comes from.
    pub source: String,
    /// What the last reload said, if it failed.
    pub last_failure: ArcSwap<Option<String>>,
    /// Keys that differ between the file, as last loaded, and what is in force until a restart.
    pub restart_needed: ArcSwap<Vec<String>>,
    /// Where pins and the ledger are kept; `None`: in memory alone.
    pub store: Option<Store>,
    /// The token that changes over TCP need.
    pub token: Option<String>,
    /// What this process can no longer do.
    pub sandbox: Sandbox,
}

/// Where the admin API can be read, and nothing be changed.
#[derive(Debug, Default)]
pub struct ReadAt {
    /// As `view` writes it; a port 0 resolved.
    pub addresses: ArcSwap<Vec<String>>,
    /// Connections that were closed because `view_from` does not name the client.
    pub refused: AtomicU64,
}

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Name of the listener.
    pub listener: String,
    /// The address, a port 0 resolved.
    pub address: std::net::SocketAddr,
    /// Whether it is open; closed where `when_no_node = "refuse"` and no node is up.
    pub is_open: bool,
}

/// What an administrator asks for.
#[derive(Debug)]
pub enum Request {
    /// Load the configuration again.
    Reload {
        /// Only say what would happen.
        is_plan: bool,
        /// Who asks.
        by: String,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
    },
    /// Give a node another state.
    Administer {
        /// The node.
        node: String,
        /// Only in this pool.
        pool: Option<String>,
        /// What is wanted.
        wanted: Wanted,
        /// When a drain cuts what is left.
        deadline: Option<std::time::Duration>,
        /// Who asks.
        by: String,
        /// Why.
        reason: Option<String>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Vec<NodeChanged>, NodeRefused>>,
    },
    /// Pin a partner by hand.
    Pin {
        /// What is wanted.
        wish: pins::Wish,
        /// Where the answer goes.
        answer: oneshot::Sender<pins::Granted<pins::PinChanged>>,
    },
    /// Remove pins.
    Unpin {
        /// What is wanted.
        unwish: pins::Unwish,
        /// Where the answer goes.
        answer: oneshot::Sender<pins::Granted<pins::PinRemoved>>,
    },
    /// Tell where a partner's sessions are.
    Locate {
        /// The partner.
        partner: Arc<str>,
        /// Where the answer goes.
        answer: oneshot::Sender<HashMap<EndpointNumber, Survey>>,
    },
    /// Tell how many sessions each partner has with a node.
    Census {
        /// The node.
        node: String,
        /// Only in this pool.
        pool: Option<String>,
        /// Where the answer goes.
        answer: oneshot::Sender<Census>,
    },
    /// Move a partner away from a node that is to be maintained.
    Move {
        /// Which node, who asks, and why.
        task: maintenance::Task,
        /// The partner.
        partner: String,
        /// Where the answer goes.
        answer: oneshot::Sender<maintenance::Done<PinsMoved>>,
    },
    /// Begin the maintenance of a node.
    Maintain {
        /// Which node, who asks, and why.
        task: maintenance::Task,
        /// Where the answer goes.
        answer: oneshot::Sender<maintenance::Done<Vec<NodeChanged>>>,
    },
    /// Put back what was moved away from a node, and the state that it had.
    Return {
        /// Which node, who asks, and why.
        task: maintenance::Task,
        /// Where the answer goes.
        answer: oneshot::Sender<maintenance::Done<PinsMoved>>,
    },
    /// End a few sessions of a node that drains.
    End {
        /// Which node, who asks, and why.
        task: maintenance::Task,
        /// At most so many.
        most: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<maintenance::Done<SessionsEnded>>,
    },
    /// Put pins from a file.
    Import {
        /// The file.
        file: Box<PinFile>,
        /// Only say what would happen.
        is_dry_run: bool,
        /// Who asks.
        by: String,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Imported, pins::PinRefused>>,
    },
}

/// Sessions of partners with one node: by endpoint, by the partner's name.
pub type Census = Vec<(EndpointNumber, HashMap<Arc<str>, usize>)>;

/// What a reload did, or would do.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Reloaded {
    /// The revision in force.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// What, in one line.
    pub summary: String,
    /// Keys that have changed and need a restart.
    pub restart_needed: Vec<String>,
    /// Warnings about the file.
    pub warnings: Vec<String>,
    /// Sessions that will be cut when `drain_timeout` has passed.
    pub sessions_draining: u64,
    /// Partners that are pinned by another name than before, or by name at all, and the nodes that they keep.
    #[serde(default)]
    pub adopted: Vec<PinAdopted>,
}

/// A pin that becomes a partner's.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PinAdopted {
    /// Whose it is now.
    pub partner: String,
    /// Whose it was: an address, or a partner by its earlier name.
    pub address: String,
    /// The affinity in which it holds.
    pub affinity: String,
    /// The node that it names.
    pub node: String,
    /// The node that the partner's table wants: it goes there instead, once it connects again.
    #[serde(default)]
    pub instead: Option<String>,
}

/// A node that has another state.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeChanged {
    /// The pool.
    pub pool: String,
    /// The node.
    pub node: String,
    /// Its sessions at this moment.
    pub sessions: u64,
    /// How many of them, at most, are of listeners that speak SIP: those go on with another node where one takes them.
    /// Where other listeners share its port, theirs are among them.
    #[serde(default)]
    pub sip: u64,
}

/// Why a node was not given another state.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeRefused {
    /// There is no such node.
    #[error("no node \"{0}\" in {1}")]
    Unknown(String, String),
    /// It could not be made durable.
    #[error("{0}")]
    Store(String),
}

/// The task that alone changes anything.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    source: Source,
    config: Arc<Config>,
    registry: Registry,
    workers: Vec<Worker>,
    governor: Governor,
    doors: doors::Doors,
    state_dir: Option<StateDir>,
    requests: mpsc::Receiver<Request>,
    departures: reload::Departures,
    admin: admin::Addresses,
    tellers: Tellers,
    /// What is kept of learned names.
    learning: learning::Learning,
    inventory: inventory::Inventory,
    moves: Moves,
}

/// What has been said in the log, so that it is said once.
#[derive(Debug, Default)]
struct Tellers {
    us_or_them: us_or_them::Teller,
    diverting: diverting::Teller,
    certificates: certificates::Teller,
    /// That the table of pins is nearly full.
    was_crowded: bool,
}

impl Shared {
    /// Who is who in `snapshot`, and pinned where.
    #[must_use]
    pub fn whereabouts<'a>(&'a self, snapshot: &'a Snapshot) -> Whereabouts<'a> {
        Whereabouts {
            key: &self.placement,
            partners: &snapshot.partners,
            pins: &self.pins,
        }
    }
}

impl Control {
    /// What the admin API reads.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
