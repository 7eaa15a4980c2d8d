//! What the governor and the ledger are told by sessions.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use tokio::sync::mpsc;

use super::session::EndpointNumber;
use crate::clock::Moment;
use crate::telemetry::outcome::Outcome;

/// One thing that happened to a session.
#[derive(Clone, Debug)]
pub enum Report {
    /// A dial was refused, reset or unreachable.
    DialRefused(EndpointNumber),
    /// A dial found no answer in time.
    DialTimedOut(EndpointNumber),
    /// The network says that a datagram did not arrive.
    Undelivered(EndpointNumber),
    /// Nobody was there for a datagram of this client, sent from a socket of its own.
    DatagramRefused {
        /// Where nobody was.
        endpoint: EndpointNumber,
        /// Whose it was.
        client: IpAddr,
        /// When that was told.
        at: Moment,
    },
    /// The node reset a session of this client.
    SessionReset(EndpointNumber, IpAddr),
    /// A partner's session ended by a fault of its node.
    PartnerLost(Lost),
    /// A partner's session got its first byte.
    PartnerServed(Served),
}

/// A partner's session that ended by a fault of its node.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Who.
    pub partner: Arc<str>,
    /// On which listener.
    pub listener: Arc<str>,
    /// The endpoint at fault.
    pub endpoint: EndpointNumber,
    /// Its node.
    pub node: Arc<str>,
    /// Since when it goes without its node.
    pub cut_off_since: Moment,
    /// When it ended.
    pub ended: Moment,
    /// When a byte last passed, either way.
    pub active_at: Moment,
    /// How.
    pub outcome: Outcome,
}

/// A partner's session that got its first byte.
#[derive(Clone, Debug)]
pub struct Served {
    /// Who.
    pub partner: Arc<str>,
    /// On which listener.
    pub listener: Arc<str>,
    /// By which node.
    pub endpoint: EndpointNumber,
    /// When it connected.
    pub connected: Moment,
    /// When the first byte came.
    pub first_byte: Moment,
    /// Whether its pin names that node now: not where one only stands in while nobody better is there.
    pub is_home: bool,
}

/// Sends reports without ever waiting: a full queue drops, and counts what it dropped. What the
/// governor then does not learn from traffic, its probes tell it.
#[derive(Clone, Debug)]
pub struct Reports {
    queue: mpsc::Sender<Report>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    /// Losses that the governor has not heard of yet.
    unheard: AtomicUsize,
    /// Partners that were lost and not served since; while there are none, nobody asks who is served.
    awaited: AtomicUsize,
    /// Those among them that are missing by a node's fault.
    missing: AtomicUsize,
}

impl Reports {
    /// A queue of `length` reports, and its far end.
    #[must_use]
    pub fn new(length: usize) -> (Self, mpsc::Receiver<Report>) {
        let (queue, receiver) = mpsc::channel(length);
        (
            Self {
                queue,
                shared: Arc::default(),
            },
            receiver,
        )
    }

    /// Tells the governor.
    pub fn send(&self, report: Report) {
        let is_loss = matches!(report, Report::PartnerLost(_));
        if is_loss {
            // Before the governor knows, so that a partner who is back at once is not overlooked.
            self.shared.unheard.fetch_add(1, Release);
        }
        if self.queue.try_send(report).is_err() {
            self.shared.dropped.fetch_add(1, Relaxed);
            if is_loss {
                self.shared.unheard.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Whether it matters who is served.
    #[must_use]
    pub fn is_anybody_awaited(&self) -> bool {
        self.shared.unheard.load(Acquire) > 0 || self.shared.awaited.load(Relaxed) > 0
    }

    /// The governor has heard of a loss; so many partners are awaited now.
    pub fn lost_is_known(&self, awaited: usize) {
        self.shared.awaited.store(awaited, Relaxed);
        // Whoever finds nothing unheard finds that it is awaited.
        self.shared.unheard.fetch_sub(1, Release);
    }

    /// So many partners are awaited, and so many of them are missing by a node's fault.
    pub fn set_awaited(&self, awaited: usize, missing: usize) {
        self.shared.awaited.store(awaited, Relaxed);
        self.shared.missing.store(missing, Relaxed);
    }

    /// Partners that are missing by a node's fault.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.shared.missing.load(Relaxed)
    }

    /// Reports that found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}
