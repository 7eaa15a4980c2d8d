//! Simulated federation partners: who they call, how stubborn they are, what they lived through.
//!
//! Owns the two characters that matter: the stubborn one, which knows one address and never tries
//! another (OCS 2007), and the spreading one, which knows several and helps itself (Lync 2013). One
//! connection's life is in `call`, the record in `record`.
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
use std::time::{Duration, Instant};

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
    /// Pauses after attempts that brought no reply, one after the other and the last for ever; a
    /// reply puts it back to the first. A connection that has served is replaced the instant it
    /// ends.
    pub ladder: Vec<Duration>,
    /// Pause before a connection that has served is replaced, and what its first ones are opened
    /// within; zero unless it has to spare whom it calls.
    pub rest: Duration,
    /// Silence after which it gives a connection up by itself; a stubborn partner never does.
    pub patience: Option<Duration>,
    /// The address it calls from; by default the system chooses.
    pub source: Option<IpAddr>,
    /// What it speaks.
    pub speech: Speech,
}

/// What a partner speaks on its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    /// Plain lines.
    #[default]
    Plain,
    /// Lines in records of TLS 1.0, as OCS 2007 shapes them, without its cryptography.
    Shape,
    /// Lines in TLS.
    Tls(TlsVersion),
}

/// How a partner takes the failure of the address it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Character {
    /// As [`Partner::stubborn`].
    Stubborn,
    /// As [`Partner::spreading`].
    Spreading,
}

/// Who is told what happens to a partner, as it happens.
pub(crate) trait Witness: std::fmt::Debug + Send + Sync {
    /// A connection has brought its first good reply.
    fn stood(&self);
    /// A line was said at that moment.
    fn said(&self, at: Instant);
    /// Nobody waits any longer for a reply to a line of that moment.
    fn forgot(&self, asked: Instant);
    /// A good reply came to a line of that moment.
    fn replied(&self, asked: Instant);
    /// It came from another node than the one before, on the same connection.
    fn moved(&self);
    /// An attempt ended, or a connection that `node` had answered.
    fn ended(&self, kind: ErrorKind, node: Option<&str>);
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
            ladder: vec![Duration::from_millis(2)],
            rest: Duration::ZERO,
            patience: None,
            source: None,
            speech: Speech::Plain,
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
    pub fn stubborn(plan: Plan) -> Self {
        Self::start(plan, Character::Stubborn, None)
    }

    /// A partner like Lync 2013: spreads its connections over the addresses of the plan and
    /// goes elsewhere by itself.
    #[must_use]
    pub fn spreading(plan: Plan) -> Self {
        Self::start(plan, Character::Spreading, None)
    }

    pub(crate) fn start(
        mut plan: Plan,
        character: Character,
        witness: Option<Arc<dyn Witness>>,
    ) -> Self {
        match character {
            Character::Stubborn => {
                plan.addresses.truncate(1);
                plan.patience = None;
            }
            Character::Spreading => plan.patience = plan.patience.or(Some(Self::PATIENCE)),
        }
        let record = Arc::new(Record::new(&plan, witness));
        let plan = Arc::new(plan);
        let mut calls = JoinSet::new();
        for slot in 0..plan.connections {
            let (plan, record) = (Arc::clone(&plan), Arc::clone(&record));
            calls.spawn(call::keep_calling(plan, record, slot));
        }
        Self { record, calls }
    }

    /// A view of it that outlives it.
    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.record))
    }

    /// Connections that were first answered by another node than the one that answered, then and
    /// afterwards, another connection of this partner.
    #[must_use]
    pub fn pin_violations(&self) -> u64 {
        self.record.pin_violations()
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
}

/// What a client that is no partner lives through, where it has one association for good and writes
/// down itself who answers.
#[derive(Debug)]
pub(crate) struct Diary(Arc<Record>);

impl Diary {
    /// Of `name`, which asks `address` once in an interval.
    pub(crate) fn new(name: &str, address: SocketAddr, interval: Duration) -> Self {
        let plan = Plan {
            interval,
            ..Plan::new(name, address)
        };
        Self(Arc::new(Record::new(&plan, None)))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }

    /// `node` has answered what was asked at that moment; another one, or nobody, had answered before
    /// where it `is_new`.
    pub(crate) fn answered(&self, node: &str, is_new: bool, asked: Instant) {
        if is_new {
            self.0.connected(0);
        }
        self.0.replied(0, node, asked);
    }
}

/// What a partner lives through, for who watches from another thread.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Record>);

impl Watch {
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    pub(crate) fn connections(&self) -> usize {
        self.0.connections()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.stats()
    }

    pub(crate) fn open_window(&self, at: Instant) {
        self.0.open_window(at);
    }

    pub(crate) fn silence(&self) -> Duration {
        self.0.silence()
    }

    pub(crate) fn waits(&self) -> Vec<Gap> {
        self.0.waits()
    }

    pub(crate) fn served(&self) -> usize {
        self.0.served()
    }

    pub(crate) fn pin_violations(&self) -> u64 {
        self.0.pin_violations()
    }
}
