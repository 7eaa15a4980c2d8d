//! What to do next, the most pressing first.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::answers::{Explanation, Partner, Place};
use super::place::Scene;
use crate::config::model::Federation;

/// What an administrator with the partner on the phone does next.
pub(super) fn next(scene: &Scene<'_>, explanation: &Explanation) -> Vec<String> {
    let mut next = Vec::new();
    for place in &explanation.places {
        next.extend(let_in(scene, place));
    }
    if let Some(partner) = explanation
        .partner
        .as_ref()
        .filter(|partner| partner.awaited)
    {
        let contact = partner
            .contact
            .as_deref()
            .unwrap_or("no contact in its table");
        next.push(format!(
            "it was cut off and has not come back: call them ({contact})"
        ));
    }
    match explanation.verdict.verdict.as_str() {
        "partner" => next.push(format!(
            "their side or the way to it: tell them what stands under ATTEMPTS ({})",
            explanation
                .partner
                .as_ref()
                .and_then(|partner| partner.contact.as_deref())
                .unwrap_or("no contact in its table")
        )),
        "node" => next.extend(
            explanation
                .verdict
                .node
                .iter()
                .map(|node| format!("ours: look at {node}; until then pinfold drain {node}")),
        ),
        _ => {}
    }
    next.extend(silent(scene, explanation));
    next.extend(throttled(scene));
    next.extend(explanation.partner.as_ref().and_then(disguised));
    next.dedup();
    next
}

/// What lets somebody in who is refused.
fn let_in(scene: &Scene<'_>, place: &Place) -> Option<String> {
    let on = place.listeners.join(", ");
    match place.access.as_str() {
        "blocked" => Some(format!(
            "it is refused on {on} by its own table ({}): that is meant so, or take the key out",
            place.rule
        )),
        "not-allowed" => Some(
            match (
                scene.subject.address,
                scene.subject.config(&scene.snapshot.config),
            ) {
                (Some(address), Some(partner)) => {
                    let mut addresses: Vec<_> = partner
                        .addresses
                        .iter()
                        .map(|net| format!("\"{net}\""))
                        .collect();
                    addresses.push(format!("\"{address}\""));
                    format!(
                        "to let it in on {on} ({}): addresses = [{}] in the table of {}, then pinfold reload",
                        place.rule,
                        addresses.join(", "),
                        partner.name
                    )
                }
                (Some(address), None) => format!(
                    "to let it in on {on} ({}): add \"{address}\" to addresses of its [[partner]] table, or to allow; then pinfold reload",
                    place.rule
                ),
                (None, _) => format!(
                    "to let it in on {on} ({}): add its addresses to allow, then pinfold reload",
                    place.rule
                ),
            },
        ),
        _ => None,
    }
}

/// Nothing came: the commonest answer of all.
fn silent(scene: &Scene<'_>, explanation: &Explanation) -> Option<String> {
    explanation.partner.as_ref()?;
    let quiet = SignedDuration::try_from(QUIET).unwrap_or_default();
    let is_quiet = explanation
        .attempts
        .last_at
        .is_none_or(|last| Timestamp::now().duration_since(last) > quiet);
    if !is_quiet || explanation.attempts.good > 0 {
        return None;
    }
    let from = match scene.subject.address {
        Some(address) => address.to_string(),
        None => {
            let partner = scene.subject.config(&scene.snapshot.config)?;
            let nets: Vec<_> = partner.addresses.iter().map(ToString::to_string).collect();
            if nets.is_empty() {
                "them".into()
            } else {
                nets.join(", ")
            }
        }
    };
    let place = explanation.places.first()?;
    let target = place.bound.first().map_or_else(
        || place.listeners.join(", "),
        |bound| bound.replace(':', " "),
    );
    Some(format!(
        "nothing from {from} has reached this machine: ask them to resolve _sipfederationtls._tcp of our domain \
         and to telnet {target}; ask whoever runs the firewall in front"
    ))
}

/// Pinning a discovered partner concentrates it on the throttle of one node.
fn throttled(scene: &Scene<'_>) -> Option<String> {
    let partner = scene.subject.config(&scene.snapshot.config)?;
    (partner.federation == Federation::DiscoveredDomain && partner.pin == crate::config::model::Pin::Partner).then(|| {
        "it is a discovered partner on one node: the Edge throttles those to 20 messages/s and 1,000 users; \
         put its domain on the allow list"
            .into()
    })
}

/// What it seems to run is nothing that its table says.
fn disguised(partner: &Partner) -> Option<String> {
    let (name, generation) = (&partner.name, &partner.generation);
    match partner.looks_like.as_deref()? {
        "ocs-era" if !partner.legacy => Some(format!(
            "its table says generation = \"{generation}\", and it looks as old as OCS: ask {name} what it runs; \
             legacy = true would pin it by its name"
        )),
        "scanner" => Some(format!(
            "no partner behaves so: check that its addresses are those of {name}"
        )),
        _ => None,
    }
}

/// A partner that talks does so within the hour.
const QUIET: Duration = Duration::from_secs(3600);
