//! `/v1/drill/{node}`: who would move if a node were gone, where to, and whether the others can bear it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::StatusCode;
use jiff::Timestamp;

use super::answers::{Drill, DrillPartner, DrillUsers, Survivor};
use super::refusal::Refusal;
use super::status::{names, round};
use crate::clock::Moment;
use crate::config::model::PinPrefix;
use crate::control::Shared;
use crate::control::leaving::{Hall, Leaver};
use crate::governor::{EndpointView, GroupView, View};
use crate::pool::placement::Subject;
use crate::pool::select::{Candidate, Positions, Request, Standing, choose};
use crate::snapshot::{Listener, Snapshot};

/// Plays that `node` is gone.
pub(super) fn drill(
    shared: &Shared,
    view: &View,
    node: &str,
    pool: Option<&str>,
) -> Result<Drill, Refusal> {
    let (snapshot, now) = (shared.snapshot.load_full(), Moment::now());
    let halls = Hall::with_node(&snapshot, node, pool);
    if halls.is_empty() {
        return Err(unknown(&snapshot, node, pool));
    }
    let leavers = halls
        .iter()
        .flat_map(|hall| hall.leavers(shared, node, now));
    let leavers: Vec<_> = leavers.collect();
    let mut play = Play {
        shared,
        leavers: &leavers,
        lonely: BTreeMap::new(),
        drill: Drill {
            node: node.into(),
            at: round(Timestamp::now()),
            revision: snapshot.revision,
            source: shared.source.clone(),
            holds: true,
            problems: Vec::new(),
            hurts: Vec::new(),
            partners: leavers.iter().map(describe).collect(),
            users: Vec::new(),
            survivors: Vec::new(),
            users_back_s: None,
        },
    };
    for group in view
        .groups
        .iter()
        .filter(|group| pool.is_none_or(|pool| *group.pool == *pool))
    {
        let of_group = |each: &&Arc<Listener>| group.listeners.contains(&each.state.name);
        if let Some(listener) = snapshot.listeners.iter().find(of_group) {
            play.without(group, listener);
        }
    }
    Ok(play.end())
}

fn unknown(snapshot: &Snapshot, node: &str, pool: Option<&str>) -> Refusal {
    let pools = snapshot.config.pools.iter();
    let pools = pools.filter(|known| pool.is_none_or(|pool| known.name == pool));
    let nodes: Vec<_> = pools
        .flat_map(|pool| &pool.nodes)
        .map(|node| &*node.name)
        .collect();
    let error = format!(
        "no listener uses a node \"{node}\"; there are {}",
        nodes.join(", ")
    );
    let mut refusal = Refusal::new(StatusCode::NOT_FOUND, error);
    refusal.exits_with(64);
    refusal
}

fn describe(leaver: &Leaver) -> DrillPartner {
    DrillPartner {
        partner: leaver.known.name.to_string(),
        pool: leaver.key.scope.pool.to_string(),
        affinity: leaver.key.scope.affinity.to_string(),
        legacy: leaver.known.legacy,
        sessions: leaver.pin.sessions,
        to: leaver.to.as_ref().map(ToString::to_string),
        alarm_after_s: leaver.known.alarm_after.as_secs(),
        contact: leaver.known.contact.as_deref().map(Into::into),
    }
}

/// A drill while it is played.
struct Play<'a> {
    shared: &'a Shared,
    leavers: &'a [Leaver],
    drill: Drill,
    /// Nodes that would be the only ones left, and for which listeners.
    lonely: BTreeMap<String, Vec<String>>,
}

impl Play<'_> {
    /// One group of listeners without the node.
    fn without(&mut self, group: &GroupView, listener: &Listener) {
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
        let users = lost.saturating_sub(self.partners(listener, &mut more));
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
    fn partners(&self, listener: &Listener, more: &mut BTreeMap<Arc<str>, u64>) -> u64 {
        let leavers = self.leavers.iter();
        let of_scope = leavers.filter(|leaver| leaver.key.scope == listener.pin_scope);
        let sessions = of_scope.map(|leaver| {
            let sessions = u64::from(leaver.pin.sessions);
            if let Some(to) = &leaver.to {
                *more.entry(Arc::clone(to)).or_default() += sessions;
            }
            sessions
        });
        sessions.sum()
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
                    format!("{} is {}", each.endpoint.node, each.health.standing.label())
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

    fn end(self) -> Drill {
        let Self {
            shared,
            leavers,
            mut drill,
            lonely,
        } = self;
        drill
            .hurts
            .extend(lonely.into_iter().map(|(last, listeners)| {
                let listeners = listeners.join(", ");
                format!("no N-1 is left on {listeners}: if {last} fails too, nobody serves")
            }));
        let stranded = leavers.iter().filter(|leaver| leaver.to.is_none());
        drill.problems.extend(stranded.map(|leaver| {
            let name = &leaver.known.name;
            format!("{name} has nowhere to go: no other node takes it")
        }));
        let node = &drill.node;
        let wishes: Vec<_> = leavers
            .iter()
            .filter_map(|leaver| prefers(leaver, node))
            .collect();
        drill.hurts.extend(wishes);
        let full = room(shared, &drill);
        drill.hurts.extend(full);
        drill.holds = drill.problems.is_empty();
        drill
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

/// A partner that wants to be there.
fn prefers(leaver: &Leaver, node: &str) -> Option<String> {
    let is_wanted = leaver.known.node.as_deref() == Some(node);
    let name = &leaver.known.name;
    match (is_wanted, &leaver.pin.order) {
        (true, _) => Some(format!("{name} prefers {node} (node = in its table)")),
        (false, Some(order)) => Some(format!("{name} was pinned to {node} by {}", order.by)),
        (false, None) => None,
    }
}

/// How full this machine is.
fn room(shared: &Shared, drill: &Drill) -> Vec<String> {
    let snapshot = shared.snapshot.load();
    let mut full = Vec::new();
    let all: u64 = snapshot
        .listeners
        .iter()
        .map(|each| each.state.sessions())
        .sum();
    let most = shared.capacity.most();
    if all * 10 > most * 9 {
        full.push(format!(
            "{all} of {most} sessions that the descriptors carry are in use: raise LimitNOFILE"
        ));
    }
    let concerned = |each: &&Arc<Listener>| each.position(&drill.node).is_some();
    for listener in snapshot.listeners.iter().filter(concerned) {
        let (now, most) = (
            listener.state.sessions(),
            u64::from(listener.config.max_sessions),
        );
        if now * 10 > most * 9 {
            full.push(format!(
                "{} has {now} of max_sessions = {most}: who comes back early may be refused",
                listener.state.name
            ));
        }
    }
    full
}

/// Ephemeral ports from one source to one address.
const PORTS: u64 = 28_000;
/// Placements that are played; more would only take time.
const STEPS: u64 = 500;
/// As `pool::pace` has it.
const PACED_FOR_S: f64 = 60.0;
