//! What an administrator must know: sentences, worst first.

use jiff::Timestamp;

use super::readiness;
use super::status::{at, names};
use crate::config::model::NodeState;
use crate::control::Shared;
use crate::governor::{EndpointView, Failover, GroupView, View};
use crate::pool::health::{Hold, State};
use crate::pool::select::Standing;

pub(super) fn attention(shared: &Shared, view: &View) -> Vec<String> {
    let mut sentences = Vec::new();
    for (pool, listeners) in readiness::without_node(shared) {
        let listeners = listeners.join(", ");
        sentences.push(format!(
            "NO NODE of pool {pool} is up for {listeners}: pinned nodes are dialled all the same"
        ));
    }
    for group in view
        .groups
        .iter()
        .filter(|group| !group.listeners.is_empty())
    {
        for each in &group.endpoints {
            sentences.extend(of_node(group, each));
        }
        sentences.extend(last_one(group));
    }
    sentences.extend(not_back(&view.failovers));
    let revision = shared.snapshot.load().revision;
    if shared.last_failure.load().is_some() {
        sentences.push(format!(
            "RELOAD was refused: revision {revision} stays in force. → pinfold check {}",
            shared.source
        ));
    }
    let keys = shared.restart_needed.load();
    if !keys.is_empty() {
        let keys = keys.join(", ");
        sentences.push(format!(
            "RESTART needed: {keys} changed in the file since the start"
        ));
    }
    sentences
}

fn of_node(group: &GroupView, each: &EndpointView) -> Option<String> {
    let health = &each.health;
    let (node, listeners) = (&health.node, names(&group.listeners).join(", "));
    if health.admin == NodeState::Disabled {
        return None;
    }
    match (health.state, health.hold) {
        (State::Down, _) => {
            let since = clock(at(health.since));
            let evidence = health
                .evidence
                .map_or("not probed", |(what, _)| what.label());
            Some(format!(
                "DOWN {node} since {since} for {listeners}: {evidence}"
            ))
        }
        (State::Up | State::Suspect, Some(Hold::Manual)) => Some(format!(
            "HELD {node} for {listeners}: it is up again and waits for you. → pinfold resume {node}"
        )),
        (State::Up | State::Suspect | State::Unproven, _) => None,
    }
}

/// Whether one more failure leaves nobody, where there could be somebody.
fn last_one(group: &GroupView) -> Option<String> {
    let takes = |each: &&EndpointView| match each.health.standing {
        Standing::Takes | Standing::Suspect | Standing::Held => true,
        Standing::Draining | Standing::Unproven | Standing::Down | Standing::Never => false,
    };
    let mut left = group.endpoints.iter().filter(takes);
    let (Some(last), None) = (left.next(), left.next()) else {
        return None;
    };
    let listeners = names(&group.listeners).join(", ");
    (group.endpoints.len() > 1).then(|| {
        let node = &last.health.node;
        format!("ONLY {node} is left for {listeners}: if it fails, nobody is")
    })
}

/// Partners that were busy when their node died, and that have not come back. Those that were idle
/// have no reason to; naming them would cry wolf.
fn not_back(failovers: &[Failover]) -> Vec<String> {
    let now = Timestamp::now();
    let mut sentences = Vec::new();
    for failover in failovers.iter().rev() {
        for gap in &failover.partners {
            let since = now.duration_since(gap.last_byte).as_secs();
            let is_awaited = gap.node.is_none() && since < FORGOTTEN_AFTER_S;
            if is_awaited && gap.ended_after_ms < BUSY_MS {
                sentences.push(format!(
                    "NOT BACK {} on {} since {}: {} went down (failover {})",
                    gap.partner,
                    gap.listener,
                    clock(gap.last_byte),
                    failover.node,
                    failover.number
                ));
            }
        }
    }
    sentences
}

/// `2026-12-08 02:14:07Z`.
fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Bytes passed within a quarter of an hour before the end: it was in use.
const BUSY_MS: f64 = 15.0 * 60.0 * 1000.0;
/// As long as the ledger waits.
const FORGOTTEN_AFTER_S: i64 = 24 * 3600;
