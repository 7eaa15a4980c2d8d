//! One drill, listener by listener.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::super::answers::{Drill, DrillUsers, Survivor};
use super::super::status::names;
use crate::config::model::PinPrefix;
use crate::control::{Census, Shared};
use crate::governor::{EndpointView, GroupView};
use crate::pool::pins::PinnedBy;
use crate::pool::placement::Subject;
use crate::pool::select::{Candidate, Positions, Request, Standing, choose};
use crate::snapshot::{Leaver, Listener};

/// A drill while it is played.
pub(super) struct Play<'a> {
    pub(super) shared: &'a Shared,
    pub(super) census: &'a Census,
    pub(super) leavers: &'a [Leaver],
    pub(super) drill: Drill,
    /// Nodes that would be the only ones left, and for which listeners.
    pub(super) lonely: BTreeMap<String, Vec<String>>,
}

impl Play<'_> {
    /// One group of listeners without the node.
    pub(super) fn without(&mut self, group: &GroupView, listener: &Listener) {
        let node = self.drill.node.clone();
        let (gone, others): (Vec<_>, Vec<_>) = group
            .endpoints
            .iter()
            .partition(|each| *each.endpoint.node == *node);
        if gone.is_empty() {
            return;
        }
        let lost: u64 = gone
            .iter()
            .map(|each| u64::from(each.endpoint.sessions()))
            .sum();
        let mut more = BTreeMap::new();
        let of_partners = self.partners(&gone, listener, &mut more);
        let users = lost.saturating_sub(of_partners);
        spread(self.shared, listener, &node, users, &mut more);
        self.look_who_is_left(group, &others);
        self.time(
            listener,
            users,
            others.iter().filter(|each| takes(each)).count(),
        );
        for each in others {
            let come = more.get(&*each.endpoint.node).copied().unwrap_or(0);
            self.burden(group, listener, each, come);
        }
        if users > 0 {
            self.drill.users.push(DrillUsers {
                pool: group.pool.to_string(),
                listeners: names(&group.listeners),
                sessions: users,
            });
        }
    }

    /// How many of the sessions are partners', and how many each node gets of those.
    fn partners(
        &self,
        gone: &[&EndpointView],
        listener: &Listener,
        more: &mut BTreeMap<Arc<str>, u64>,
    ) -> u64 {
        let is_gone = |number| gone.iter().any(|each| each.endpoint.number == number);
        let counts = self.census.iter().filter(|(number, _)| is_gone(*number));
        let mut all = 0;
        for (name, sessions) in counts.flat_map(|(_, counts)| counts) {
            let sessions = u64::try_from(*sessions).unwrap_or(u64::MAX);
            all += sessions;
            let mut leavers = self.leavers.iter();
            let leaver = leavers.find(|leaver| {
                *leaver.known.name == **name && leaver.key.scope == listener.pin_scope
            });
            if let Some(to) = leaver.and_then(|leaver| leaver.to.as_ref()) {
                *more.entry(Arc::clone(to)).or_default() += sessions;
            }
        }
        all
    }

    fn look_who_is_left(&mut self, group: &GroupView, others: &[&EndpointView]) {
        let listeners = names(&group.listeners);
        let mut taking = others.iter().filter(|each| takes(each));
        match (taking.next(), taking.next()) {
            (Some(last), None) => {
                let last = last.endpoint.node.to_string();
                self.lonely.entry(last).or_default().extend(listeners);
            }
            (Some(_), Some(_)) => {}
            (None, _) => {
                let state = |each: &&EndpointView| {
                    format!("{} {}", each.endpoint.node, in_words(each.health.standing))
                };
                let states: Vec<_> = others.iter().map(state).collect();
                let others = match states.is_empty() {
                    true => "it is the only one".into(),
                    false => states.join(", "),
                };
                let listeners = listeners.join(", ");
                let problem = format!("{listeners} is left without a node: {others}");
                self.drill.problems.push(problem);
            }
        }
    }

    /// How long everybody else takes to be admitted.
    fn time(&mut self, listener: &Listener, users: u64, taking: usize) {
        let is_paced = users > 0 && taking > 0;
        let Some(rate) = listener.max_new_per_node.filter(|_| is_paced) else {
            return;
        };
        let per_second = f64::from(rate.count) / rate.per.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "of users and nodes there are few"
        )]
        let seconds = users as f64 / (per_second * taking as f64);
        let longest = self
            .drill
            .users_back_s
            .map_or(seconds, |known| known.max(seconds));
        self.drill.users_back_s = Some(longest);
        if seconds > PACED_FOR_S {
            self.drill.hurts.push(format!(
                "users of {} need {seconds:.0} s to come back at max_new_per_node, and after \
                 {PACED_FOR_S:.0} s nothing is paced any more",
                listener.state.name
            ));
        }
    }

    /// What one of the others would have.
    fn burden(&mut self, group: &GroupView, listener: &Listener, each: &EndpointView, come: u64) {
        let sessions = u64::from(each.endpoint.sessions());
        let then = sessions + come;
        let sources = u64::try_from(listener.sources.len().max(1)).unwrap_or(1);
        let (node, ports) = (&each.endpoint.node, PORTS * sources);
        if then > ports {
            self.drill.problems.push(format!(
                "{node} would have {then} sessions, and {ports} ports exist towards its address: \
                 add source_addresses"
            ));
        }
        self.drill.survivors.push(Survivor {
            pool: group.pool.to_string(),
            node: node.to_string(),
            listeners: names(&group.listeners),
            standing: each.health.standing.label().into(),
            sessions,
            sessions_then: then,
            ports,
        });
    }

    pub(super) fn end(self) -> Drill {
        let Self {
            shared,
            leavers,
            mut drill,
            lonely,
            census: _,
        } = self;
        drill
            .hurts
            .extend(lonely.into_iter().map(|(last, listeners)| {
                let listeners = listeners.join(", ");
                format!("no N-1 is left on {listeners}: if {last} fails too, nobody serves")
            }));
        let name = |leaver: &Leaver| leaver.known.name.to_string();
        let stranded: Vec<_> = leavers
            .iter()
            .filter(|leaver| leaver.to.is_none())
            .map(name)
            .collect();
        if !stranded.is_empty() {
            let names = stranded.join(", ");
            drill
                .problems
                .push(format!("no other node takes {names}: they would stay"));
        }
        let node = &drill.node;
        let prefers = |leaver: &&Leaver| leaver.known.node.as_deref() == Some(node);
        let preferring: Vec<_> = leavers.iter().filter(prefers).map(name).collect();
        let by_hand = |leaver: &&Leaver| leaver.pin.by == PinnedBy::ByHand && !prefers(leaver);
        let by_hand: Vec<_> = leavers.iter().filter(by_hand).map(name).collect();
        if !preferring.is_empty() {
            let names = preferring.join(", ");
            drill
                .hurts
                .push(format!("{node} is preferred (node =) by {names}"));
        }
        if !by_hand.is_empty() {
            let names = by_hand.join(", ");
            drill
                .hurts
                .push(format!("pinned to {node} by hand: {names}"));
        }
        let full = super::room(shared, &drill);
        drill.hurts.extend(full);
        drill.holds = drill.problems.is_empty();
        drill
    }
}

/// What a node is that takes no sessions.
const fn in_words(standing: Standing) -> &'static str {
    match standing {
        Standing::Takes | Standing::Suspect => "takes sessions",
        Standing::Held => "is up again and held",
        Standing::Draining => "drains",
        Standing::Unproven => "was not probed yet",
        Standing::Down => "is down",
        Standing::Never => "is disabled",
    }
}

fn takes(each: &EndpointView) -> bool {
    matches!(each.health.standing, Standing::Takes | Standing::Suspect)
}

/// Lets users come again, in a few hundred steps, as sessions are placed.
fn spread(
    shared: &Shared,
    listener: &Listener,
    gone: &str,
    users: u64,
    more: &mut BTreeMap<Arc<str>, u64>,
) {
    let step = users.div_ceil(STEPS).max(1);
    let mut left = users;
    let mut turn = 0;
    while left > 0 {
        let count = step.min(left);
        let candidates = listener.candidates().map(|each| {
            let come = more.get(each.name).copied().unwrap_or(0);
            Candidate {
                standing: if **each.name == *gone {
                    Standing::Never
                } else {
                    each.standing
                },
                sessions: u32::try_from(u64::from(each.sessions) + come).unwrap_or(u32::MAX),
                ..each
            }
        });
        // Everybody from elsewhere, so that a hash spreads them.
        let ip = IpAddr::V4(Ipv4Addr::from_bits(
            0x0a00_0000 | u32::try_from(turn % (1 << 24)).unwrap_or(0),
        ));
        let subject = Subject::of_client(ip, PinPrefix { v4: 32, v6: 128 });
        let request = Request {
            key: &shared.placement,
            subject: &subject,
            balance: listener.balance,
            pinned: None,
            turn,
            tried: Positions::NONE,
            full: Positions::NONE,
        };
        let chosen =
            choose(candidates, &request).and_then(|choice| listener.nodes.get(choice.index));
        let Some(seat) = chosen else { return };
        *more.entry(Arc::clone(&seat.endpoint.node)).or_default() += count;
        left -= count;
        turn += 1;
    }
}

/// Ephemeral ports from one source to one address.
const PORTS: u64 = 28_000;
/// Placements that are played; more would only take time.
const STEPS: u64 = 500;
/// As `pool::pace` has it.
const PACED_FOR_S: f64 = 60.0;
