//! Plays the governor and the workers: runs probes, carries out effects, dials, pins, cuts.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::{Balance, NodeState, PinPrefix, ProbeKind, ReturnAfter};
use pinfold::pool::group::{Effect, Group, Member};
use pinfold::pool::health::{Event, ProbeFailure, State, Timing};
use pinfold::pool::pins::{Lease, NewPin, Pin, PinKey, PinTable, Pinned, PinnedBy};
use pinfold::pool::placement::{PlacementKey, Subject};
use pinfold::pool::select::{Candidate, Choice, Request, Standing, Tried, Why, choose};

use crate::world::Node;

/// Whether the driver keeps the rules, or breaks one on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    AsBuilt,
    IgnoresCuts,
    CountsSoftEvidence,
    LeaksLeases,
    CountsShortages,
}

/// What happened, so that a simulation in which nothing happens is noticed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) sessions: u64,
    pub(crate) downs: u64,
    pub(crate) cuts: u64,
    pub(crate) fail_static: u64,
    pub(crate) pins_moved: u64,
    pub(crate) dial_failed: u64,
    pub(crate) evicted: u64,
    pub(crate) lapsed: u64,
    pub(crate) stuns: u64,
    pub(crate) reloads: u64,
    pub(crate) voids: u64,
    pub(crate) held: u64,
}

impl Tally {
    fn fields(&self) -> [u64; 13] {
        [
            self.steps,
            self.sessions,
            self.downs,
            self.cuts,
            self.fail_static,
            self.pins_moved,
            self.dial_failed,
            self.evicted,
            self.lapsed,
            self.stuns,
            self.reloads,
            self.voids,
            self.held,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m] = other.fields();
        self.steps += a;
        self.sessions += b;
        self.downs += c;
        self.cuts += d;
        self.fail_static += e;
        self.pins_moved += f;
        self.dial_failed += g;
        self.evicted += h;
        self.lapsed += i;
        self.stuns += j;
        self.reloads += k;
        self.voids += l;
        self.held += m;
    }

    pub(crate) fn assert_everything_happened(&self) {
        assert!(self.fields().iter().all(|count| *count > 0), "{self:?}");
    }
}

/// A client of the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) subject: Subject,
}

impl Client {
    pub(crate) fn partner(number: u8) -> Self {
        Self {
            ip: IpAddr::from([192, 0, 2, number]),
            subject: Subject::Partner(Arc::from(format!("partner{number}"))),
        }
    }

    pub(crate) fn address(number: u8) -> Self {
        let ip = IpAddr::from([203, 0, 113, number]);
        let subject = Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 });
        Self { ip, subject }
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
    why: Why,
    /// A dial of the pinned node was refused on the way here.
    refused: bool,
    lease: Option<Lease>,
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
    key: PlacementKey,
    turn: u64,
    balance: Balance,
    pool: Arc<str>,
    affinity: Arc<str>,
    reconnecting: VecDeque<Client>,
}

pub(crate) const TIMING: Timing = Timing {
    kind: ProbeKind::TlsHello,
    interval: Duration::from_millis(400),
    fast_interval: Duration::from_millis(50),
    timeout: Duration::from_millis(250),
    silence: Duration::from_millis(600),
    fall: 2,
    rise: 3,
    return_after: ReturnAfter::Healthy(Duration::from_secs(4)),
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
        };
        driver.reload();
        driver
    }

    pub(crate) fn pin_key(&self, subject: &Subject) -> PinKey {
        PinKey {
            pool: Arc::clone(&self.pool),
            affinity: Arc::clone(&self.affinity),
            subject: subject.clone(),
        }
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| *node.name == *name)
    }

    /// The earliest moment at which something happens by itself.
    pub(crate) fn next_moment(&self) -> Moment {
        let reports = self.reports.iter().map(|report| report.at);
        let thaws = self.nodes.iter().filter_map(|node| node.frozen_until);
        let orphans = self
            .sessions
            .iter()
            .filter_map(|session| session.orphan_until);
        let wake = self.group.next_wake();
        reports
            .chain(thaws)
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
        self.end_orphans();
        self.reconnect();
        self.pins.expire(now, 4);
    }

    /// The configuration changed: the group learns its members.
    pub(crate) fn reload(&mut self) {
        let members: Vec<Member> = self
            .nodes
            .iter()
            .map(|node| Member {
                node: Arc::clone(&node.name),
                address: node.address,
                admin: node.admin,
            })
            .collect();
        let gone: Vec<Arc<str>> = self
            .standings
            .keys()
            .filter(|name| self.node(name).is_none())
            .cloned()
            .collect();
        for name in gone {
            self.standings.remove(&name);
            self.last_cut.remove(&name);
            self.pins.forget_node(&self.pool, &name);
            self.excused.push(name);
        }
        for session in &mut self.sessions {
            let stays = self
                .nodes
                .iter()
                .any(|node| node.name == session.node && node.address == session.address);
            session.orphan_until = match (stays, session.orphan_until) {
                (true, _) => None,
                (false, Some(until)) => Some(until),
                (false, None) => Some(self.now + Duration::from_millis(700)),
            };
        }
        let mut effects = Vec::new();
        self.group.set_members(&members, self.now, &mut effects);
        self.carry_out(effects);
    }

    pub(crate) fn set_admin(&mut self, index: usize, admin: NodeState) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        node.admin = admin;
        let name = Arc::clone(&node.name);
        let mut effects = Vec::new();
        match admin {
            NodeState::Active => self.group.resume(&name, &mut effects),
            NodeState::Draining | NodeState::Disabled => {
                self.group.set_admin(&name, admin, &mut effects);
            }
        }
        self.carry_out(effects);
        if admin == NodeState::Disabled {
            self.cut(&name);
        }
    }

    pub(crate) fn stun(&mut self) {
        self.tally.stuns += 1;
        self.last_disturbed = self.now;
        self.group.stunned(self.now);
    }

    pub(crate) fn observe(&mut self, node: &Arc<str>, event: Event) {
        let mut effects = Vec::new();
        self.group.observe(node, event, self.now, &mut effects);
        if let (Rule::CountsSoftEvidence, Event::SessionReset { .. }) = (self.rule, event) {
            let started = self.now;
            let how = ProbeFailure::Refused;
            let hard = Event::ProbeFailed { started, how };
            self.group.observe(node, hard, self.now, &mut effects);
            self.group.observe(node, hard, self.now, &mut effects);
        }
        self.carry_out(effects);
    }

    fn poll(&mut self) {
        let mut effects = Vec::new();
        self.group.poll(self.now, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { node } => self.probe(node),
                Effect::Standing { node, standing } => {
                    self.tally.held += u64::from(standing == Standing::Held);
                    self.standings.insert(node, standing);
                }
                Effect::Changed { node, to, .. } => self.changed(&node, to),
                Effect::Cut {
                    node,
                    first_evidence,
                } => {
                    self.tally.cuts += 1;
                    self.check_cut(&node, first_evidence);
                    if self.rule != Rule::IgnoresCuts {
                        self.last_cut.insert(Arc::clone(&node), self.now);
                        self.fail_over(&node);
                        self.cut(&node);
                    }
                }
                Effect::FailStatic { .. } => self.tally.fail_static += 1,
                Effect::Recovered { .. } => {}
            }
        }
    }

    fn changed(&mut self, name: &Arc<str>, to: State) {
        if to != State::Down {
            return;
        }
        self.tally.downs += 1;
        let wrongly = self
            .node(name)
            .is_some_and(|node| !node.may_be_down(self.now));
        if wrongly {
            self.violation = Some(format!("{name} is taken for down and never was"));
        }
    }

    /// A cut is right only if somebody lived on after the first evidence.
    fn check_cut(&mut self, victim: &Arc<str>, first_evidence: Moment) {
        let outlived = self.nodes.iter().any(|node| {
            node.name != *victim
                && node.admin != NodeState::Disabled
                && node.last_alive >= first_evidence
        });
        if !outlived {
            self.violation = Some(format!("{victim} was cut and nobody outlived it"));
        }
    }

    fn probe(&mut self, node: Arc<str>) {
        let started = self.now;
        if self.short_until > self.now {
            self.tally.voids += 1;
            let event = if self.rule == Rule::CountsShortages {
                let how = ProbeFailure::Refused;
                Event::ProbeFailed { started, how }
            } else {
                Event::ProbeVoid { started }
            };
            return self.observe(&node, event);
        }
        let latency = Duration::from_micros(500 + started.as_micros() % 2_000);
        for (after, timed_out) in [(latency, false), (TIMING.timeout, true)] {
            self.reports.push(Report {
                at: started + after,
                node: Arc::clone(&node),
                started,
                timed_out,
            });
        }
    }

    /// Answers arrive as the nodes are when they are due: a frozen node's wait until it thaws.
    fn deliver_reports(&mut self) {
        let (due, waiting): (Vec<Report>, Vec<Report>) = std::mem::take(&mut self.reports)
            .into_iter()
            .partition(|report| report.at <= self.now);
        self.reports = waiting;
        for report in due {
            let Some(node) = self.node(&report.node) else {
                continue;
            };
            let (dead, frozen) = (node.dead, node.frozen_until);
            let started = report.started;
            if report.timed_out {
                let answer = |other: &Report| {
                    !other.timed_out && other.started == started && other.node == report.node
                };
                if self.reports.iter().any(answer) {
                    let how = ProbeFailure::TimedOut;
                    self.observe(&report.node, Event::ProbeFailed { started, how });
                }
            } else if dead {
                let how = ProbeFailure::Refused;
                self.observe(&report.node, Event::ProbeFailed { started, how });
            } else if let Some(until) = frozen {
                let at = until + Duration::from_millis(1);
                self.reports.push(Report { at, ..report });
            } else {
                self.observe(&report.node, Event::ProbeGood { started });
            }
        }
    }

    /// Nodes that live send their first byte; those that died reset their sessions.
    fn node_bytes(&mut self) {
        let mut index = 0;
        while let Some(session) = self.sessions.get(index) {
            let name = Arc::clone(&session.node);
            let node = self
                .nodes
                .iter()
                .find(|node| node.name == name && node.address == session.address);
            let (dead, answers) = node.map_or((false, true), |node| (node.dead, node.answers()));
            if dead {
                let client = self.end(index);
                self.observe(&name, Event::SessionReset { client: client.ip });
                self.reconnecting.push_back(client);
                continue;
            }
            if answers && !session.answered {
                self.first_byte(index);
            }
            index += 1;
        }
    }

    fn end_orphans(&mut self) {
        while let Some(index) = self
            .sessions
            .iter()
            .position(|session| session.orphan_until.is_some_and(|until| until <= self.now))
        {
            self.end(index);
        }
    }

    fn reconnect(&mut self) {
        // Nobody redials for ever within one step, however many nodes refuse.
        for _ in 0..self.reconnecting.len() {
            if let Some(client) = self.reconnecting.pop_front() {
                self.connect(client);
            }
        }
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.nodes.iter().map(|node| {
            let sessions = self
                .sessions
                .iter()
                .filter(|session| session.node == node.name);
            Candidate {
                name: &node.name,
                weight: node.weight,
                standing: self
                    .standings
                    .get(&node.name)
                    .copied()
                    .unwrap_or(Standing::Unproven),
                sessions: u32::try_from(sessions.count()).unwrap(),
            }
        })
    }

    fn choose(&self, subject: &Subject, pinned: Option<&Arc<str>>, tried: Tried) -> Option<Choice> {
        let position = |name: &Arc<str>| self.nodes.iter().position(|node| node.name == *name);
        let request = Request {
            key: &self.key,
            subject,
            balance: self.balance,
            pinned: pinned.and_then(position),
            turn: self.turn,
            tried,
        };
        choose(self.candidates(), &request)
    }

    /// Dials until a node accepts.
    pub(crate) fn connect(&mut self, client: Client) {
        self.turn += 1;
        let key = self.pin_key(&client.subject);
        let pinned = self.pins.look_up(&key, self.now);
        let (mut tried, mut refused) = (Tried::NONE, false);
        while let Some(choice) = self.choose(&client.subject, pinned.as_ref(), tried) {
            let Some(node) = self.nodes.get(choice.index) else {
                return;
            };
            let (name, dead, answers) = (Arc::clone(&node.name), node.dead, node.answers());
            if dead {
                tried = tried.with(choice.index);
                refused |= pinned.as_ref() == Some(&name);
                self.observe(&name, Event::DialRefused);
                continue;
            }
            self.tally.sessions += 1;
            self.sessions.push(Session {
                address: node.address,
                lease: self.lease_on(&key, &name),
                client,
                node: name,
                since: self.now,
                answered: false,
                why: choice.why,
                refused,
                orphan_until: None,
            });
            if answers {
                self.first_byte(self.sessions.len() - 1);
            }
            return;
        }
    }

    fn lease_on(&self, key: &PinKey, node: &Arc<str>) -> Option<Lease> {
        let named = self.pins.look_up(key, self.now)?;
        if named == *node {
            self.pins.lease(key, self.now)
        } else {
            None
        }
    }

    /// The node has answered: pins and leases follow.
    fn first_byte(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        session.answered = true;
        let (why, refused, node) = (session.why, session.refused, Arc::clone(&session.node));
        let leased = session.lease.is_some();
        let subject = session.client.subject.clone();
        let member = session.orphan_until.is_none();
        if why != Why::Placed || leased || !member {
            return;
        }
        let key = self.pin_key(&subject);
        let standing = |name: &Arc<str>| self.standings.get(name).copied();
        match self.pins.look_up(&key, now) {
            None => {
                let by = PinnedBy::Placed;
                let new = NewPin {
                    node: Arc::clone(&node),
                    by,
                    revision: 1,
                    ttl: PIN_TTL,
                };
                let _: Pinned = self.pins.pin(&key, new, now);
            }
            Some(named) if named != node => {
                let leaves = matches!(
                    standing(&named),
                    Some(Standing::Draining | Standing::Never | Standing::Down) | None
                );
                if refused || leaves {
                    let by = if refused {
                        PinnedBy::DialFailed
                    } else {
                        PinnedBy::Placed
                    };
                    self.tally.dial_failed += u64::from(refused);
                    self.pins.move_to(&key, &node, by, now);
                    self.excused.push(named);
                }
            }
            Some(_) => {}
        }
        let lease = self.lease_on(&key, &node);
        if let Some(session) = self.sessions.get_mut(index) {
            session.lease = lease;
        }
    }

    /// Ends one session.
    pub(crate) fn end(&mut self, index: usize) -> Client {
        let session = self.sessions.swap_remove(index);
        if let Some(lease) = session.lease
            && self.rule != Rule::LeaksLeases
        {
            self.pins.release(lease, self.now);
        }
        session.client
    }

    /// Ends all sessions of a node; partners come back at once.
    fn cut(&mut self, name: &Arc<str>) {
        while let Some(index) = self
            .sessions
            .iter()
            .position(|session| session.node == *name && session.orphan_until.is_none())
        {
            let client = self.end(index);
            if client.subject.is_partner() {
                self.reconnecting.push_back(client);
            }
        }
    }

    fn fail_over(&mut self, name: &Arc<str>) {
        self.excused.push(Arc::clone(name));
        let outcome = self
            .pins
            .fail_over(&self.pool, &self.affinity, name, self.now, |subject| {
                let choice = self.choose(subject, None, Tried::NONE)?;
                let node = self.nodes.get(choice.index)?;
                (choice.why == Why::Placed).then(|| Arc::clone(&node.name))
            });
        self.tally.pins_moved += outcome.moved.len() as u64;
    }

    /// All pins, for the invariants.
    pub(crate) fn pin_list(&self) -> Vec<(PinKey, Pin)> {
        self.pins.list(self.now)
    }
}
