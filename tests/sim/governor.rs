//! Plays the governor: probes, reports, reloads, and the effects that the group asks for.

use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::{NodeState, ProbeKind};
use pinfold::pool::evacuation::Evacuation;
use pinfold::pool::group::{Effect, Member};
use pinfold::pool::health::{Event, Hold, ProbeFailure, State};
use pinfold::pool::pins::{PinKey, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::pool::select::Standing;
use pinfold::telemetry::outcome::Outcome;

use crate::driver::{Driver, Report, Rule, TIMING};

impl Driver {
    /// The configuration changed: the group learns its members.
    pub(crate) fn reload(&mut self) {
        self.obey_words();
        let members: Vec<Member> = self
            .nodes
            .iter()
            .map(|node| Member {
                node: Arc::clone(&node.name),
                address: node.address,
                admin: node.admin,
                is_removed: false,
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
            NodeState::Active => self.group.resume(&name, self.now, &mut effects),
            NodeState::Draining | NodeState::Disabled => {
                self.group.set_admin(&name, admin, self.now, &mut effects);
            }
        }
        self.carry_out(effects);
        if admin == NodeState::Disabled {
            self.cut(&name, Outcome::Disabled);
        }
    }

    pub(crate) fn stun(&mut self, told: bool) {
        self.tally.stuns += 1;
        self.last_disturbed = self.now;
        self.late = Some(self.now);
        if told {
            self.group.stunned(self.now);
        }
    }

    /// A node goes down, or comes back, on a listener that this one needs.
    pub(crate) fn set_lacking(&mut self, index: usize, is_lacking: bool) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        node.lack(now, is_lacking);
        let name = Arc::clone(&node.name);
        self.tally.lacked += u64::from(is_lacking);
        if self.rule == Rule::ForgetsNeeds {
            return;
        }
        let mut effects = Vec::new();
        self.group.set_lacking(&name, is_lacking, now, &mut effects);
        self.carry_out(effects);
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

    pub(crate) fn poll(&mut self) {
        let mut effects = Vec::new();
        self.group.poll(self.now, &mut effects);
        self.carry_out(effects);
        let is_damped = |hold: Option<Hold>| matches!(hold, Some(Hold::Flapping(_)));
        let damped = self
            .group
            .view()
            .iter()
            .any(|member| is_damped(member.hold));
        self.tally.damped += u64::from(damped);
    }

    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { node } => self.probe(&node),
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
                    self.recovery.begin(first_evidence, self.now);
                    if self.rule != Rule::IgnoresCuts {
                        self.last_cut.insert(Arc::clone(&node), self.now);
                        self.fail_over(&node, first_evidence);
                        self.cut(&node, Outcome::NodeDown);
                    }
                }
                Effect::FailStatic { .. } => self.tally.fail_static += 1,
                Effect::Recovered { .. } => {}
            }
        }
    }

    pub(crate) fn changed(&mut self, name: &Arc<str>, to: State) {
        if to == State::Up {
            self.books.was_up.insert(Arc::clone(name));
        }
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
    pub(crate) fn check_cut(&mut self, victim: &Arc<str>, first_evidence: Moment) {
        // What a tcp probe proves is that the kernel lives.
        let is_blind = self.kind == ProbeKind::Tcp;
        let outlived = self.nodes.iter().any(|node| {
            node.name != *victim
                && node.admin != NodeState::Disabled
                && !node.lacking
                && (node.last_alive >= first_evidence || (is_blind && !node.dead))
        });
        if !outlived {
            self.violation = Some(format!("{victim} was cut and nobody outlived it"));
        }
    }

    pub(crate) fn probe(&mut self, node: &Arc<str>) {
        let started = self.now;
        if self.short_until > self.now {
            self.tally.voids += 1;
            let event = if self.rule == Rule::CountsShortages {
                let how = ProbeFailure::Refused;
                Event::ProbeFailed { started, how }
            } else {
                Event::ProbeVoid { started }
            };
            return self.observe(node, event);
        }
        let latency = Duration::from_micros(500 + started.as_micros() % 2_000);
        for (after, timed_out) in [(latency, false), (TIMING.timeout, true)] {
            self.reports.push(Report {
                at: started + after,
                node: Arc::clone(node),
                started,
                timed_out,
            });
        }
    }

    /// When a report arrives: the answer of a frozen node waits until that thaws, however soon it does.
    pub(crate) fn arrival(&self, report: &Report) -> Moment {
        let can_wait = !report.timed_out && self.kind != ProbeKind::Tcp;
        let node = self.node(&report.node).filter(|_| can_wait);
        let thaws = node.and_then(|node| node.frozen_until);
        thaws.map_or(report.at, |until| until.max(report.at))
    }

    /// Answers arrive as the nodes are when they are due.
    pub(crate) fn deliver_reports(&mut self) {
        let (due, waiting): (Vec<Report>, Vec<Report>) = std::mem::take(&mut self.reports)
            .into_iter()
            .partition(|report| self.arrival(report) <= self.now);
        self.reports = waiting;
        for report in due {
            let Some(node) = self.node(&report.node) else {
                continue;
            };
            let (dead, is_frozen) = (node.dead, node.frozen_until.is_some());
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
            } else {
                self.observe(&report.node, Event::ProbeGood { started });
                if !is_frozen {
                    self.observe(&report.node, Event::Parted);
                }
            }
        }
    }

    pub(crate) fn fail_over(&mut self, name: &Arc<str>, first_evidence: Moment) {
        self.excused.push(Arc::clone(name));
        let strangers = self.legacy_strangers(name);
        // All partners of this world are legacy ones.
        let share = self.legacy_share();
        let share = share.filter(|_| self.rule != Rule::IgnoresShare);
        let mut evacuation = Evacuation::new(&self.key, name, self.candidates(), share);
        let place = |subject: &Subject| {
            let to = evacuation.next(subject, subject.is_partner())?;
            Some(Arc::clone(&self.nodes.get(to)?.name))
        };
        let (pool, affinity) = (&self.pool, &self.affinity);
        let outcome = self.pins.fail_over(pool, affinity, name, self.now, place);
        self.tally.pins_moved += outcome.moved.len() as u64;
        self.tally.strangers_moved += outcome.addresses as u64;
        self.write_cut(name, first_evidence, &outcome.moved);
        if self.rule == Rule::MovesBehindTheLedger {
            let other = self.nodes.iter().rev().find(|node| node.name != *name);
            if let (Some(moved), Some(other)) = (outcome.moved.first(), other) {
                let by = PinnedBy::Failover;
                self.pins.move_to(&moved.key, &other.name, by, self.now);
                self.excused.push(Arc::clone(&moved.to));
            }
        }
        if self.rule == Rule::LeavesWhoLooksLegacy {
            for key in &strangers {
                self.pins.move_to(key, name, PinnedBy::Failover, self.now);
            }
        }
    }

    /// Pins that a node has of strangers who look legacy.
    fn legacy_strangers(&self, node: &Arc<str>) -> Vec<PinKey> {
        let pins = self.pin_list().into_iter();
        let such = pins.filter(|(_, pin)| pin.looks_legacy && pin.node == *node);
        such.map(|(key, _)| key).collect()
    }
}
