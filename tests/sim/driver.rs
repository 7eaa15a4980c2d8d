//! What the parts of the simulated appliance share, and the order in which they act.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::{Balance, Flap, PinPrefix, ProbeKind, ReturnAfter};
use pinfold::pool::group::Group;
use pinfold::pool::health::Timing;
use pinfold::pool::invariant::Watch;
use pinfold::pool::pins::{Lease, Pin, PinKey, PinScope, PinTable};
use pinfold::pool::placement::{PlacementKey, Subject};
use pinfold::pool::select::{Standing, Why};

use crate::failback::Returns;
use crate::invariants;
use crate::ledger::Books;
use crate::maintenance::Conduct;
use crate::recovery::Recovering;
use crate::tally::Tally;
use crate::world::Node;

/// Whether the driver keeps the rules, or breaks one on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    AsBuilt,
    IgnoresCuts,
    CountsSoftEvidence,
    LeaksLeases,
    CountsShortages,
    IgnoresPace,
    IgnoresShare,
    SendsBackAnywhere,
    BelievesOneClient,
    ForgetsNeeds,
    ForgetsWhoIsBack,
    KeepsCutsToItself,
    AlarmsTheConnected,
    MovesBehindTheLedger,
    LeavesWhoLooksLegacy,
    SendsAwayAnywhere,
    MaintainsTwo,
    ForgetsWhatWasWanted,
    UndoesWhatOthersDid,
    ForetellsWithoutTheOthers,
}

/// A client of the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) subject: Subject,
    /// A stranger that seems unable to fail over by itself.
    pub(crate) looks_legacy: bool,
}

impl Client {
    pub(crate) fn partner(number: u8) -> Self {
        Self {
            ip: IpAddr::from([192, 0, 2, number]),
            subject: Subject::Partner(Arc::from(format!("partner{number}"))),
            looks_legacy: false,
        }
    }

    pub(crate) fn address(number: u8) -> Self {
        let ip = IpAddr::from([203, 0, 113, number]);
        let subject = Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 });
        Self {
            ip,
            subject,
            looks_legacy: number.is_multiple_of(4),
        }
    }
}

/// One relayed connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) node: Arc<str>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) since: Moment,
    /// The node has sent a byte.
    pub(crate) answered: bool,
    /// Since when a byte of the client's is unanswered.
    pub(crate) asked_at: Option<Moment>,
    /// When a byte last passed.
    pub(crate) active_at: Moment,
    pub(crate) why: Why,
    /// A dial of the pinned node was refused on the way here.
    pub(crate) refused: bool,
    pub(crate) lease: Option<Lease>,
    /// The node was removed; the session ends by itself at this moment.
    pub(crate) orphan_until: Option<Moment>,
}

/// A report on its way to the governor.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) at: Moment,
    pub(crate) node: Arc<str>,
    pub(crate) started: Moment,
    pub(crate) timed_out: bool,
}

pub(crate) struct Driver {
    pub(crate) now: Moment,
    pub(crate) rule: Rule,
    pub(crate) nodes: Vec<Node>,
    pub(crate) group: Group,
    pub(crate) pins: PinTable,
    pub(crate) sessions: Vec<Session>,
    pub(crate) standings: BTreeMap<Arc<str>, Standing>,
    pub(crate) reports: Vec<Report>,
    pub(crate) short_until: Moment,
    /// When the clock last jumped, or a shortage lasted.
    pub(crate) last_disturbed: Moment,
    /// Nodes whose pins may move in this step.
    pub(crate) excused: Vec<Arc<str>>,
    pub(crate) last_cut: BTreeMap<Arc<str>, Moment>,
    /// First violation that an effect showed.
    pub(crate) violation: Option<String>,
    pub(crate) tally: Tally,
    pub(crate) key: PlacementKey,
    pub(crate) turn: u64,
    pub(crate) balance: Balance,
    pub(crate) pool: Arc<str>,
    pub(crate) affinity: Arc<str>,
    pub(crate) reconnecting: VecDeque<Client>,
    /// What is asked of nodes.
    pub(crate) kind: ProbeKind,
    /// The most of the legacy partners, in percent, that one node may have.
    pub(crate) share: u8,
    pub(crate) recovery: Recovering,
    pub(crate) returns: Returns,
    pub(crate) books: Books,
    pub(crate) conduct: Conduct,
    /// A partner that has no way to us, until this moment.
    pub(crate) absent: Option<(Subject, Moment)>,
    /// When each node was last heard.
    pub(crate) heard: BTreeMap<Arc<str>, Moment>,
    /// A client to whom nodes have nothing to say, whatever it asks.
    pub(crate) ignored: Option<IpAddr>,
    /// When we last stood still.
    pub(crate) late: Option<Moment>,
    /// The functions that the live process is watched by.
    pub(crate) watch: Watch,
}

pub(crate) const TIMING: Timing = Timing {
    kind: ProbeKind::TlsHello,
    interval: Duration::from_millis(400),
    fast_interval: Duration::from_millis(50),
    timeout: Duration::from_millis(250),
    silence: Duration::from_millis(600),
    fall: 2,
    rise: 3,
    return_after: ReturnAfter::Healthy(Duration::from_secs(1)),
    warm_up: Duration::from_secs(3),
    flap: Some(Flap {
        downs: 2,
        within: Duration::from_secs(20),
        hold: Duration::from_secs(5),
    }),
};

/// Of addresses' pins.
pub(crate) const PINS_MAX: usize = 6;
pub(crate) const PIN_TTL: Duration = Duration::from_secs(2);

impl Driver {
    pub(crate) fn new(seed: u64, rule: Rule, nodes: Vec<Node>, balance: Balance) -> Self {
        let mut driver = Self {
            now: Moment::from_micros(1_000_000),
            rule,
            nodes,
            group: Group::new(TIMING),
            pins: PinTable::new(PINS_MAX),
            sessions: Vec::new(),
            standings: BTreeMap::new(),
            reports: Vec::new(),
            short_until: Moment::START,
            last_disturbed: Moment::START,
            excused: Vec::new(),
            last_cut: BTreeMap::new(),
            violation: None,
            tally: Tally::default(),
            key: PlacementKey::from_text(&seed.to_string()).unwrap(),
            turn: 0,
            balance,
            pool: Arc::from("edge"),
            affinity: Arc::from("federation"),
            reconnecting: VecDeque::new(),
            // A tcp probe cannot see a frozen process; traffic must.
            kind: if seed % 4 == 3 {
                ProbeKind::Tcp
            } else {
                TIMING.kind
            },
            share: if seed % 3 == 1 { 60 } else { 100 },
            recovery: Recovering::default(),
            returns: Returns::default(),
            books: Books::default(),
            conduct: Conduct::new(seed % 4 == 2),
            absent: None,
            heard: BTreeMap::new(),
            ignored: None,
            late: None,
            watch: Watch::new(invariants::STRANDED_MAX),
        };
        let timing = Timing {
            kind: driver.kind,
            ..TIMING
        };
        driver.group = Group::new(timing);
        driver.reload();
        driver
    }

    pub(crate) fn pin_key(&self, subject: &Subject) -> PinKey {
        PinKey {
            scope: Arc::new(PinScope {
                pool: Arc::clone(&self.pool),
                affinity: Arc::clone(&self.affinity),
            }),
            subject: subject.clone(),
        }
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| *node.name == *name)
    }

    /// The earliest moment at which something happens by itself.
    pub(crate) fn next_moment(&self) -> Moment {
        let reports = self.reports.iter().map(|report| self.arrival(report));
        let thaws = self.nodes.iter().filter_map(|node| node.frozen_until);
        let orphans = self
            .sessions
            .iter()
            .filter_map(|session| session.orphan_until);
        let wake = self.group.next_wake();
        let speaks = self.nodes.iter().map(|node| node.quiet_until);
        let speaks = speaks.filter(|until| *until > self.now);
        reports
            .chain(thaws)
            .chain(speaks)
            .chain(self.recovery.next())
            .chain(self.mute_due())
            .chain(orphans)
            .chain(wake)
            .min()
            .unwrap_or(self.now)
            .max(self.now + Duration::from_micros(500))
    }

    /// One round of everybody at `now`.
    pub(crate) fn step(&mut self, now: Moment) {
        self.now = now;
        for node in &mut self.nodes {
            node.tick(now);
        }
        if self.short_until > now {
            self.last_disturbed = now;
        }
        self.deliver_reports();
        self.poll();
        self.node_bytes();
        self.answer_clients();
        self.look_for_mute();
        self.end_orphans();
        self.send_back();
        self.look_for_missing();
        self.reconnect();
        self.admit_waiting();
        self.pins.expire(now, 4);
    }

    /// All pins, for the invariants.
    pub(crate) fn pin_list(&self) -> Vec<(PinKey, Pin)> {
        self.pins.list(self.now)
    }
}
