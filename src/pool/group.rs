//! What follows from the health of all endpoints of one pool and kind of endpoint: which node
//! stands how, when probes begin, and whose sessions are cut.
//!
//! Owns one [`Health`] per member and the verdict over those that are down. Does not know pins,
//! sessions or listeners; effects name nodes, and the governor carries them out. A node that an
//! administrator disables is the governor's to cut.
//!
//! Invariants: a node's sessions are cut only while a sibling is proven to have outlived it
//! (`survivors`), and cut again each time its siblings had been in doubt or only draining
//! meanwhile: sessions may have been dialled to it and pins left on it for want of a better one; a member whose name, address and kind of probe stay keeps its
//! health over any number of reloads; every change of standing is an effect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::survivors::{Outlook, outlook};
use super::health::{Event, Evidence, Health, Hold, State, Timing};
use super::select::{NODES_MAX, Standing};
use crate::clock::Moment;
use crate::config::model::{NodeState, ProbeKind};

mod effect;
mod survivors;

pub use effect::Effect;

/// A node as the configuration and the administrator have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name, unique in the group.
    pub node: Arc<str>,
    /// What is probed.
    pub address: SocketAddr,
    /// What the administrator wants of it.
    pub admin: NodeState,
    /// A reload has removed it: nobody is placed on it, but who is there is governed.
    pub is_removed: bool,
}

/// A member as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Name.
    pub node: Arc<str>,
    /// What is probed.
    pub address: SocketAddr,
    /// What the administrator wants.
    pub admin: NodeState,
    /// What is known.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// What it is good for.
    pub standing: Standing,
    /// The last thing that spoke for or against it.
    pub evidence: Option<(Evidence, Moment)>,
    /// Failures since the last good probe.
    pub failures: u32,
    /// Until when it is held.
    pub hold: Option<Hold>,
    /// It is down and its latest probe was not good.
    pub is_silent: bool,
    /// It is up by the clock alone.
    pub is_on_trial: bool,
}

/// All endpoints of one pool that are probed alike.
#[derive(Clone, Debug)]
pub struct Group {
    timing: Timing,
    seats: Vec<Seat>,
    /// When the next poll was due as of the last one.
    expected: Option<Moment>,
    /// When to look for survivors.
    again: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Seat {
    member: Member,
    health: Health,
    /// Since when it is down on a listener that this one needs.
    lacking: Option<Moment>,
    /// As last told.
    standing: Option<Standing>,
    verdict: Verdict,
}

/// What was decided over a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is not down.
    None,
    /// It is down; its siblings are not settled.
    Waiting,
    /// It is down, and so are all.
    FailStatic,
    /// Its sessions were cut in favour of a node that drains, where pins cannot go.
    CutForDraining,
    /// Its sessions were cut.
    Cut,
}

impl Verdict {
    /// Whether it is down and nobody was cut.
    const fn spares(self) -> bool {
        matches!(self, Self::Waiting | Self::FailStatic)
    }
}

impl Group {
    /// A group without members.
    #[must_use]
    pub const fn new(timing: Timing) -> Self {
        Self {
            timing,
            seats: Vec::new(),
            expected: None,
            again: None,
        }
    }

    /// Sets who belongs to it; at most [`NODES_MAX`]. Who keeps name and address keeps its health.
    pub fn set_members(&mut self, members: &[Member], now: Moment, effects: &mut Vec<Effect>) {
        let mut before = std::mem::take(&mut self.seats);
        for (index, member) in members.iter().take(NODES_MAX).enumerate() {
            let known = before
                .iter()
                .position(|seat| {
                    seat.member.node == member.node && seat.member.address == member.address
                })
                .map(|position| before.swap_remove(position));
            let seat = match known {
                Some(seat) => seat.become_member(member.clone(), now),
                None => Seat::new(member.clone(), &self.timing, index, now),
            };
            self.seats.push(seat);
        }
        self.settle(now, effects);
    }

    /// Sets how members are probed. Another kind of probe makes them all unproven.
    pub fn set_timing(&mut self, timing: Timing, now: Moment, effects: &mut Vec<Effect>) {
        for seat in &mut self.seats {
            seat.health.set_timing(&timing, now);
        }
        self.timing = timing;
        self.settle(now, effects);
    }

    /// Sets what the administrator wants of a node; nothing happens where it is unknown.
    pub fn set_admin(
        &mut self,
        node: &str,
        admin: NodeState,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(seat) = self.seat(node) {
            seat.member.admin = admin;
        }
        self.settle(now, effects);
    }

    /// Makes a node active and ends its hold.
    pub fn resume(&mut self, node: &str, now: Moment, effects: &mut Vec<Effect>) {
        if let Some(seat) = self.seat(node) {
            let was_away = seat.member.admin != NodeState::Active;
            seat.member.admin = NodeState::Active;
            if was_away || seat.health.hold().is_some() {
                seat.health.resume(now);
            }
            // Undoing a maintenance has put pins back, whatever has become of the node meanwhile.
            if was_away && seat.verdict == Verdict::Cut {
                seat.verdict = Verdict::Waiting;
            }
        }
        self.settle(now, effects);
    }

    /// Says whether a node is down on a listener that this one needs. While it is, it is down here too,
    /// whatever its own probes say; then it is held as if it had been.
    pub fn set_lacking(
        &mut self,
        node: &str,
        is_lacking: bool,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Some(seat) = self.seat(node) else { return };
        if seat.lacking.is_some() == is_lacking {
            return;
        }
        let from = seat.state();
        seat.lacking = is_lacking.then_some(now);
        let to = seat.state();
        if !is_lacking {
            seat.health.hold_again(now);
        }
        if from != to {
            effects.push(Effect::Changed {
                node: Arc::clone(&seat.member.node),
                from,
                to,
                evidence: Some(Evidence::Needed),
            });
        }
        self.settle(now, effects);
    }

    /// Takes note of an observation of a node; nothing happens where it is unknown.
    pub fn observe(&mut self, node: &str, event: Event, now: Moment, effects: &mut Vec<Effect>) {
        self.notice_gap(now);
        self.change(node, now, effects, |health| health.observe(event, now));
        self.settle(now, effects);
    }

    /// Lets time pass.
    pub fn poll(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.notice_gap(now);
        for index in 0..self.seats.len() {
            let Some(node) = self
                .seats
                .get(index)
                .map(|seat| Arc::clone(&seat.member.node))
            else {
                break;
            };
            if self.change(&node, now, effects, |health| health.poll(now)) == Some(true) {
                effects.push(Effect::Probe { node });
            }
        }
        self.settle(now, effects);
        self.again = self.look_again(now);
        self.expected = self.next_wake();
    }

    /// When [`Group::poll`] is to be called next, at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        let seats = self.seats.iter();
        let wakes = seats.filter_map(|seat| seat.health.next_wake());
        wakes.chain(self.again).min()
    }

    /// When to look again for a survivor of somebody who has just gone down, where only traffic can show one.
    fn look_again(&self, now: Moment) -> Option<Moment> {
        let waits = |seat: &Seat| {
            seat.verdict == Verdict::Waiting && now.since(seat.health.since()) < AWAITED
        };
        let is_asked = self.timing.kind != ProbeKind::None;
        (!is_asked && self.seats.iter().any(waits)).then(|| now + AGAIN)
    }

    /// We were stopped for a while: probes in flight say nothing, silence begins anew. The governor
    /// says so as soon as it finds itself late; a gap of a quarter of a second is noticed here.
    pub fn stunned(&mut self, now: Moment) {
        self.expected = None;
        for seat in &mut self.seats {
            seat.health.stunned(now);
        }
    }

    /// All members, in the order they were set.
    #[must_use]
    pub fn view(&self) -> Vec<MemberView> {
        self.seats.iter().map(Seat::view).collect()
    }

    /// How a node stands; `None` where it is unknown.
    #[must_use]
    pub fn standing(&self, node: &str) -> Option<Standing> {
        let seat = self.seats.iter().find(|seat| *seat.member.node == *node)?;
        Some(seat.stands())
    }

    /// A node's share of new sessions in percent: 100 unless it has just come back.
    #[must_use]
    pub fn warmth(&self, node: &str, now: Moment) -> u8 {
        let seat = self.seats.iter().find(|seat| *seat.member.node == *node);
        seat.map_or(100, |seat| seat.health.warmth(now))
    }

    /// Whether a node is down; `None` where it is unknown.
    #[must_use]
    pub fn is_down(&self, node: &str) -> Option<bool> {
        let seat = self.seats.iter().find(|seat| *seat.member.node == *node)?;
        Some(seat.state() == State::Down)
    }

    /// Notices that nobody has polled for long: what looks like silence was ours.
    fn notice_gap(&mut self, now: Moment) {
        if self.expected.is_some_and(|due| now.since(due) > GAP) {
            self.stunned(now);
        }
    }

    fn seat(&mut self, node: &str) -> Option<&mut Seat> {
        self.seats
            .iter_mut()
            .find(|seat| *seat.member.node == *node)
    }

    /// Does something to a node's health and tells what it changed. A new suspicion has all
    /// siblings probed, so that it is known who lives when the suspicion is settled.
    fn change<T>(
        &mut self,
        node: &str,
        now: Moment,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Health) -> T,
    ) -> Option<T> {
        let seat = self.seat(node)?;
        let from = seat.state();
        let result = act(&mut seat.health);
        let to = seat.state();
        if from == to {
            return Some(result);
        }
        effects.push(Effect::Changed {
            node: Arc::clone(&seat.member.node),
            from,
            to,
            evidence: seat.health.evidence().map(|(evidence, _)| evidence),
        });
        if to == State::Suspect || to == State::Down {
            self.confirm_siblings(node, now);
        }
        Some(result)
    }

    /// Has those siblings probed at once that seem up.
    fn confirm_siblings(&mut self, node: &str, now: Moment) {
        for seat in &mut self.seats {
            if *seat.member.node != *node && seat.health.state() == State::Up {
                seat.health.probe_soon(now);
            }
        }
    }

    /// Who came and went too often is kept down, unless nobody else is up.
    fn undamp(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_up = |seat: &Seat| {
            !seat.member.is_removed
                && seat.member.admin == NodeState::Active
                && matches!(seat.state(), State::Up | State::Suspect)
        };
        if self.seats.iter().any(is_up) {
            return;
        }
        let damped = self.seats.iter().filter(|seat| seat.health.is_damped());
        let damped: Vec<_> = damped.map(|seat| Arc::clone(&seat.member.node)).collect();
        for node in damped {
            self.change(&node, now, effects, |health| health.undamp(now));
        }
    }

    /// Draws the consequences of whatever happened. Standings are told before cuts, because pins
    /// move by them.
    fn settle(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.undamp(now, effects);
        for seat in &mut self.seats {
            let standing = seat.stands();
            if seat.standing != Some(standing) {
                seat.standing = Some(standing);
                let node = Arc::clone(&seat.member.node);
                effects.push(Effect::Standing { node, standing });
            }
        }
        for index in 0..self.seats.len() {
            self.decide(index, effects);
        }
    }

    /// Decides over the sessions of one member.
    fn decide(&mut self, index: usize, effects: &mut Vec<Effect>) {
        let Some(seat) = self.seats.get(index) else {
            return;
        };
        let node = Arc::clone(&seat.member.node);
        let before = seat.verdict;
        let after = if seat.state() != State::Down {
            // Whoever is on trial was not heard yet.
            let is_unsettled = before == Verdict::FailStatic && seat.health.is_on_trial();
            if is_unsettled { before } else { Verdict::None }
        } else if seat.member.admin == NodeState::Disabled && !seat.member.is_removed {
            before
        } else {
            match outlook(&self.seats, index) {
                // Nobody was cut, and it answers again: its sessions may well be served by it.
                _ if before.spares() && seat.is_rising() => before,
                Outlook::Survivor => Verdict::Cut,
                Outlook::Draining => Verdict::CutForDraining,
                Outlook::Undecided if before == Verdict::FailStatic => before,
                Outlook::Undecided => Verdict::Waiting,
                Outlook::Nobody => Verdict::FailStatic,
            }
        };
        if before == after {
            return;
        }
        let first_evidence = seat.first_evidence();
        let first_evidence = first_evidence.unwrap_or_else(|| seat.health.since());
        if before == Verdict::FailStatic {
            effects.push(Effect::Recovered {
                node: Arc::clone(&node),
            });
        }
        match after {
            Verdict::Cut | Verdict::CutForDraining => effects.push(Effect::Cut {
                node,
                first_evidence,
            }),
            Verdict::FailStatic => effects.push(Effect::FailStatic { node }),
            Verdict::None | Verdict::Waiting => {}
        }
        if let Some(seat) = self.seats.get_mut(index) {
            seat.verdict = after;
        }
    }
}

impl Seat {
    /// First probes of siblings keep a distance, and so do all that follow at rest.
    fn new(member: Member, timing: &Timing, index: usize, now: Moment) -> Self {
        let place = u32::try_from(index).unwrap_or(0);
        Self {
            member,
            health: Health::new(timing.clone(), now, STAGGER * place),
            lacking: None,
            standing: None,
            verdict: Verdict::None,
        }
    }

    /// The same endpoint as a reload has it.
    fn become_member(mut self, member: Member, now: Moment) -> Self {
        if self.member.admin != NodeState::Active && member.admin == NodeState::Active {
            self.health.resume(now);
        }
        Self { member, ..self }
    }

    /// What is known of it, of what it needs included.
    fn state(&self) -> State {
        match self.lacking {
            Some(_) => State::Down,
            None => self.health.state(),
        }
    }

    /// Whether it is down and answers again, so that whoever is there may well be served.
    const fn is_rising(&self) -> bool {
        self.lacking.is_none() && self.health.is_rising()
    }

    /// The first thing that spoke against it.
    fn first_evidence(&self) -> Option<Moment> {
        let own = self.health.first_evidence();
        own.into_iter().chain(self.lacking).min()
    }

    fn stands(&self) -> Standing {
        let held = self.health.hold().is_some();
        match (self.member.admin, self.state()) {
            _ if self.member.is_removed => Standing::Never,
            (NodeState::Disabled, _) => Standing::Never,
            (NodeState::Active | NodeState::Draining, State::Down)
            | (NodeState::Draining, State::Unproven) => Standing::Down,
            (NodeState::Draining, State::Up | State::Suspect) => Standing::Draining,
            (NodeState::Active, State::Unproven) => Standing::Unproven,
            (NodeState::Active, State::Up | State::Suspect) if held => Standing::Held,
            (NodeState::Active, State::Up) => Standing::Takes,
            (NodeState::Active, State::Suspect) => Standing::Suspect,
        }
    }

    fn view(&self) -> MemberView {
        MemberView {
            node: Arc::clone(&self.member.node),
            address: self.member.address,
            admin: self.member.admin,
            state: self.state(),
            since: self.lacking.unwrap_or_else(|| self.health.since()),
            standing: self.stands(),
            evidence: match self.lacking {
                Some(since) => Some((Evidence::Needed, since)),
                None => self.health.evidence(),
            },
            failures: self.health.failures(),
            hold: self.health.hold(),
            is_silent: self.state() == State::Down && !self.is_rising(),
            is_on_trial: self.health.is_on_trial(),
        }
    }
}

/// A poll that is this late means that the whole process stood still: far beyond what a busy
/// machine causes, and short against every silence that condemns.
const GAP: Duration = Duration::from_millis(250);

/// Between two looks for a survivor, and for how long: there may be no traffic.
const AGAIN: Duration = Duration::from_millis(2);
const AWAITED: Duration = Duration::from_millis(250);

/// Distance of the first probes of siblings: short against every interval, and 64 of them still
/// begin within a second.
const STAGGER: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests;
