//! `/v1/drill/{node}`: who would move if a node were gone, where to, and whether the others can bear it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use self::play::Play;
use super::answers::{Drill, DrillPartner};
use super::refusal::Refusal;
use super::status::round;
use crate::clock::Moment;
use crate::control::{Census, Shared};
use crate::governor::View;
use crate::partner::table::Known;
use crate::snapshot::{Leaver, Listener, Snapshot};

mod play;

/// Plays that `node` is gone.
pub(super) fn drill(
    (shared, view, census): (&Shared, &View, &Census),
    node: &str,
    pool: Option<&str>,
) -> Result<Drill, Refusal> {
    let (snapshot, now) = (shared.snapshot.load_full(), Moment::now());
    let mut scopes = snapshot.scopes_with(node, pool).peekable();
    if scopes.peek().is_none() {
        return Err(Refusal::unknown_node(&snapshot, node, pool));
    }
    let who = shared.whereabouts(&snapshot);
    let leavers: Vec<_> = scopes
        .flat_map(|scope| scope.leavers(who, node, now))
        .collect();
    let partners = partners(&snapshot, &leavers, census);
    let mut play = Play {
        shared,
        census,
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
            partners,
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

/// Who is pinned to the node, and then who has sessions there all the same.
fn partners(snapshot: &Snapshot, leavers: &[Leaver], census: &Census) -> Vec<DrillPartner> {
    let sessions = |name: &str| -> usize {
        let counts = census.iter().filter_map(|(_, counts)| counts.get(name));
        counts.sum()
    };
    let describe = |known: &Known| DrillPartner {
        partner: known.name.to_string(),
        pool: String::new(),
        affinity: String::new(),
        legacy: known.legacy,
        sessions: sessions(&known.name),
        pinned: false,
        to: None,
        alarm_after_s: known.alarm_after.as_secs(),
        contact: known.contact.as_deref().map(Into::into),
    };
    let mut partners: Vec<DrillPartner> = Vec::new();
    for leaver in leavers {
        let is_counted = partners
            .iter()
            .any(|each| *each.partner == *leaver.known.name);
        let known = describe(&leaver.known);
        partners.push(DrillPartner {
            pool: leaver.key.scope.pool.to_string(),
            affinity: leaver.key.scope.affinity.to_string(),
            pinned: true,
            to: leaver.to.as_ref().map(ToString::to_string),
            sessions: if is_counted { 0 } else { known.sessions },
            ..known
        });
    }
    let others = snapshot.partners.iter().filter(|known| {
        let is_there = sessions(&known.name) > 0;
        is_there && !leavers.iter().any(|leaver| leaver.known.name == known.name)
    });
    partners.extend(others.map(|known| describe(known)));
    partners
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
