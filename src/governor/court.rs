//! What the governor decides by, and how it is carried out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::failback::Failbacks;
pub use self::failback::KeptReturns;
use self::invariants::Invariants;
use self::recovering::Recovering;
use self::watched::Watched;
use super::addressing::Addressing;
use super::certificates::Certificates;
use super::handshakes::Handshakes;
use super::incident::Incidents;
use super::ledger::Ledger;
use super::mailboxes::Mailboxes;
use super::{Heard, LOOK_INTERVAL, Setup, Told};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::pool::health::Event;
use crate::pool::pins::{PinKey, PinTable};
use crate::pool::placement::PlacementKey;
use crate::relay::report::{Report, Reports};
use crate::relay::session::{EndpointNumber, Interrupt};
use crate::snapshot::{GroupKey, GroupPlan, MemberPlan, Snapshot};

mod addressed;
mod announce;
mod awaited;
mod carry;
mod failback;
mod invariants;
mod mute;
mod needs;
mod orders;
mod recovering;
mod shown;
mod spoken;
mod telling;
mod watched;

/// Everything the governor's thread holds.
pub(super) struct Court {
    watched: Vec<Watched>,
    revision: u64,
    administered: HashMap<(Arc<str>, Arc<str>), NodeState>,
    drains: Vec<(Moment, Arc<str>, Arc<str>)>,
    workers: Mailboxes,
    pins: Arc<PinTable>,
    key: Arc<PlacementKey>,
    snapshot: Arc<Snapshot>,
    failbacks: Failbacks,
    invariants: Invariants,
    reports: Reports,
    told: mpsc::Sender<Told>,
    ledger: Ledger,
    incidents: Incidents,
    recovering: Recovering,
    certificates: Certificates,
    addressing: Addressing,
    handshakes: Handshakes,
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
            workers: Mailboxes::new(setup.workers),
            pins: setup.pins,
            key: setup.key,
            snapshot: Arc::clone(&setup.snapshot),
            failbacks: Failbacks::go_on(setup.returns, Moment::now()),
            invariants: Invariants::default(),
            reports: setup.reports,
            told,
            ledger: Ledger::go_on(setup.ledger, Moment::now()),
            incidents: Incidents::default(),
            recovering: Recovering::default(),
            certificates: Certificates::default(),
            addressing: Addressing::default(),
            handshakes: Handshakes::default(),
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
            Heard::Answer(answer) => return self.note_answer(index, node, answer),
            Heard::Handshake(ended) => return self.note_handshake(index, node, ended),
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
            Report::Undelivered(endpoint) => self.observe(endpoint, Event::Undelivered),
            Report::DatagramRefused {
                endpoint,
                client,
                at,
            } => self.observe(endpoint, Event::DatagramRefused { client, at }),
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
                let listener = Arc::clone(&served.listener);
                let mut listeners = self.snapshot.listeners.iter();
                if let Some(its) = listeners.find(|each| each.state.name == listener) {
                    let key = PinKey::of_partner(&its.pin_scope, &partner);
                    self.failbacks.served(&key, &node, served.first_byte);
                }
                if let Some(gap) = self.ledger.served(served, &node) {
                    announce::partner_back(&partner, &listener, &node, gap);
                }
                self.tell_awaited();
            }
        }
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
        // What time condemns is weighed with all that was said until now.
        if watched.group.next_wake().is_some_and(|wake| wake <= now) {
            watched.look_at_traffic(now, &mut effects);
        }
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
        self.workers.settle();
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
            self.sum_up(now);
            self.look_at_failbacks(now);
            self.look_at_invariants(now);
            self.tell_awaited();
        }
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
}

impl GroupPlan {
    fn member(&self, node: &str) -> Option<&MemberPlan> {
        self.members.iter().find(|member| *member.name == *node)
    }
}

/// Lapsed pins cost memory, not correctness.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_MAX: usize = 5000;
