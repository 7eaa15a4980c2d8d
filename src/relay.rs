//! Relaying sessions: `tcp` is the life of one, `pump` moves its bytes; `udp` is that of flows.
//!
//! Owns what the sessions of one worker share. Does not know workers, probes or the admin API: what
//! happens here that others must know leaves as a [`Report`](report::Report).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::model::LogSessions;
use crate::partner::table::PartnerTable;
use crate::pool::pins::PinTable;
use crate::pool::placement::PlacementKey;
use crate::snapshot::{Capacity, Listener};
use crate::telemetry::log::Limiter;

pub mod account;
pub mod diversions;
pub mod history;
mod http;
pub mod inspection;
mod life;
pub mod memory;
pub mod names;
mod owner;
pub mod placing;
pub mod pump;
pub mod recognition;
pub mod report;
pub mod session;
pub mod sip;
pub mod tcp;
mod terminated;
pub mod udp;
pub mod wheel;

/// What all sessions of one worker share.
#[derive(Debug)]
pub struct Context {
    /// Which worker this is, from 0.
    pub worker: usize,
    /// How many there are.
    pub workers: usize,
    /// Buffer, memory and pipes.
    pub gear: pump::Gear,
    /// The list of sessions.
    pub sessions: Rc<session::Sessions>,
    /// Who is who, as far as it has heard.
    pub names: names::Names,
    /// The pins of the process.
    pub pins: Arc<PinTable>,
    /// Key of placement.
    pub key: Arc<PlacementKey>,
    /// Whose turn it is among the addresses from which nodes are dialled.
    pub source_turn: Cell<usize>,
    /// The ways to speak to nodes in the names of clients.
    pub diverted: Rc<udp::diverted::Diverted>,
    /// Room for sessions in the process.
    pub capacity: Arc<Capacity>,
    /// To the governor.
    pub reports: report::Reports,
    /// What is learned of clients.
    pub recognition: Arc<recognition::Recognition>,
    /// Which sessions leave a line in the log.
    pub log_sessions: Cell<LogSessions>,
    /// Keeps clients that cannot be served from filling the log.
    pub refusals: Limiter,
    /// Keeps a partner that is moved again and again from filling the log.
    pub moves: Limiter,
    /// Keeps certificates that are not the configured partner's from filling the log.
    pub disagreements: Limiter,
    /// Keeps handshakes that fail, with clients or nodes, from filling the log.
    pub handshakes: Limiter,
    /// Keeps a partner that has moved, and is refused, from filling the log.
    pub suspicions: Limiter,
}

/// What a session takes from the snapshot in force when it begins, and keeps.
#[derive(Debug)]
pub struct Policy {
    /// Its listener.
    pub listener: Arc<Listener>,
    /// Who is who.
    pub partners: Arc<PartnerTable>,
    /// The snapshot's number.
    pub revision: u64,
}
