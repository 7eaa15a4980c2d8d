//! Simulated federation partners: who they call, how stubborn they are, what they lived through.
//!
//! Owns the two characters that matter: the stubborn one, which knows one address and never tries
//! another (OCS 2007), and the spreading one, which knows several and helps itself (Lync 2013). One connection's life is in `call`, the record in `record`.
//!
//! A partner sends a numbered line every interval. An answer counts as good only if it is
//! `<node> <line>` for a line that is still unanswered, in order: bytes that a balancer mixes up
//! are an error, not a reply.

mod call;
mod record;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::call::connect;
use self::record::Record;
pub use self::record::{ErrorKind, Gap, Stats};
use crate::tls::TlsVersion;

/// What a partner knows and how it behaves; start from [`Plan::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, the first word of its lines: no blanks.
    pub name: String,
    /// The addresses it knows; never empty.
    pub addresses: Vec<SocketAddr>,
    /// Connections it keeps.
    pub connections: usize,
    /// Time between two lines on one connection.
    pub interval: Duration,
    /// Pause after an attempt that brought no reply; a connection that has served is replaced
    /// the instant it ends.
    pub retry_delay: Duration,
    /// Silence after which it gives a connection up by itself; a stubborn partner never does.
    pub patience: Option<Duration>,
    /// The address it calls from; by default the system chooses.
    pub source: Option<IpAddr>,
    /// TLS instead of plain lines.
    pub tls: Option<TlsVersion>,
}

impl Plan {
    /// One connection to `address`, a line every 5 ms, retries every 2 ms, plain, no patience.
    #[must_use]
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            addresses: vec![address],
            connections: 1,
            interval: Duration::from_millis(5),
            // Short beside every promise that is measured, long beside a refused connect.
            retry_delay: Duration::from_millis(2),
            patience: None,
            source: None,
            tls: None,
        }
    }
}

/// One partner at work; dropping it ends its connections.
#[derive(Debug)]
pub struct Partner {
    record: Arc<Record>,
    calls: JoinSet<()>,
}

impl Partner {
    /// Silence a spreading partner bears by default before it goes elsewhere.
    pub const PATIENCE: Duration = Duration::from_secs(2);

    /// A partner like OCS 2007: calls the first address of the plan for ever, whatever else the
    /// plan names, bears any silence, and reconnects the instant its connection ends.
    #[must_use]
    pub fn stubborn(mut plan: Plan) -> Self {
        plan.addresses.truncate(1);
        plan.patience = None;
        Self::start(plan)
    }

    /// A partner like Lync 2013: spreads its connections over the addresses of the plan and
    /// goes elsewhere by itself.
    #[must_use]
    pub fn spreading(mut plan: Plan) -> Self {
        plan.patience = plan.patience.or(Some(Self::PATIENCE));
        Self::start(plan)
    }

    /// What it has lived through so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.record.stats()
    }

    /// Waits until `condition` holds for its stats; `None` once `limit` has passed.
    pub async fn wait_for(
        &self,
        limit: Duration,
        condition: impl FnMut(&Stats) -> bool,
    ) -> Option<Stats> {
        self.record.wait_for(limit, condition).await
    }

    /// A number that grows with every event, to wait for the next one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.record.subscribe()
    }

    /// Ends its connections and tells the final stats.
    pub async fn stop(mut self) -> Stats {
        self.calls.shutdown().await;
        self.record.stats()
    }

    fn start(plan: Plan) -> Self {
        let record = Arc::new(Record::new(&plan));
        let plan = Arc::new(plan);
        let mut calls = JoinSet::new();
        for slot in 0..plan.connections {
            calls.spawn(call::keep_calling(
                Arc::clone(&plan),
                Arc::clone(&record),
                slot,
            ));
        }
        Self { record, calls }
    }
}
