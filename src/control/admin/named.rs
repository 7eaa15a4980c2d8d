//! What DNS says of partners, as answers and as sentences.

use std::collections::HashMap;
use std::time::Duration;

use super::answers::{PartnerName, PartnerService, ServiceRecord};
use super::status::at;
use crate::clock::Moment;
use crate::control::Shared;
use crate::partner::resolved::{Answered, NameView, ServiceView};
use crate::snapshot::Snapshot;

pub(super) fn name(known: &NameView) -> PartnerName {
    PartnerName {
        name: known.name.to_string(),
        addresses: known.addresses.iter().map(ToString::to_string).collect(),
        ttl_s: known.standing.ttl.map(|ttl| ttl.as_secs()),
        resolved_at: known.standing.at.map(at),
        error: error(known.standing),
    }
}

pub(super) fn service(known: &ServiceView) -> PartnerService {
    let records = known.records.iter().map(|each| ServiceRecord {
        priority: each.record.priority,
        weight: each.record.weight,
        port: each.record.port,
        target: each.record.target.to_string(),
        violation: each.violation.map(|why| why.label().into()),
    });
    PartnerService {
        domain: known.domain.to_string(),
        target: known.target.as_ref().map(ToString::to_string),
        records: records.collect(),
        ttl_s: known.standing.ttl.map(|ttl| ttl.as_secs()),
        resolved_at: known.standing.at.map(at),
        error: error(known.standing),
    }
}

/// By how many addresses DNS makes each partner known, in the snapshot in force.
pub(super) fn resolved(snapshot: &Snapshot) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for (_, named) in snapshot.partners.resolved().iter() {
        *counts.entry(&*named.partner).or_default() += 1;
    }
    counts
}

fn error(standing: Answered) -> Option<String> {
    standing.failure.map(|failure| failure.label().into())
}

/// Names that never resolved, or not for a day.
pub(super) fn unresolved(shared: &Shared) -> Vec<String> {
    let (view, now) = (shared.asking.view(), Moment::now());
    let mut sentences = Vec::new();
    for (partner, known) in &view.partners {
        let services = known.services.iter().filter(|service| {
            // Many a partner has no such record, and need not have.
            let is_absent = service
                .standing
                .failure
                .is_some_and(|failure| failure.is_word());
            service.is_needed || service.standing.at.is_some() || !is_absent
        });
        let services = services.map(|service| {
            let name = format!("_sipfederationtls._tcp.{}", service.domain);
            (name, service.standing)
        });
        let names = known.names.iter();
        let names = names.map(|name| (name.name.to_string(), name.standing));
        for (name, standing) in names.chain(services) {
            sentences.extend(sentence(partner, &name, standing, now));
        }
    }
    let left = sentences.len().saturating_sub(SENTENCES_MAX);
    sentences.truncate(SENTENCES_MAX);
    if left > 0 {
        sentences.push(format!("DNS: {left} more names. → pinfold partners --json"));
    }
    sentences
}

fn sentence(partner: &str, name: &str, standing: Answered, now: Moment) -> Option<String> {
    let why = standing.failure?.label();
    match standing.at {
        None => Some(format!(
            "DNS {name} of {partner} has never resolved: {why}. → check the name, or write `addresses`"
        )),
        Some(last) if now.since(last) > OLD_AFTER => {
            let last = at(last).strftime("%Y-%m-%d %H:%MZ");
            Some(format!(
                "DNS {name} of {partner} last resolved {last}: {why}. What it was then is used"
            ))
        }
        Some(_) => None,
    }
}

const OLD_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Where no server answers at all, that many say it.
const SENTENCES_MAX: usize = 5;
