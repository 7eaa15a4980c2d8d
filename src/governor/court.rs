//! What the governor decides by, and how it is carried out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::ledger::{Cut, Ledger};
use super::{Command, LOOK_INTERVAL, Setup, Told, Verdicts};
use super::{EndpointView, GroupView, View};
use crate::clock::Moment;
use crate::config::model::{Balance, NodeState};
use crate::pool::group::{Effect, Group, Member};
use crate::pool::health::{Event, State};
use crate::pool::pins::PinTable;
use crate::pool::placement::{PlacementKey, Subject};
use crate::pool::select::{Candidate, Request, Standing, Tried, choose};
use crate::probe::{self, Question};
use crate::relay::report::{Report, Reports};
use crate::relay::session::{EndpointNumber, Interrupt};
use crate::snapshot::{Endpoint, GroupKey, GroupPlan, MemberPlan, Snapshot};
use crate::worker::{Order, Whose};

mod announce;

/// Everything the governor's thread holds.
pub(super) struct Court {
    watched: Vec<Watched>,
    revision: u64,
    administered: HashMap<(Arc<str>, Arc<str>), NodeState>,
    drains: Vec<(Moment, Arc<str>, Arc<str>)>,
    workers: Vec<mpsc::Sender<Order>>,
    pins: Arc<PinTable>,
    key: Arc<PlacementKey>,
    reports: Reports,
    told: mpsc::Sender<Told>,
    ledger: Ledger,
    probes: u64,
    looked: Moment,
    next_sweep: Moment,
}

/// One group of the snapshot, and what is known of it.
struct Watched {
    plan: GroupPlan,
    group: Group,
    /// Nodes that were up since they were last cut.
    was_up: HashSet<Arc<str>>,
    /// What was last told of each member's traffic.
    traffic: HashMap<EndpointNumber, (Option<Moment>, Option<Moment>)>,
}

impl Court {
    pub(super) fn new(setup: Setup, told: mpsc::Sender<Told>) -> (Self, mpsc::Receiver<Report>) {
        let mut court = Self {
            watched: Vec::new(),
            revision: 0,
            administered: setup.administered,
            drains: Vec::new(),
            workers: setup.workers,
            pins: setup.pins,
            key: setup.key,
            reports: setup.reports,
            told,
            ledger: Ledger::default(),
            probes: 0,
            looked: Moment::now(),
            next_sweep: Moment::now(),
        };
        court.watch(&setup.snapshot);
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
    fn watch(&mut self, snapshot: &Snapshot) {
        let now = Moment::now();
        self.revision = snapshot.revision;
        let mut before: HashMap<GroupKey, Watched> = std::mem::take(&mut self.watched)
            .into_iter()
            .map(|watched| (watched.plan.key.clone(), watched))
            .collect();
        for plan in &snapshot.groups {
            let mut watched = before.remove(&plan.key).unwrap_or_else(|| Watched {
                plan: plan.clone(),
                group: Group::new(plan.timing.clone()),
                was_up: HashSet::new(),
                traffic: HashMap::new(),
            });
            watched.plan = plan.clone();
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
            self.watched.push(watched);
            self.carry_out(self.watched.len() - 1, effects, now);
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
                NodeState::Active => watched.group.resume(node, &mut effects),
                NodeState::Draining | NodeState::Disabled => {
                    watched.group.set_admin(node, state, &mut effects);
                }
            }
            self.carry_out(index, effects, now);
        }
        if wanted == Some(NodeState::Disabled) {
            self.interrupt_node(pool, node, Interrupt::Disabled);
        }
    }

    /// A probe has told something.
    pub(super) fn hear(&mut self, told: &Told) {
        let now = Moment::now();
        let position = self
            .watched
            .iter()
            .position(|watched| watched.plan.key == told.group);
        let Some(index) = position else { return };
        let Some(watched) = self.watched.get_mut(index) else {
            return;
        };
        // The node may have got another address while the probe was under way.
        let member = watched.plan.member(&told.node);
        if member.is_none_or(|member| member.endpoint.number != told.endpoint) {
            return;
        }
        let mut effects = Vec::new();
        watched
            .group
            .observe(&told.node, told.event, now, &mut effects);
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
            Report::PartnerLost(lost) => self.ledger.lost(lost),
            Report::PartnerServed(served) => {
                let Some(node) = self.find(served.endpoint).map(|(_, node)| node) else {
                    return;
                };
                let partner = Arc::clone(&served.partner);
                let listener = Arc::clone(&served.listener);
                if let Some(gap) = self.ledger.served(served, &node) {
                    announce::partner_back(&partner, &listener, &node, gap);
                }
            }
        }
        self.reports.set_awaited(self.ledger.awaited(Moment::now()));
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
            self.carry_out(index, effects, now);
        }
        let due = |drain: &(Moment, Arc<str>, Arc<str>)| drain.0 <= now;
        let drained: Vec<_> = self.drains.extract_if(.., |drain| due(drain)).collect();
        for (_, pool, node) in drained {
            self.interrupt_node(&pool, &node, Interrupt::Drained);
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.pins.expire(now, SWEEP_MAX);
        }
    }

    /// We stood still for `lateness`.
    pub(super) fn stunned(&mut self, lateness: Duration) {
        let now = Moment::now();
        tracing::warn!(?lateness, "self-stalled: probes under way say nothing");
        for watched in &mut self.watched {
            watched.group.stunned(now);
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
            if !is_up {
                verdicts
                    .without_node
                    .extend(watched.plan.listeners.iter().map(Arc::clone));
            }
        }
        verdicts
    }

    fn carry_out(&mut self, index: usize, effects: Vec<Effect>, now: Moment) {
        for effect in effects {
            let Some(watched) = self.watched.get_mut(index) else {
                return;
            };
            match effect {
                Effect::Probe { node } => {
                    self.probes += 1;
                    watched.probe(&node, now, &self.told);
                }
                Effect::Standing { node, standing } => {
                    if let Some(member) = watched.plan.member(&node) {
                        member.endpoint.set_standing(standing);
                    }
                }
                Effect::Changed {
                    node,
                    from,
                    to,
                    evidence,
                } => {
                    announce::changed(&watched.plan, &node, (from, to), evidence);
                    if to == State::Up {
                        watched.was_up.insert(node);
                    }
                }
                Effect::Cut {
                    node,
                    first_evidence,
                } => self.cut(index, &node, first_evidence, now),
                Effect::FailStatic { node } => announce::fail_static(&watched.plan, &node),
                Effect::Recovered { node } => announce::recovered(&watched.plan, &node),
            }
        }
    }

    /// Ends a dead node's sessions, and moves its pins.
    fn cut(&mut self, index: usize, node: &Arc<str>, first_evidence: Moment, now: Moment) {
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let Some(member) = watched.plan.member(node) else {
            return;
        };
        let endpoint = member.endpoint.number;
        let node_name = Arc::clone(&member.endpoint.node);
        let mut sessions = 0;
        for endpoint in self.twins(&member.endpoint) {
            sessions += endpoint.sessions();
            self.order(|| Order::Interrupt {
                of: Whose::Endpoint(endpoint.number),
                with: Interrupt::NodeDown,
            });
        }
        let mut moved = Vec::new();
        for affinity in &watched.plan.affinities {
            let place = |subject: &Subject| watched.survivor(&self.key, subject, node);
            let pool = &watched.plan.key.pool;
            moved.extend(self.pins.fail_over(pool, affinity, node, now, place).moved);
        }
        let moved_count = moved.len();
        // A cut may be asked for again in one downfall, and for a node that never was up: it is
        // written down where it did something.
        let was_up = self
            .watched
            .get_mut(index)
            .is_some_and(|watched| watched.was_up.remove(node));
        if sessions == 0 && moved_count == 0 && !was_up {
            return;
        }
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let evidence = watched
            .group
            .view()
            .into_iter()
            .find(|view| view.node == *node);
        let evidence = evidence
            .and_then(|view| view.evidence)
            .map_or("-", |(last, _)| last.label());
        let cut = Cut {
            pool: Arc::clone(&watched.plan.key.pool),
            node: node_name,
            endpoint,
            listeners: watched.plan.listeners.clone(),
            first_evidence,
            evidence,
            sessions,
            pins_moved: moved_count,
        };
        let (number, back) = self.ledger.cut(cut, now);
        announce::cut(
            &watched.plan,
            node,
            number,
            sessions,
            now.since(first_evidence),
        );
        for pin in &moved {
            announce::pin_moved(number, pin);
        }
        for back in back {
            announce::partner_back(&back.partner, &back.listener, &back.node, back.cut_off);
        }
    }

    /// `endpoint`, and the same place as a reload found it that changed how it is asked: sessions
    /// from before that reload are dead with it, whatever the old way to ask can tell.
    fn twins(&self, endpoint: &Arc<Endpoint>) -> Vec<Arc<Endpoint>> {
        let members = self
            .watched
            .iter()
            .flat_map(|watched| &watched.plan.members);
        let removed = members
            .filter(|member| member.is_removed)
            .map(|member| &member.endpoint)
            .filter(|other| {
                other.number != endpoint.number
                    && (&other.pool, &other.node, other.address)
                        == (&endpoint.pool, &endpoint.node, endpoint.address)
            });
        [endpoint].into_iter().chain(removed).cloned().collect()
    }

    fn interrupt_node(&self, pool: &str, node: &str, with: Interrupt) {
        let watched = self
            .watched
            .iter()
            .filter(|watched| *watched.plan.key.pool == *pool);
        // Also where it was before it moved.
        let members = watched.flat_map(|watched| &watched.plan.members);
        for member in members.filter(|member| *member.endpoint.node == *node) {
            let of = Whose::Endpoint(member.endpoint.number);
            self.order(|| Order::Interrupt { of, with });
        }
    }

    /// Tells every worker. One whose mailbox is full has stood still for thousands of orders; the
    /// watchdog ends the process then.
    fn order(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            if worker.try_send(order()).is_err() {
                tracing::error!("a worker takes no orders");
            }
        }
    }

    fn view(&self) -> View {
        let groups = self.watched.iter().map(|watched| GroupView {
            pool: Arc::clone(&watched.plan.key.pool),
            listeners: watched.plan.listeners.clone(),
            endpoints: watched
                .group
                .view()
                .into_iter()
                .filter_map(|health| {
                    let member = watched.plan.member(&health.node)?;
                    Some(EndpointView {
                        endpoint: Arc::clone(&member.endpoint),
                        health,
                    })
                })
                .collect(),
        });
        View {
            groups: groups.collect(),
            failovers: self.ledger.failovers(),
            totals: self.ledger.totals().clone(),
            probes: self.probes,
        }
    }
}

impl Watched {
    /// Begins a probe.
    fn probe(&self, node: &Arc<str>, now: Moment, told: &mpsc::Sender<Told>) {
        let Some(member) = self.plan.member(node) else {
            return;
        };
        let question = Question {
            kind: self.plan.probe.kind,
            timeout: self.plan.probe.timeout,
            patience: self.plan.probe.silence + self.plan.probe.timeout,
            proxy_protocol: self.plan.proxy_protocol,
        };
        let (group, node, told) = (self.plan.key.clone(), Arc::clone(node), told.clone());
        let (address, endpoint) = (member.probed, member.endpoint.number);
        tokio::task::spawn_local(probe::ask(question, address, now, move |event| {
            let (group, node) = (group.clone(), Arc::clone(&node));
            // A full queue means thousands of answers wait already; the next probe will tell.
            let _ = told.try_send(Told {
                group,
                node,
                endpoint,
                event,
            });
        }));
    }

    /// Tells the group what workers have seen since the last look.
    fn look_at_traffic(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for member in &self.plan.members {
            let endpoint = &member.endpoint;
            let slots = || {
                endpoint
                    .slots()
                    .map(crate::telemetry::counters::EndpointSlot::traffic)
            };
            let heard = slots().filter_map(|(_, heard)| heard).max();
            let asked = slots()
                .filter_map(|(asked, _)| asked)
                .filter(|at| Some(*at) > heard)
                .min();
            let known = self.traffic.entry(endpoint.number).or_default();
            if let Some(at) = heard.filter(|_| heard != known.1) {
                self.group
                    .observe(&member.name, Event::Heard { at }, now, effects);
            }
            if let Some(at) = asked.filter(|_| asked != known.0) {
                self.group
                    .observe(&member.name, Event::Asked { at }, now, effects);
            }
            *known = (asked, heard);
        }
    }

    /// Where a partner goes whose node is dead.
    fn survivor(&self, key: &PlacementKey, subject: &Subject, dead: &str) -> Option<Arc<str>> {
        let members = &self.plan.members;
        let candidates = members.iter().map(|member| Candidate {
            name: &member.name,
            weight: member.weight,
            standing: if *member.name == *dead {
                Standing::Never
            } else {
                member.endpoint.standing()
            },
            sessions: 0,
        });
        let request = Request {
            key,
            subject,
            balance: Balance::SourceHash,
            pinned: None,
            turn: 0,
            tried: Tried::NONE,
        };
        let choice = choose(candidates, &request)?;
        let chosen = members.get(choice.index)?;
        Some(Arc::clone(&chosen.endpoint.node))
    }
}

impl GroupPlan {
    fn member(&self, node: &str) -> Option<&MemberPlan> {
        self.members.iter().find(|member| *member.name == *node)
    }
}

/// Lapsed pins cost memory, not correctness.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_MAX: usize = 5000;
