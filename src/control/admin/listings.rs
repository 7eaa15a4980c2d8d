//! Sessions, partners, pins and failovers, as answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::answers::{
    Failover, Gap, ListenerSessions, NodeSessions, OutcomeCount, Partner, PartnerPin, PartnerTls,
    Partners, Pin, PinOrder, Pins, Sessions, Subject, SubjectKind, VersionCount,
};
use super::named;
use super::status::{at, names, pin_counts, round};
use crate::clock::Moment;
use crate::config::model::{self, TlsVersion};
use crate::control::chronicle::{self, Chapter, Spoken};
use crate::control::guess::guess;
use crate::control::{Shared, us_or_them};
use crate::governor::{self, View};
use crate::inspect::tls::Version;
use crate::partner::resolved::PartnerView;
use crate::pool::{pins, placement};
use crate::snapshot::{self, ListenerCounters};
use crate::telemetry::outcome::Outcome;

pub(super) fn sessions(shared: &Shared, view: &View) -> Sessions {
    let listeners = shared.snapshot.load();
    let nodes = view.groups.iter().flat_map(|group| {
        group.endpoints.iter().map(|each| NodeSessions {
            pool: each.endpoint.pool.to_string(),
            node: each.endpoint.node.to_string(),
            listeners: names(&group.listeners),
            sessions: each.endpoint.sessions(),
        })
    });
    let mut nodes: Vec<_> = nodes.collect();
    nodes.sort_by(|a, b| (&a.pool, &a.node).cmp(&(&b.pool, &b.node)));
    Sessions {
        listeners: listeners
            .listeners
            .iter()
            .map(|each| of_listener(each))
            .collect(),
        nodes,
    }
}

fn of_listener(each: &snapshot::Listener) -> ListenerSessions {
    let sum = |count: fn(&ListenerCounters) -> u64| each.state.slots().map(count).sum();
    let ended = |outcome: Outcome| -> u64 {
        let counts = each.state.slots().map(|slot| &slot.ended);
        counts.map(|counts| counts[outcome.index()].value()).sum()
    };
    let outcomes = Outcome::ALL.into_iter().map(|outcome| OutcomeCount {
        outcome: outcome.label().into(),
        blame: outcome.blame().label().into(),
        sessions: ended(outcome),
    });
    ListenerSessions {
        listener: each.state.name.to_string(),
        sessions: each.state.sessions(),
        sessions_total: each.state.sessions_total(),
        max_sessions: each.config.max_sessions,
        bytes_up: sum(|slot| slot.bytes_up.value()),
        bytes_down: sum(|slot| slot.bytes_down.value()),
        outcomes: outcomes.filter(|count| count.sessions > 0).collect(),
    }
}

pub(super) fn partners(shared: &Shared, view: &View) -> Partners {
    let mut pinned: HashMap<String, Vec<PartnerPin>> = HashMap::new();
    for (key, pin) in shared.pins.list(Moment::now()) {
        if let placement::Subject::Partner(name) = &key.subject {
            let pins = pinned.entry(name.to_string()).or_default();
            pins.push(partner_pin(&key, &pin));
        }
    }
    let snapshot = shared.snapshot.load();
    let chronicle = chronicle::lock(&shared.chronicle);
    let names = shared.asking.view();
    let resolved = named::resolved(&snapshot);
    let partners = snapshot.config.partners.iter().map(|partner| {
        let pins = pinned.remove(&partner.name).unwrap_or_default();
        let chapter = chronicle.partner(&partner.name);
        let whereabouts = whereabouts(&snapshot, view, &partner.name);
        let described = describe(partner, pins, whereabouts, chapter);
        let count = resolved.get(&*partner.name).copied().unwrap_or(0);
        with_names(described, names.partners.get(&*partner.name), count)
    });
    Partners {
        partners: partners.collect(),
    }
}

/// One of them.
pub(super) fn partner(shared: &Shared, view: &View, known: &Arc<str>) -> Option<Partner> {
    let snapshot = shared.snapshot.load();
    let mut partners = snapshot.config.partners.iter();
    let partner = partners.find(|each| *each.name == **known)?;
    let pins = us_or_them::pins_of(shared, &snapshot, known, Moment::now());
    let pins = pins.map(|(key, pin)| partner_pin(&key, &pin)).collect();
    let chronicle = chronicle::lock(&shared.chronicle);
    let chapter = chronicle.partner(known);
    let described = describe(partner, pins, whereabouts(&snapshot, view, known), chapter);
    let names = shared.asking.view();
    let resolved = named::resolved(&snapshot).get(&**known).copied();
    Some(with_names(
        described,
        names.partners.get(known),
        resolved.unwrap_or(0),
    ))
}

/// With what DNS says of it.
fn with_names(described: Partner, known: Option<&PartnerView>, resolved: usize) -> Partner {
    let Some(known) = known else { return described };
    Partner {
        names: known.names.iter().map(named::name).collect(),
        srv: known.services.iter().map(named::service).collect(),
        resolved,
        ..described
    }
}

/// Whether a partner was cut off and has not come back.
fn is_awaited(view: &View, name: &str) -> bool {
    let mut gaps = view.failovers.iter().flat_map(|each| &each.partners);
    gaps.any(|gap| *gap.partner == *name && gap.is_open())
}

/// Where a partner is, as far as is asked.
#[derive(Clone, Copy)]
struct Whereabouts {
    sessions: u64,
    last_used: Option<Moment>,
    is_awaited: bool,
}

fn whereabouts(snapshot: &snapshot::Snapshot, view: &View, name: &str) -> Whereabouts {
    let presence = snapshot.partners.by_name(name).map(|known| &known.presence);
    Whereabouts {
        sessions: presence.map_or(0, |presence| presence.sessions()),
        last_used: presence.and_then(|presence| presence.last_used()),
        is_awaited: is_awaited(view, name),
    }
}

fn describe(
    partner: &model::Partner,
    pins: Vec<PartnerPin>,
    whereabouts: Whereabouts,
    chapter: Option<&Chapter>,
) -> Partner {
    let sessions = whereabouts.sessions;
    let by_pins = pins.iter().map(|pin| pin.last_used);
    let last_used = by_pins.chain(whereabouts.last_used.map(at)).max();
    let spoken = chapter.map(|chapter| &chapter.tls);
    let spoken = spoken.filter(|spoken| spoken.seen_at.is_some());
    let guess = chapter.map(|chapter| guess(chapter, sessions));
    Partner {
        name: partner.name.clone(),
        generation: partner.generation.name().into(),
        federation: partner.federation.name().into(),
        legacy: partner.legacy,
        addresses: partner.addresses.iter().map(ToString::to_string).collect(),
        sessions,
        last_used,
        pins,
        awaited: whereabouts.is_awaited,
        contact: partner.contact.clone(),
        tls: spoken.map(describe_tls),
        tls_min: partner
            .tls_min
            .map(|least| least.map_or("off", TlsVersion::name).into()),
        looks_like: guess.as_ref().map(|guess| guess.era.label().into()),
        looks_like_because: guess.map(|guess| guess.because).unwrap_or_default(),
        names: Vec::new(),
        srv: Vec::new(),
        resolved: 0,
    }
}

fn describe_tls(spoken: &Spoken) -> PartnerTls {
    let count = |(version, handshakes): (&Version, &u64)| VersionCount {
        version: version.label().into(),
        handshakes: *handshakes,
    };
    PartnerTls {
        offers: spoken.offers.map(|version| version.label().into()),
        negotiated: spoken.negotiated.iter().map(count).collect(),
        since: spoken.since.map(round),
        old_last: spoken.old_at.map(round),
        last_seen: spoken.seen_at.map(round),
        certificate: spoken.certificate.as_deref().map(Into::into),
        ja4: spoken.ja4.as_deref().map(Into::into),
    }
}

pub(super) fn partner_pin(key: &pins::PinKey, pin: &pins::Pin) -> PartnerPin {
    PartnerPin {
        pool: key.scope.pool.to_string(),
        affinity: key.scope.affinity.to_string(),
        node: pin.node.to_string(),
        since: at(pin.since),
        by: pin.by.label().into(),
        sessions: pin.sessions,
        last_used: at(pin.last_used),
        order: pin.order.as_deref().map(order),
        home: pin.home.as_ref().map(ToString::to_string),
    }
}

fn order(order: &pins::Order) -> PinOrder {
    PinOrder {
        by: order.by.clone(),
        reason: order.reason.clone(),
        at: Timestamp::from_second(order.at).unwrap_or_default(),
    }
}

pub(super) fn pins(shared: &Shared, limit: usize) -> Pins {
    let mut list = shared.pins.list(Moment::now());
    list.sort_by_key(|(key, _)| !key.subject.is_partner());
    let counts = pin_counts(shared);
    Pins {
        pins: list
            .iter()
            .take(limit)
            .map(|(key, pin)| describe_pin(key, pin))
            .collect(),
        partners: counts.partners,
        addresses: counts.addresses,
        max: counts.max,
    }
}

fn describe_pin(key: &pins::PinKey, pin: &pins::Pin) -> Pin {
    let kind = if key.subject.is_partner() {
        SubjectKind::Partner
    } else {
        SubjectKind::Address
    };
    let is_idle = pin.sessions == 0 && kind == SubjectKind::Address;
    Pin {
        subject: Subject {
            kind,
            name: key.subject.to_string(),
        },
        pool: key.scope.pool.to_string(),
        affinity: key.scope.affinity.to_string(),
        node: pin.node.to_string(),
        since: at(pin.since),
        by: pin.by.label().into(),
        sessions: pin.sessions,
        last_used: at(pin.last_used),
        revision: pin.revision,
        ttl_ms: millis(pin.ttl),
        remaining_ms: is_idle.then(|| millis((pin.last_used + pin.ttl).since(Moment::now()))),
        order: pin.order.as_deref().map(order),
        home: pin.home.as_ref().map(ToString::to_string),
        looks_legacy: pin.looks_legacy,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<governor::Failover> for Failover {
    fn from(failover: governor::Failover) -> Self {
        Self {
            number: failover.number,
            pool: failover.pool.to_string(),
            node: failover.node.to_string(),
            listeners: names(&failover.listeners),
            first_evidence: round(failover.first_evidence),
            cut: round(failover.cut),
            decided_in_ms: failover.decided_in_ms,
            evidence: failover.evidence.to_string(),
            sessions: failover.sessions,
            pins_moved: failover.pins_moved,
            partners: failover.partners.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<governor::Gap> for Gap {
    fn from(gap: governor::Gap) -> Self {
        Self {
            partner: gap.partner.to_string(),
            listener: gap.listener.to_string(),
            cut_off_since: round(gap.cut_off_since),
            ended_after_ms: gap.ended_after_ms,
            given_up: gap.is_over && gap.node.is_none(),
            node: gap.node.map(|node| node.to_string()),
            connected_after_ms: gap.connected_after_ms,
            served_after_ms: gap.served_after_ms,
            alarmed: gap.is_alarmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_given_up_is_not_said_to_be_missing() {
        let failover = serde_json::json!({
            "number": 1, "pool": "edge", "node": "edge1", "listeners": ["federation"],
            "first_evidence": "2026-12-08T02:14:07Z", "cut": "2026-12-08T02:14:07Z",
            "decided_in_ms": 1.0, "evidence": "refused", "sessions": 1, "pins_moved": 1,
        });
        let mut failover: governor::Failover = serde_json::from_value(failover).unwrap();
        let gap = serde_json::json!({
            "partner": "fabrikam", "listener": "federation", "cut_off_since": "2026-12-08T02:14:07Z",
            "ended_after_ms": 1.0, "node": null, "connected_after_ms": null, "served_after_ms": null,
        });
        let mut gap: governor::Gap = serde_json::from_value(gap).unwrap();
        for is_over in [false, true] {
            gap.is_over = is_over;
            failover.partners = vec![gap.clone()];
            let view = View {
                groups: Vec::new(),
                failovers: vec![Arc::new(failover.clone())],
                totals: governor::Totals::default(),
                probes: 0,
                not_back: 0,
                broken: [0; 4],
            };
            assert_eq!(is_awaited(&view, "fabrikam"), !is_over);
            assert_eq!(Gap::from(gap.clone()).given_up, is_over);
        }
    }
}
