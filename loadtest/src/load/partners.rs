//! Federation partners of one generation.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::record::{Record, Trouble};
use super::source;
pub use crate::partner::Gap;
use crate::partner::{Character, ErrorKind, Partner, Plan, Speech, Stats, Watch, Witness};
use crate::scenario::{self, Generation, Partners};
use crate::tls::TlsVersion;

/// What one partner has lived through.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// How many connections it keeps.
    pub connections: usize,
    /// How many of them are answered at present.
    pub served: usize,
    /// The longest silence of the window.
    pub silence: Duration,
    /// Silences of the window that its connections survived, and those that last: without a node
    /// after them.
    pub waits: Vec<Gap>,
    /// Its replies, gaps and errors since the start.
    pub stats: Stats,
    /// Connections that were first answered by another node than the one that answered, then and
    /// afterwards, another connection of the same partner.
    pub pin_violations: u64,
}

impl Life {
    pub(super) fn of(watch: &Watch) -> Self {
        Self {
            name: watch.name().to_owned(),
            connections: watch.connections(),
            served: watch.served(),
            silence: watch.silence(),
            waits: watch.waits(),
            stats: watch.stats(),
            pin_violations: watch.pin_violations(),
        }
    }
}

pub(super) fn begin(
    plan: &Partners,
    addresses: &[SocketAddr],
    record: &Arc<Record>,
) -> io::Result<()> {
    if addresses.is_empty() {
        return Err(io::Error::other("a listener without an address"));
    }
    let character = match plan.generation {
        Generation::Ocs2007 => Character::Stubborn,
        Generation::Lync2013 => Character::Spreading,
    };
    let desk = Desk {
        record: Arc::clone(record),
        wanted: u64::from(plan.partners) * u64::from(plan.connections),
    };
    let witness: Arc<dyn Witness> = Arc::new(desk);
    let start = |number| {
        let plan = plan_of(plan, number, addresses);
        Partner::start(plan, character, Some(Arc::clone(&witness)))
    };
    let partners: Vec<_> = (0..plan.partners).map(start).collect();
    record.watch(partners.iter().map(Partner::watch).collect());
    spawn_local(async move {
        let _partners = partners;
        pending::<()>().await;
    });
    Ok(())
}

fn plan_of(plan: &Partners, number: u32, addresses: &[SocketAddr]) -> Plan {
    let first = number as usize % addresses.len();
    let addresses: Vec<_> = addresses
        .iter()
        .cycle()
        .skip(first)
        .take(addresses.len())
        .copied()
        .collect();
    Plan {
        name: plan.name_of(number),
        connections: plan.connections as usize,
        interval: plan.interval.0,
        ladder: plan.ladder.iter().map(|pause| pause.0).collect(),
        rest: plan.rest.0,
        patience: None,
        // Elsewhere the system chooses.
        source: addresses
            .first()
            .and_then(|address| source(number, *address))
            .map(|_| plan.address_of(number).into()),
        speech: match plan.speech {
            scenario::Speech::Plain => Speech::Plain,
            scenario::Speech::Shape => Speech::Shape,
            scenario::Speech::Tls12 => Speech::Tls(TlsVersion::V1_2),
            scenario::Speech::Tls13 => Speech::Tls(TlsVersion::V1_3),
        },
        addresses,
    }
}

/// Where the partners of a load report.
#[derive(Debug)]
struct Desk {
    record: Arc<Record>,
    wanted: u64,
}

impl Witness for Desk {
    fn stood(&self) {
        if self.record.one_more_stands() == self.wanted {
            self.record.settle();
        }
    }

    fn said(&self, at: Instant) {
        self.record.asked(at);
    }

    fn replied(&self, asked: Instant) {
        self.record.count(1);
        self.record.answered(asked);
    }

    fn forgot(&self, asked: Instant) {
        self.record.forgotten(asked);
    }

    fn moved(&self) {
        self.record.trouble(Trouble::WrongNode);
    }

    fn ended(&self, kind: ErrorKind, node: Option<&str>) {
        if let Some(node) = node {
            self.record.one_less_stands();
            self.record.lost(node.as_bytes());
        }
        self.record.trouble(match kind {
            ErrorKind::Refused => Trouble::Refused,
            ErrorKind::Reset => Trouble::Reset,
            ErrorKind::Closed => Trouble::Closed,
            ErrorKind::TimedOut => Trouble::Silent,
            ErrorKind::Tls | ErrorKind::Garbled => Trouble::WrongBytes,
            ErrorKind::Other => Trouble::Ours,
        });
    }
}
