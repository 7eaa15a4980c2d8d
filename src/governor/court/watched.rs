//! One group of the snapshot: what is known of it, and how it is asked.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::{Heard, Told};
use crate::clock::Moment;
use crate::pool::group::{Effect, Group};
use crate::pool::health::Event;
use crate::probe::{self, Question};
use crate::relay::session::EndpointNumber;
use crate::snapshot::GroupPlan;
use crate::telemetry::log::Limiter;

/// One group of the snapshot, and what is known of it.
pub(super) struct Watched {
    pub(super) plan: GroupPlan,
    pub(super) group: Group,
    /// A node that is in doubt again and again must not fill the log.
    pub(super) doubts: Limiter,
    /// Nodes that were up since they were last cut.
    pub(super) was_up: HashSet<Arc<str>>,
    /// Whether it needed other listeners at some time: who was lacking must be told when that has ended.
    pub(super) has_needed: bool,
    /// What was last told of each member's traffic.
    traffic: HashMap<EndpointNumber, (Option<Moment>, Option<Moment>)>,
    /// When the governor last stood still.
    pub(super) late: Option<Moment>,
    /// When workers were last asked what sessions wait for, and how long they are left alone then.
    pub(super) surveyed: Option<(Moment, Duration)>,
    /// Probes that were begun.
    asked: Cell<usize>,
    /// Probes that have not ended.
    under_way: Rc<Cell<usize>>,
}

impl Watched {
    pub(super) fn new(plan: &GroupPlan) -> Self {
        Self {
            plan: plan.clone(),
            group: Group::new(plan.timing.clone()),
            doubts: Limiter::default(),
            was_up: HashSet::new(),
            has_needed: false,
            traffic: HashMap::new(),
            late: None,
            surveyed: None,
            asked: Cell::new(0),
            under_way: Rc::default(),
        }
    }

    /// Forgets endpoints that are in the plan no more.
    pub(super) fn forget_the_gone(&mut self) {
        let members = &self.plan.members;
        self.traffic.retain(|number, _| {
            members
                .iter()
                .any(|member| member.endpoint.number == *number)
        });
        self.was_up
            .retain(|name| members.iter().any(|member| member.name == *name));
    }

    /// Begins a probe.
    pub(super) fn probe(&self, node: &Arc<str>, now: Moment, told: &mpsc::Sender<Told>) {
        let Some(member) = self.plan.member(node) else {
            return;
        };
        // Nobody is left who would care.
        if member.is_removed && member.endpoint.sessions() == 0 {
            return;
        }
        let under_way = Rc::clone(&self.under_way);
        if under_way.get() >= UNDER_WAY_MAX {
            return;
        }
        under_way.set(under_way.get() + 1);
        let source = self.source(member.probed.socket().ip());
        let question = Question::of(&self.plan.probe, self.plan.proxy_protocol, source);
        let (group, node, told) = (self.plan.key.clone(), Arc::clone(node), told.clone());
        let (address, endpoint) = (member.probed, member.endpoint.number);
        tokio::task::spawn_local(async move {
            let tell = |what| {
                let (group, node) = (group.clone(), Arc::clone(&node));
                // A full queue means thousands of answers wait already; the next probe will tell.
                let _ = told.try_send(Told::Node {
                    group,
                    node,
                    endpoint,
                    what,
                });
            };
            let shown = probe::ask(question, address, now, |event| tell(Heard::Event(event))).await;
            if let Some(certificate) = shown.certificate {
                tell(Heard::Certificate(certificate));
            }
            if let Some(answer) = shown.turn {
                tell(Heard::Answer(answer));
            }
            if let Some(ended) = shown.handshake {
                tell(Heard::Handshake(ended));
            }
            under_way.set(under_way.get() - 1);
        });
    }

    /// The next of our addresses from which `node` can be asked; one that is not here tells nothing, and
    /// the next probe takes another.
    fn source(&self, node: IpAddr) -> Option<IpAddr> {
        let alike = self.plan.sources.iter();
        let alike = alike.filter(|own| own.is_ipv4() == node.is_ipv4());
        let turn = self.asked.get();
        self.asked.set(turn.wrapping_add(1));
        alike
            .copied()
            .cycle()
            .nth(turn % self.plan.sources.len().max(1))
    }

    /// Tells the group what workers have seen since the last look.
    pub(super) fn look_at_traffic(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for member in &self.plan.members {
            let endpoint = &member.endpoint;
            let (asked, heard) = endpoint.traffic();
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

    /// Tells workers how large each node's share of new sessions is.
    pub(super) fn tell_warmth(&self, now: Moment) {
        for member in &self.plan.members {
            let warmth = self.group.warmth(&member.name, now);
            if member.endpoint.warmth() != warmth {
                member.endpoint.set_warmth(warmth);
            }
        }
    }
}

/// A dozen nodes, each asked every 50 ms and silent for a second: their probes must not take the
/// descriptors of sessions. A probe that is not begun tells nothing, and the next one follows soon.
const UNDER_WAY_MAX: usize = 256;
