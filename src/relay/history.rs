//! What control is told of sessions: handshakes of partners, and how sessions ended.
//!
//! Like the [reports](super::report) to the governor, it is sent without ever waiting. Sessions of
//! partners are told, and of strangers those that ended in an alert or were refused; what finds the
//! queue full is counted and forgotten, because nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::mpsc;

use super::inspection::TlsFacts;
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::telemetry::outcome::Outcome;

/// One thing to be remembered.
#[derive(Clone, Debug)]
pub enum Told {
    /// What a partner's handshake has shown.
    Handshake {
        /// Who.
        partner: Arc<str>,
        /// On which listener.
        listener: Arc<str>,
        /// With which node; none where it did not come so far.
        node: Option<Arc<str>>,
        /// What.
        facts: TlsFacts,
        /// Its hello in short (JA4).
        ja4: Option<Box<str>>,
        /// When.
        at: Moment,
    },
    /// A session has ended.
    Ended(Box<Ended>),
}

/// A session that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Who, where known.
    pub partner: Option<Arc<str>>,
    /// On which listener.
    pub listener: Arc<str>,
    /// From where.
    pub client: ClientAddr,
    /// With which node; none where it did not come so far.
    pub node: Option<Arc<str>>,
    /// When it began.
    pub started: Moment,
    /// When it ended.
    pub ended: Moment,
    /// How.
    pub outcome: Outcome,
    /// What was seen of TLS.
    pub tls: Option<TlsFacts>,
    /// Bytes to the node.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
}

/// Where it is sent.
#[derive(Debug)]
pub struct History {
    queue: mpsc::Sender<Told>,
    dropped: AtomicU64,
}

impl History {
    /// A queue of `length`, and its far end.
    #[must_use]
    pub fn new(length: usize) -> (Self, mpsc::Receiver<Told>) {
        let (queue, receiver) = mpsc::channel(length);
        let dropped = AtomicU64::new(0);
        (Self { queue, dropped }, receiver)
    }

    /// Tells control.
    pub fn tell(&self, told: Told) {
        if self.queue.try_send(told).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// What found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
