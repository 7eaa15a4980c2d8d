//! What the governor decides by, and how it is carried out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::failback::Failbacks;
pub use self::failback::KeptReturns;
use self::invariants::Invariants;
use self::recovering::Recovering;
use self::watched::Watched;
use super::certificates::Certificates;
use super::ledger::Ledger;
use super::{Command, Heard, LOOK_INTERVAL, Setup, Told, Verdicts};
use super::{EndpointView, GroupView, View};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::pool::group::Member;
use crate::pool::health::{Event, State};
use crate::pool::pins::{PinKey, PinTable};
use crate::pool::placement::PlacementKey;
use crate::relay::report::{Lost, Report, Reports};
use crate::relay::session::{EndpointNumber, Interrupt};
use crate::snapshot::{GroupKey, GroupPlan, MemberPlan, Snapshot};
use crate::worker::Order;

mod announce;
mod carry;
mod failback;
mod invariants;
mod mute;
mod recovering;
mod shown;
mod watched;

/// Everything the governor's thread holds.
pub(super) struct Court {
    watched: Vec<Watched>,
    revision: u64,
    administered: HashMap<(Arc<str>, Arc<str>), NodeState>,
    drains: Vec<(Moment, Arc<str>, Arc<str>)>,
    workers: Vec<mpsc::Sender<Order>>,
    pins: Arc<PinTable>,
    key: Arc<PlacementKey>,
    snapshot: Arc<Snapshot>,
    failbacks: Failbacks,
    invariants: Invariants,
    reports: Reports,
    told: mpsc::Sender<Told>,
    ledger: Ledger,
    recovering: Recovering,
    certificates: Certificates,
    probes: u64,
    looked: Moment,
    next_sweep: Moment,
}

impl Court {
    pub(super) fn new(setup: Setup, told: mpsc::Sender<Told>) -> (Self, mpsc::Receiver<Report>) {
        let mut court = Self {
            watched: Vec::new(),
            revision: 0,
            administered: setup.administered,
            drains: setup.drains,
            workers: setup.workers,
            pins: setup.pins,
            key: setup.key,
            snapshot: Arc::clone(&setup.snapshot),
            failbacks: Failbacks::go_on(setup.returns, Moment::now()),
            invariants: Invariants::default(),
            reports: setup.reports,
            told,
            ledger: Ledger::go_on(setup.ledger, Moment::now()),
            recovering: Recovering::default(),
            certificates: Certificates::default(),
            probes: 0,
            looked: Moment::now(),
            next_sweep: Moment::now(),
        };
        court.watch(&setup.snapshot);
        court.tell_awaited();
        (court, setup.inbox)
    }

    /// When to look around next.
    pub(super) fn next_look(&self) -> Moment {
        let wake = self
            .watched
            .iter()
            .filter_map(|watched| watched.group.next_wake())
            .min();
        let regular = self.looked + LOOK_INTERVAL;
        wake.map_or(regular, |wake| wake.min(regular))
    }

    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(snapshot) => self.watch(&snapshot),
            Command::Administer {
                pool,
                node,
                state,
                deadline,
            } => {
                self.administer(&pool, &node, state, deadline);
            }
            Command::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.view());
            }
        }
    }

    /// Takes up a snapshot. Groups and members that stay keep what is known of them.
    fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        let now = Moment::now();
        self.revision = snapshot.revision;
        self.snapshot = Arc::clone(snapshot);
        let mut before: HashMap<GroupKey, Watched> = std::mem::take(&mut self.watched)
            .into_iter()
            .map(|watched| (watched.plan.key.clone(), watched))
            .collect();
        let mut disabled = Vec::new();
        for plan in &snapshot.groups {
            let mut watched = before
                .remove(&plan.key)
                .unwrap_or_else(|| Watched::new(plan));
            watched.plan = plan.clone();
            watched.has_needed |= !plan.needs.is_empty();
            let mut effects = Vec::new();
            watched
                .group
                .set_timing(plan.timing.clone(), now, &mut effects);
            let members: Vec<_> = plan
                .members
                .iter()
                .map(|member| self.member(plan, member))
                .collect();
            watched.group.set_members(&members, now, &mut effects);
            let off = members
                .iter()
                .filter(|member| member.admin == NodeState::Disabled && !member.is_removed)
                .map(|member| (Arc::clone(&plan.key.pool), Arc::clone(&member.node)));
            disabled.extend(off);
            watched.forget_the_gone();
            self.watched.push(watched);
            self.carry_out(self.watched.len() - 1, effects, now);
        }
        self.forget_certificates();
        let pools: HashSet<_> = self
            .watched
            .iter()
            .map(|each| &each.plan.key.pool)
            .collect();
        self.recovering.keep(|pool| pools.contains(pool));
        // Only now, when every standing says so: nobody is placed there after being ended.
        for (pool, node) in disabled {
            self.interrupt_node(&pool, &node, Interrupt::Disabled);
        }
    }

    fn member(&self, plan: &GroupPlan, member: &MemberPlan) -> Member {
        let name = (Arc::clone(&plan.key.pool), Arc::clone(&member.name));
        let wanted = self.administered.get(&name).copied();
        let wanted = wanted.filter(|_| !member.is_removed);
        Member {
            node: name.1,
            address: member.probed.socket(),
            admin: wanted.unwrap_or(member.configured),
            is_removed: member.is_removed,
        }
    }

    fn administer(
        &mut self,
        pool: &Arc<str>,
        node: &Arc<str>,
        wanted: Option<NodeState>,
        deadline: Option<Duration>,
    ) {
        let now = Moment::now();
        let name = (Arc::clone(pool), Arc::clone(node));
        match wanted {
            Some(state) => self.administered.insert(name, state),
            None => self.administered.remove(&name),
        };
        self.drains
            .retain(|(_, of_pool, of_node)| (of_pool, of_node) != (pool, node));
        if let (Some(NodeState::Draining), Some(deadline)) = (wanted, deadline) {
            self.drains
                .push((now + deadline, Arc::clone(pool), Arc::clone(node)));
        }
        for index in 0..self.watched.len() {
            let Some(watched) = self.watched.get_mut(index) else {
                break;
            };
            if watched.plan.key.pool != *pool {
                continue;
            }
            let Some(member) = watched.plan.member(node) else {
                continue;
            };
            let state = wanted.unwrap_or(member.configured);
            let mut effects = Vec::new();
            match state {
                NodeState::Active => watched.group.resume(node, now, &mut effects),
                NodeState::Draining | NodeState::Disabled => {
                    watched.group.set_admin(node, state, now, &mut effects);
                }
            }
            self.carry_out(index, effects, now);
        }
        if wanted == Some(NodeState::Disabled) {
            self.interrupt_node(pool, node, Interrupt::Disabled);
        }
    }

    /// A question was answered.
    pub(super) fn hear(&mut self, told: Told) {
        let now = Moment::now();
        match told {
            Told::Node {
                group,
                node,
                endpoint,
                what,
            } => self.hear_of_node(&group, &node, endpoint, what, now),
            Told::Partners(surveys) => self.consider_all(&surveys, now),
        }
    }

    fn hear_of_node(
        &mut self,
        group: &GroupKey,
        node: &Arc<str>,
        endpoint: EndpointNumber,
        what: Heard,
        now: Moment,
    ) {
        let position = self
            .watched
            .iter()
            .position(|watched| watched.plan.key == *group);
        let Some(index) = position else { return };
        let Some(watched) = self.watched.get_mut(index) else {
            return;
        };
        // The node may have got another address while the probe was under way.
        let member = watched.plan.member(node);
        if member.is_none_or(|member| member.endpoint.number != endpoint) {
            return;
        }
        let event = match what {
            Heard::Event(event) => event,
            Heard::Certificate(shown) => {
                return self.note_certificate(index, node, *shown);
            }
        };
        let mut effects = Vec::new();
        watched.group.observe(node, event, now, &mut effects);
        self.carry_out(index, effects, now);
    }

    /// A session has reported something.
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::DialRefused(endpoint) => self.observe(endpoint, Event::DialRefused),
            Report::DialTimedOut(endpoint) => self.observe(endpoint, Event::DialTimedOut),
            Report::SessionReset(endpoint, client) => {
                self.observe(endpoint, Event::SessionReset { client });
            }
            Report::PartnerLost(lost) => {
                self.ledger.lost(lost);
                let awaited = self.ledger.awaited() + self.failbacks.awaited();
                self.reports.lost_is_known(awaited);
            }
            Report::PartnerServed(served) => {
                let Some(node) = self.find(served.endpoint).map(|(_, node)| node) else {
                    return;
                };
                let partner = Arc::clone(&served.partner);
                self.failbacks.served(&partner, &node, served.first_byte);
                let listener = Arc::clone(&served.listener);
                if let Some(gap) = self.ledger.served(served, &node) {
                    announce::partner_back(&partner, &listener, &node, gap);
                }
                self.tell_awaited();
            }
        }
    }

    /// Who was removed, or lost its listener, by a reload is not awaited.
    fn keep_awaited(&mut self) {
        let (partners, listeners) = (&self.snapshot.partners, &self.snapshot.listeners);
        self.ledger.keep_awaited(|partner, listener| {
            partners.by_name(partner).is_some()
                && listeners.iter().any(|each| *each.state.name == *listener)
        });
    }

    /// Tells of partners that never came back.
    fn raise_alarms(&mut self, now: Moment) {
        let Self {
            ledger,
            snapshot,
            pins,
            ..
        } = self;
        let alarm_after = |name: &str| Some(snapshot.partners.by_name(name)?.alarm_after);
        let is_connected = |lost: &Lost| is_connected(snapshot, pins, lost, now);
        for missing in ledger.raise_alarms(alarm_after, is_connected, now) {
            let known = snapshot.partners.by_name(&missing.partner);
            let contact = known.and_then(|known| known.contact.as_deref());
            announce::not_back(&missing, contact);
        }
    }

    /// Tells workers whether it matters who is served.
    fn tell_awaited(&self) {
        let awaited = self.ledger.awaited() + self.failbacks.awaited();
        self.reports.set_awaited(awaited, self.ledger.missing());
    }

    fn observe(&mut self, endpoint: EndpointNumber, event: Event) {
        let Some((index, node)) = self.find(endpoint) else {
            return;
        };
        let Some(watched) = self.watched.get_mut(index) else {
            return;
        };
        let now = Moment::now();
        let mut effects = Vec::new();
        watched.group.observe(&node, event, now, &mut effects);
        // Evidence asks for probes at once, not at the next look.
        watched.group.poll(now, &mut effects);
        self.carry_out(index, effects, now);
    }

    fn find(&self, endpoint: EndpointNumber) -> Option<(usize, Arc<str>)> {
        self.watched
            .iter()
            .enumerate()
            .find_map(|(index, watched)| {
                let mut members = watched.plan.members.iter();
                let member = members.find(|member| member.endpoint.number == endpoint)?;
                Some((index, Arc::clone(&member.name)))
            })
    }

    /// Looks at the traffic, lets time pass, and cuts what has drained for long enough.
    pub(super) fn look(&mut self, now: Moment) {
        self.looked = now;
        for index in 0..self.watched.len() {
            let Some(watched) = self.watched.get_mut(index) else {
                break;
            };
            let mut effects = Vec::new();
            watched.look_at_traffic(now, &mut effects);
            watched.group.poll(now, &mut effects);
            watched.tell_warmth(now);
            if let Some(member) = watched.plan.members.first() {
                let recovery = member.endpoint.pace.recovery();
                self.recovering.note(&watched.plan.key.pool, recovery, now);
            }
            self.carry_out(index, effects, now);
        }
        self.look_at_needs(now);
        self.look_for_mute(now);
        let due = |drain: &(Moment, Arc<str>, Arc<str>)| drain.0 <= now;
        let drained: Vec<_> = self.drains.extract_if(.., |drain| due(drain)).collect();
        for (_, pool, node) in drained {
            self.interrupt_node(&pool, &node, Interrupt::Drained);
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.pins.expire(now, SWEEP_MAX);
            self.ledger.forget(now);
            self.keep_awaited();
            self.raise_alarms(now);
            self.look_at_failbacks(now);
            self.look_at_invariants(now);
            self.tell_awaited();
        }
    }

    /// Tells each group which of its nodes are down on listeners that it needs. A chain of needs is
    /// followed a link at a time, the next one at the next look.
    fn look_at_needs(&mut self, now: Moment) {
        for index in 0..self.watched.len() {
            let lacking = self.lacking(index);
            let Some(watched) = self.watched.get_mut(index) else {
                return;
            };
            let mut effects = Vec::new();
            for (node, is_lacking) in lacking {
                watched
                    .group
                    .set_lacking(&node, is_lacking, now, &mut effects);
            }
            self.carry_out(index, effects, now);
        }
    }

    /// Each node of a group that needs others, and whether it is down on one of them.
    fn lacking(&self, index: usize) -> Vec<(Arc<str>, bool)> {
        let Some(watched) = self.watched.get(index) else {
            return Vec::new();
        };
        let plan = &watched.plan;
        if plan.needs.is_empty() && !watched.has_needed {
            return Vec::new();
        }
        let needed = |other: &&Watched| {
            let listeners = &other.plan.listeners;
            listeners.iter().any(|name| plan.needs.contains(name))
        };
        let is_down = |node: &str| {
            let mut others = self.watched.iter().filter(needed);
            others.any(|other| other.group.is_down(node) == Some(true))
        };
        let members = plan.members.iter().filter(|member| !member.is_removed);
        members
            .map(|member| (Arc::clone(&member.name), is_down(&member.endpoint.node)))
            .collect()
    }

    /// We stood still for `lateness`.
    pub(super) fn stunned(&mut self, lateness: Duration) {
        let now = Moment::now();
        tracing::warn!(?lateness, "self-stalled: probes under way say nothing");
        for watched in &mut self.watched {
            watched.group.stunned(now);
            watched.late = Some(now);
        }
    }

    pub(super) fn publish(&self, verdicts: &watch::Sender<Verdicts>) {
        let current = self.verdicts();
        verdicts.send_if_modified(|known| {
            let is_changed = *known != current;
            if is_changed {
                *known = current;
            }
            is_changed
        });
    }

    fn verdicts(&self) -> Verdicts {
        let mut verdicts = Verdicts {
            revision: self.revision,
            are_first_in: true,
            without_node: Vec::new(),
            closed: Vec::new(),
        };
        for watched in &self.watched {
            if watched.plan.listeners.is_empty() {
                continue;
            }
            let members = watched.group.view();
            let is_up = members.iter().any(|member| {
                member.admin != NodeState::Disabled
                    && matches!(member.state, State::Up | State::Suspect)
            });
            let is_settled = members.iter().all(|member| member.state != State::Unproven);
            verdicts.are_first_in &= is_up || is_settled;
            let listeners = || watched.plan.listeners.iter().map(Arc::clone);
            if !is_up {
                verdicts.without_node.extend(listeners());
            }
            if !is_up && is_settled {
                verdicts.closed.extend(listeners());
            }
        }
        verdicts
    }

    fn view(&self) -> View {
        let groups = self.watched.iter().map(|watched| GroupView {
            pool: Arc::clone(&watched.plan.key.pool),
            listeners: watched.plan.listeners.clone(),
            certificates_differ: self.certificates.differ(&watched.plan.key),
            endpoints: watched
                .group
                .view()
                .into_iter()
                .filter_map(|health| {
                    let member = watched.plan.member(&health.node)?;
                    Some(EndpointView {
                        endpoint: Arc::clone(&member.endpoint),
                        health,
                        certificate: self.certificates.of(member.endpoint.number).map(Arc::clone),
                    })
                })
                .collect(),
        });
        View {
            groups: groups.collect(),
            failovers: self.ledger.failovers(),
            totals: self.ledger.totals().clone(),
            probes: self.probes,
            not_back: self.ledger.alarmed(),
            broken: self.invariants.broken,
        }
    }
}

/// Whether a partner has sessions under its pin, on the listener of a loss.
fn is_connected(snapshot: &Snapshot, pins: &PinTable, lost: &Lost, now: Moment) -> bool {
    let mut listeners = snapshot.listeners.iter();
    let listener = listeners.find(|listener| listener.state.name == lost.listener);
    let pin = listener.and_then(|listener| {
        let key = PinKey::of_partner(&listener.pin_scope, &lost.partner);
        pins.inspect(&key, now)
    });
    pin.is_some_and(|pin| pin.sessions > 0)
}

impl GroupPlan {
    fn member(&self, node: &str) -> Option<&MemberPlan> {
        self.members.iter().find(|member| *member.name == *node)
    }
}

/// Lapsed pins cost memory, not correctness.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_MAX: usize = 5000;
