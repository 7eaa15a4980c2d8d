//! Where somebody would be placed at this moment, and how that comes about.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use jiff::Timestamp;

use super::super::answers::{Back, Candidate, Place, SessionsOn};
use super::super::listings;
use super::super::refusal::Refusal;
use super::super::status::at;
use super::{Located, Subject, listeners, rule};
use crate::clock::Moment;
use crate::config::model::{Balance, Failback, Pin};
use crate::control::Shared;
use crate::governor::{EndpointView, View};
use crate::partner::table::Known;
use crate::pool::pins::{self, PinKey, PinnedBy};
use crate::pool::placement;
use crate::pool::select::{self, Choice, Positions, Standing, Why, choose};
use crate::relay::placing::{Claim, Claimant};
use crate::relay::session::{EndpointNumber, Survey};
use crate::snapshot::{Access, Listener, Seat, Snapshot};

/// Everything that is known at this moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) shared: &'a Shared,
    pub(super) snapshot: &'a Snapshot,
    pub(super) view: &'a View,
    pub(super) located: &'a Located,
    pub(super) subject: &'a Subject,
    pub(super) now: Moment,
}

impl<'a> Scene<'a> {
    /// Where it would be placed: on the listener that is asked about, else on those where it belongs.
    pub(super) fn places(&self, wanted: Option<&str>) -> Result<Vec<Place>, Refusal> {
        let mut alike: Vec<Vec<&'a Arc<Listener>>> = Vec::new();
        for listener in self.listeners(wanted)? {
            let same = alike
                .iter_mut()
                .find(|list| list.first().is_some_and(|first| are_alike(first, listener)));
            match same {
                Some(list) => list.push(listener),
                None => alike.push(vec![listener]),
            }
        }
        Ok(alike.iter().filter_map(|list| self.place(list)).collect())
    }

    /// A partner is asked about where partners come; an address, everywhere.
    fn listeners(&self, wanted: Option<&str>) -> Result<Vec<&'a Arc<Listener>>, Refusal> {
        let all = &self.snapshot.listeners;
        if let Some(name) = wanted {
            let found = all.iter().find(|each| *each.state.name == *name);
            return found.map(|each| vec![each]).ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|each| &*each.state.name).collect();
                let error = format!("no listener \"{name}\": there are {}", names.join(", "));
                let mut refusal = Refusal::new(StatusCode::NOT_FOUND, error);
                refusal.exits_with(64);
                refusal
            });
        }
        let is_theirs = |each: &&Arc<Listener>| each.config.pin == Pin::Partner;
        let theirs: Vec<_> = all.iter().filter(is_theirs).collect();
        let is_everywhere = self.subject.partner.is_none() || theirs.is_empty();
        Ok(if is_everywhere {
            all.iter().collect()
        } else {
            theirs
        })
    }

    fn place(&self, alike: &[&'a Arc<Listener>]) -> Option<Place> {
        let listener = alike.first()?;
        let client = self.subject.client(&self.snapshot.config);
        let (who, pins) = (self.shared.whereabouts(self.snapshot), &*self.shared.pins);
        let partner = self.subject.partner.as_ref();
        let claimant = Claimant {
            client,
            partner,
            looks_legacy: self.looks_legacy(listener, client),
        };
        let claim = Claim::new((listener, who), claimant, self.now);
        // The turn is that of the next session; asking does not use it up.
        let turn = listener
            .state
            .turn
            .load(std::sync::atomic::Ordering::Relaxed);
        let request = claim.request(listener, &self.shared.placement, turn, Positions::NONE);
        let choice = choose(listener.candidates(), &request);
        let access = Access::of(&listener.config.allow, client, self.subject.configured());
        let pin = claim
            .key
            .as_ref()
            .and_then(|key| Some((key, pins.inspect(key, self.now)?)));
        let bound = self.shared.bound.load();
        let addresses = bound
            .iter()
            .filter(|bound| alike.iter().any(|each| *each.state.name == *bound.listener));
        Some(Place {
            listeners: listeners(alike),
            bound: addresses.map(|bound| bound.address.to_string()).collect(),
            pool: listener.pool.to_string(),
            affinity: listener.config.affinity.clone(),
            access: label(access).into(),
            rule: rule(&listener.config, access),
            subject: claim.subject.to_string(),
            pin: pin
                .as_ref()
                .map(|(key, pin)| listings::partner_pin(key, pin)),
            node: choice.and_then(|choice| node_at(listener, &choice)),
            why: why(&claim, choice).into(),
            steps: self.steps(listener, &claim, pin.as_ref().map(|(_, pin)| pin), choice),
            candidates: self.candidates((listener, alike), &claim),
            sessions: self.sessions(alike),
            back: partner
                .zip(pin)
                .and_then(|(known, (key, pin))| self.back(known, key, &pin)),
        })
    }

    /// What its pin remembers of its hello.
    fn looks_legacy(&self, listener: &Listener, client: IpAddr) -> bool {
        let subject = placement::Subject::of_client(client, listener.config.pin_prefix);
        let key = PinKey::new(&listener.pin_scope, subject);
        let pin = self.shared.pins.inspect(&key, self.now);
        pin.is_some_and(|pin| pin.looks_legacy)
    }

    fn candidates(
        &self,
        (listener, alike): (&Arc<Listener>, &[&Arc<Listener>]),
        claim: &Claim,
    ) -> Vec<Candidate> {
        let dialled = |node: &str| {
            let seats = alike.iter().filter_map(|each| each.seat(node));
            let addresses: BTreeSet<_> = seats
                .map(|seat| seat.endpoint.address.to_string())
                .collect();
            addresses.into_iter().collect()
        };
        let legacy = self.legacy(listener);
        let nodes = listener.candidates().zip(&listener.nodes).enumerate();
        let candidates = nodes.map(|(index, (each, seat))| {
            let health = self
                .endpoint(seat.endpoint.number)
                .map(|known| &known.health);
            Candidate {
                node: each.name.to_string(),
                standing: each.standing.label().into(),
                since: health.map(|health| at(health.since)),
                evidence: self.worse_elsewhere(listener, seat).or_else(|| {
                    let (what, _) = health.and_then(|health| health.evidence)?;
                    Some(what.label().into())
                }),
                weight: each.weight,
                warmth: each.warmth,
                sessions: each.sessions,
                legacy: legacy.get(each.name).copied().unwrap_or(0),
                full: claim.full.contains(index),
                addresses: dialled(each.name),
            }
        });
        candidates.collect()
    }

    /// How many legacy partners are pinned to each node.
    fn legacy(&self, listener: &Listener) -> HashMap<Arc<str>, usize> {
        let mut counts = HashMap::new();
        for known in self.snapshot.partners.legacy() {
            let key = PinKey::of_partner(&listener.pin_scope, &known.name);
            if let Some(node) = self.shared.pins.look_up(&key, self.now) {
                *counts.entry(node).or_default() += 1;
            }
        }
        counts
    }

    fn sessions(&self, alike: &[&'a Arc<Listener>]) -> Vec<SessionsOn> {
        let mut nodes: Vec<(Arc<str>, Survey)> = Vec::new();
        let pool = alike.first().map(|listener| &listener.pool);
        for (number, survey) in self.located {
            let Some(known) = self.endpoint(*number) else {
                continue;
            };
            if Some(&known.endpoint.pool) != pool {
                continue;
            }
            match nodes
                .iter_mut()
                .find(|(node, _)| *node == known.endpoint.node)
            {
                Some((_, all)) => all.add(survey),
                None => nodes.push((Arc::clone(&known.endpoint.node), survey.clone())),
            }
        }
        nodes.sort_by(|a, b| a.0.cmp(&b.0));
        let tell = |(node, survey): (Arc<str>, Survey)| SessionsOn {
            node: node.to_string(),
            sessions: survey.sessions,
            served: survey.answered,
            last_byte: survey.active_at.map(at),
        };
        nodes.into_iter().map(tell).collect()
    }

    fn endpoint(&self, number: EndpointNumber) -> Option<&'a EndpointView> {
        let mut all = self.view.groups.iter().flat_map(|group| &group.endpoints);
        all.find(|known| known.endpoint.number == number)
    }

    /// How the choice came about.
    fn steps(
        &self,
        listener: &Listener,
        claim: &Claim,
        pin: Option<&pins::Pin>,
        choice: Option<Choice>,
    ) -> Vec<String> {
        let mut steps = Vec::new();
        if claim.looks_legacy {
            let rule =
                "its hello looks like OCS 2007: pinned and cut like a partner (unknown_legacy)";
            steps.push(rule.into());
        }
        match (
            pin,
            claim.preferred.and_then(|index| listener.nodes.get(index)),
        ) {
            (Some(pin), _) => {
                steps.push(format!("pinned to {}", pin.node));
                steps.push(self.condition(listener, &pin.node));
            }
            (None, Some(seat)) => {
                let node = &seat.endpoint.node;
                steps.push(format!("no pin yet; node = \"{node}\" in its table"));
                steps.push(self.condition(listener, node));
            }
            (None, None) if claim.key.is_none() => {
                steps.push("pin = \"none\": each session is placed anew".into());
            }
            (None, None) => steps.push("no pin yet".into()),
        }
        match choice {
            None => steps.push("no node may take it: all are disabled".into()),
            Some(choice) => conclude(listener, claim, choice, &mut steps),
        }
        steps
    }

    /// What a node is good for, with what speaks against it.
    fn condition(&self, listener: &Listener, node: &str) -> String {
        let Some(seat) = listener
            .position(node)
            .and_then(|index| listener.nodes.get(index))
        else {
            return format!("{node} is not among the nodes of {}", listener.state.name);
        };
        let health = self
            .endpoint(seat.endpoint.number)
            .map(|known| &known.health);
        let against = health
            .and_then(|health| health.evidence)
            .map(|(what, _)| what.label());
        let against = against.map(|what| format!(" ({what})")).unwrap_or_default();
        if let Some(there) = self.worse_elsewhere(listener, seat)
            && !listener.standing(seat).keeps_pinned()
        {
            return format!("{node} serves here, but is {there}");
        }
        match seat.endpoint.standing() {
            Standing::Takes => format!("{node} takes sessions"),
            Standing::Suspect => format!("{node} is in doubt{against} and keeps its clients"),
            Standing::Held => format!("{node} is up again, held, and keeps its clients"),
            Standing::Draining => format!("{node} drains"),
            Standing::Unproven => format!("{node} was not probed yet and keeps its clients"),
            Standing::Down => format!("{node} is down{against}"),
            Standing::Never => format!("{node} is disabled"),
        }
    }

    /// Where a node is worse than here, and is judged by that, since the pin is shared.
    fn worse_elsewhere(&self, listener: &Listener, seat: &Seat) -> Option<String> {
        let (own, counts) = (seat.endpoint.standing(), listener.standing(seat));
        if own == counts {
            return None;
        }
        let node = &seat.endpoint.node;
        let scope = self.snapshot.scope(&listener.pin_scope)?;
        let mut others = scope.listeners.iter();
        let other = others.find(|other| {
            let there = other.seat(node).map(|there| there.endpoint.standing());
            there == Some(counts)
        })?;
        let (label, other) = (counts.label(), &other.state.name);
        Some(format!("{label} on {other}, which shares the pin"))
    }

    /// When it returns to where it came from, or belongs.
    fn back(&self, known: &Known, key: &PinKey, pin: &pins::Pin) -> Option<Back> {
        let preferred = known.node.as_ref().filter(|_| pin.by != PinnedBy::ByHand);
        let node = preferred
            .or(pin.home.as_ref())
            .filter(|node| **node != pin.node)?;
        let scope = self.snapshot.scope(&key.scope);
        let is_ready = scope.and_then(|scope| scope.standing(node)) == Some(Standing::Takes);
        let wait = if is_ready {
            String::new()
        } else {
            format!(", once {node} takes sessions")
        };
        let (when, at) = match &known.failback {
            Failback::Stay => ("not by itself: failback = \"stay\"".into(), None),
            Failback::Idle(limit) => (
                format!("when it has been idle for {} s{wait}", limit.as_secs()),
                None,
            ),
            Failback::Window(window) => {
                let is_open = window.contains(Timestamp::now());
                let next = window.next_after(Timestamp::now());
                match is_open {
                    true => (format!("now, in the window {window}{wait}"), None),
                    false => (format!("in the window {window}{wait}"), next),
                }
            }
        };
        Some(Back {
            node: node.to_string(),
            when,
            at,
            command: format!("pinfold pin {} {node} --now", known.name),
        })
    }
}

/// Whether two listeners place everybody alike and let the same in.
fn are_alike(one: &Listener, other: &Listener) -> bool {
    let numbers = |listener: &Listener| -> Vec<EndpointNumber> {
        listener
            .nodes
            .iter()
            .map(|seat| seat.endpoint.number)
            .collect()
    };
    one.pin_scope == other.pin_scope
        && one.config.pin == other.config.pin
        && one.config.allow == other.config.allow
        && numbers(one) == numbers(other)
}

fn node_at(listener: &Listener, choice: &Choice) -> Option<String> {
    let seat = listener.nodes.get(choice.index)?;
    Some(seat.endpoint.node.to_string())
}

/// How the nodes that there are made the choice.
fn conclude(listener: &Listener, claim: &Claim, choice: Choice, steps: &mut Vec<String>) {
    let node = node_at(listener, &choice).unwrap_or_default();
    if choice.why == Why::Pinned {
        steps.push(match claim.pinned {
            Some(_) => format!("the pin holds: {node}"),
            None => format!("it goes where it is preferred: {node}"),
        });
        return;
    }
    let names = |is_such: &dyn Fn(usize, &select::Candidate<'_>) -> bool| {
        let such = listener.candidates().enumerate();
        let such = such.filter(|(index, each)| is_such(*index, each));
        let names: Vec<_> = such.map(|(_, each)| each.name.to_string()).collect();
        names.join(", ")
    };
    let full = names(&|index, _| claim.full.contains(index));
    if !full.is_empty() {
        let share = listener.max_share;
        steps.push(format!(
            "{full}: its share of the legacy partners is there already (max_share = {share} %)"
        ));
    }
    let chosen = listener.nodes.get(choice.index);
    let best = chosen.map(|seat| listener.standing(seat));
    let equals = names(&|_, each| Some(each.standing) == best);
    steps.push(match choice.why {
        Why::Pinned | Why::Placed => {
            format!("candidates {equals}: {}", by_what(claim))
        }
        Why::Draining => format!("only nodes that drain are left: {equals}"),
        Why::Unproven => format!("only nodes that were never probed are left: {equals}"),
        Why::FailStatic => format!("only nodes that are down are left: {equals}; dialled anyway"),
    });
    steps.push(node);
}

fn by_what(claim: &Claim) -> String {
    if claim.subject.is_partner() {
        return "by the key of placement".into();
    }
    match claim.balance {
        Balance::LeastSessions => "the fewest sessions for its weight".into(),
        Balance::RoundRobin => "in turn".into(),
        Balance::SourceHash => "by the key of placement".into(),
    }
}

const fn why(claim: &Claim, choice: Option<Choice>) -> &'static str {
    let Some(choice) = choice else {
        return "nobody";
    };
    match choice.why {
        Why::Pinned if claim.pinned.is_some() => "pinned",
        Why::Pinned => "preferred",
        Why::Placed => "placed",
        Why::Draining => "draining",
        Why::Unproven => "unproven",
        Why::FailStatic => "fail-static",
    }
}

const fn label(access: Access) -> &'static str {
    match access {
        Access::Granted => "granted",
        Access::NotAllowed => "not-allowed",
        Access::Blocked => "blocked",
    }
}
