//! The configuration in force, joined to the objects that outlive it.
//!
//! A [`Snapshot`] is immutable. What changes while it is in force (standings, counts, traffic) lives
//! in [`Endpoint`]s and [`ListenerState`]s, which a [`Registry`] carries over by identity from one
//! snapshot to the next: a reload forgets nothing, and a live session stays governed.
//!
//! Stands between the pure layer, whose types it joins, and everything that serves.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::addr::NodeAddr;
use crate::clock::Moment;
use crate::config::model::{self, Balance, Config, NodeState, Protocol};
use crate::partner::table::PartnerTable;
use crate::pool::affinity::Measure;
use crate::pool::health::Timing;
use crate::pool::pace::Pace;
use crate::pool::pins::PinScope;
use crate::pool::select::{Candidate, Standing};
use crate::telemetry::counters::{Counter, EndpointSlot, ListenerSlot};
use crate::telemetry::outcome::Outcome;
use crate::tls;

pub use self::admission::{Access, Admission, Capacity, Place, Ticket};
pub use self::registry::Registry;
pub use self::scope::{Leaver, Scope, Whereabouts};

mod admission;
mod registry;
mod scope;

/// One configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number: 1 at the start, one more for each reload that changed anything.
    pub revision: u64,
    /// The number of this very snapshot, by which it is told from others: one more for each that is
    /// published, also where only what DNS says has changed.
    pub edition: u64,
    /// What the file says.
    pub config: Arc<Config>,
    /// Listeners, in the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// What the governor watches.
    pub groups: Vec<GroupPlan>,
    /// Who is who.
    pub partners: Arc<PartnerTable>,
    scopes: Arc<[Scope]>,
}

impl Snapshot {
    /// The listener with this number.
    #[must_use]
    pub fn listener(&self, number: u32) -> Option<&Arc<Listener>> {
        self.listeners
            .iter()
            .find(|listener| listener.state.number == number)
    }
}

/// One listener of a snapshot.
#[derive(Debug)]
pub struct Listener {
    /// What the file says, presets applied.
    pub config: model::Listener,
    /// Its pool's name.
    pub pool: Arc<str>,
    /// Where its pins hold.
    pub pin_scope: Arc<PinScope>,
    /// How a client without a pin is placed.
    pub balance: Balance,
    /// The most of the legacy partners, in percent, that one node has while more are up.
    pub max_share: u8,
    /// How fast one node admits strangers while the pool recovers.
    pub max_new_per_node: Option<model::Rate>,
    /// Addresses of this machine that the nodes see; empty: the system chooses.
    pub sources: Arc<[IpAddr]>,
    /// Its nodes, in the order of the file.
    pub nodes: Vec<Seat>,
    /// How its clients' TLS ends here; `None`: it is passed through.
    pub termination: Option<Termination>,
    /// What outlives this snapshot.
    pub state: Arc<ListenerState>,
}

impl Listener {
    /// How HTTP is spoken, where clients' TLS ends here and that is within.
    #[must_use]
    pub fn http(&self) -> Option<&model::Http> {
        match &self.termination.as_ref()?.protocol {
            Protocol::Http(terms) => Some(terms),
            Protocol::Raw | Protocol::Sip(_) => None,
        }
    }

    /// How SIP is spoken, where clients' TLS ends here and that is within: its sessions outlive their nodes.
    #[must_use]
    pub fn sip(&self) -> Option<&model::Sip> {
        match &self.termination.as_ref()?.protocol {
            Protocol::Sip(terms) => Some(terms),
            Protocol::Raw | Protocol::Http(_) => None,
        }
    }

    /// The nodes as a session sees them now.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let measure = self.measure();
        self.nodes.iter().map(move |seat| Candidate {
            name: &seat.endpoint.node,
            weight: seat.weight,
            standing: seat.standing(measure),
            warmth: seat.endpoint.warmth(),
            sessions: seat.endpoint.sessions(),
        })
    }

    /// How good a node of it is to a session now.
    #[must_use]
    pub fn standing(&self, seat: &Seat) -> Standing {
        seat.standing(self.measure())
    }

    /// Whether a pin that names the node stays there, whatever this listener alone says of it.
    #[must_use]
    pub fn keeps_pin(&self, node: &str) -> bool {
        let shared = self.seat(node).map(|seat| seat.shared(self.measure()));
        shared.is_some_and(Standing::keeps_pinned)
    }

    /// Whether no node takes pins on all listeners that share them.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.measure() == Measure::Best
    }

    /// Whether its nodes see the clients' own addresses.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        self.config.source == model::SourceAddress::Transparent
    }

    fn measure(&self) -> Measure {
        let shares = self.nodes.iter().any(|seat| !seat.siblings.is_empty());
        match shares {
            true => Measure::of(self.nodes.iter().map(Seat::standings)),
            false => Measure::Worst,
        }
    }

    /// The position of the node called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes
            .iter()
            .position(|seat| *seat.endpoint.node == *name)
    }

    /// The node called `name`.
    #[must_use]
    pub fn seat(&self, name: &str) -> Option<&Seat> {
        let mut seats = self.nodes.iter();
        seats.find(|seat| *seat.endpoint.node == *name)
    }
}

/// What ends clients' TLS, with the tickets that outlive a reload.
#[derive(Clone, Debug)]
pub struct Termination {
    /// TLS towards clients.
    pub clients: Arc<rustls::ServerConfig>,
    /// TLS towards nodes; `None`: they are spoken to in clear.
    pub nodes: Option<tls::Client>,
    /// What the kernel may go on with; `None`: nothing.
    pub kernel: Option<&'static tls::Offer>,
    /// What is spoken inside.
    pub protocol: Protocol,
}

/// A node of a listener.
#[derive(Debug)]
pub struct Seat {
    /// Where it is dialled, and how it fares.
    pub endpoint: Arc<Endpoint>,
    /// Its share of placements.
    pub weight: u32,
    /// The same node as other listeners that share the pins of this one dial it.
    pub(crate) siblings: Box<[Arc<Endpoint>]>,
}

impl Seat {
    /// How the node stands on every listener that shares the pins.
    fn standings(&self) -> impl Iterator<Item = Standing> {
        let all = [&self.endpoint].into_iter().chain(&self.siblings);
        all.map(|endpoint| endpoint.standing())
    }

    /// How good the node is to the pin.
    fn shared(&self, measure: Measure) -> Standing {
        let judged = measure.judge(self.standings());
        judged.unwrap_or(Standing::Never)
    }

    fn standing(&self, measure: Measure) -> Standing {
        Measure::to_session(self.endpoint.standing(), self.shared(measure))
    }
}

/// What of a listener outlives a reload; its identity is its name.
#[derive(Debug)]
pub struct ListenerState {
    /// Unique in this process.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Who may still come in.
    pub admission: Arc<Admission>,
    /// Grows by one for each session, for round-robin.
    pub turn: AtomicU64,
    slots: Box<[ListenerCounters]>,
}

/// What one worker counts of one listener.
pub type ListenerCounters = ListenerSlot<{ Outcome::ALL.len() }>;

impl ListenerState {
    /// The counters that `worker` writes.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &ListenerCounters {
        &self.slots[worker % self.slots.len()]
    }

    /// All workers' counters.
    pub fn slots(&self) -> impl Iterator<Item = &ListenerCounters> {
        self.slots.iter()
    }

    /// Sessions now.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.slots.iter().map(|slot| slot.active.value()).sum()
    }

    /// Every session that ever arrived.
    #[must_use]
    pub fn sessions_total(&self) -> u64 {
        let ended = |slot: &ListenerCounters| slot.ended.iter().map(Counter::value).sum::<u64>();
        self.sessions() + self.slots().map(ended).sum::<u64>()
    }
}

/// A node's address and port as one kind of probe judges it: what is dialled, and what health
/// belongs to. Outlives reloads; its identity is its group, node and address.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process, never 0.
    pub number: u32,
    /// The pool.
    pub pool: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// Where it is dialled.
    pub address: NodeAddr,
    standing: AtomicU8,
    /// In percent.
    warmth: AtomicU8,
    /// How fast its node admits those who come back after a failover.
    pub pace: Arc<Pace>,
    slots: Box<[EndpointSlot]>,
}

impl Endpoint {
    /// What it is good for.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::from_u8(self.standing.load(Relaxed))
    }

    /// Changes what it is good for. Relaxed, because a worker that reads the old standing behaves as
    /// if it had read a moment earlier.
    pub fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.as_u8(), Relaxed);
    }

    /// Its share of new sessions in percent: 100 unless it has just come back.
    #[must_use]
    pub fn warmth(&self) -> u8 {
        self.warmth.load(Relaxed)
    }

    /// Changes its share of new sessions.
    pub fn set_warmth(&self, percent: u8) {
        self.warmth.store(percent, Relaxed);
    }

    /// What `worker` writes.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &EndpointSlot {
        &self.slots[worker % self.slots.len()]
    }

    /// All workers' slots.
    pub fn slots(&self) -> impl Iterator<Item = &EndpointSlot> {
        self.slots.iter()
    }

    /// Since when a question to it is unanswered, and when it was last heard, by any worker.
    #[must_use]
    pub fn traffic(&self) -> (Option<Moment>, Option<Moment>) {
        let slots = || self.slots().map(EndpointSlot::traffic);
        let heard = slots().filter_map(|(_, heard)| heard).max();
        let asked = slots().filter_map(|(asked, _)| asked);
        (asked.filter(|at| Some(*at) > heard).min(), heard)
    }

    /// Sessions now, dials included.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        let sum: u64 = self.slots.iter().map(|slot| slot.sessions.value()).sum();
        u32::try_from(sum).unwrap_or(u32::MAX)
    }
}

/// Nodes whose health is judged together: of one pool, asked alike.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// Its identity.
    pub key: GroupKey,
    /// How they are asked.
    pub probe: model::Probe,
    /// When, and what the answers weigh.
    pub timing: Timing,
    /// Names of the listeners it serves, in the order of the file.
    pub listeners: Vec<Arc<str>>,
    /// Affinities of those listeners: whose pins move when a node goes down.
    pub affinities: Vec<Arc<str>>,
    /// Addresses of this machine that the nodes see; empty: the system chooses.
    pub sources: Arc<[IpAddr]>,
    /// Names of listeners on which a node must be up as well.
    pub needs: Vec<Arc<str>>,
    /// Its nodes.
    pub members: Vec<MemberPlan>,
    /// Whether nodes must be told that a probe is no client (`proxy_protocol_send`).
    pub proxy_protocol: model::ProxySend,
}

/// A node of a group.
#[derive(Clone, Debug)]
pub struct MemberPlan {
    /// Its name in the group: the node's, with the address where the node has moved away from it.
    pub name: Arc<str>,
    /// What is judged.
    pub endpoint: Arc<Endpoint>,
    /// Where it is asked.
    pub probed: NodeAddr,
    /// Its share of placements.
    pub weight: u32,
    /// What the file wants of it.
    pub configured: NodeState,
    /// The file has no such node, or has it elsewhere, since a reload; it stays here while it has
    /// sessions.
    pub is_removed: bool,
}

/// The identity of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The pool.
    pub pool: Arc<str>,
    /// Which addresses of its nodes.
    pub family: model::Family,
    /// The port where an address has none.
    pub node_port: u16,
    /// Whether over UDP: where nothing is asked, the two ports of a number share nothing.
    pub is_udp: bool,
    /// What is asked.
    pub kind: model::ProbeKind,
    /// For what, where that is a matter of the file: who asks for something else judges by something else.
    pub http: Option<Arc<model::HttpQuestion>>,
    /// On which port.
    pub probe_port: u16,
    /// The listener, where it asks at other times than the first that asks the same, or needs others.
    pub variant: Option<Arc<str>>,
}

#[cfg(test)]
mod tests;
