//! How things stand: the answers of `/v1/status` and `/v1/nodes`.

use std::sync::Arc;

use jiff::{Timestamp, TimestampRound, Unit};

use super::answers::{
    Administered, KernelTls, Listener, ListenerNode, Maintenance, Node, NodeCertificate,
    NodeService, NodeTlsFault, NodeTurn, Nodes, PartnerCounts, PinCounts, Status,
};
use super::{attention, readiness};
use crate::addr::NodeAddr;
use crate::clock::Moment;
use crate::config::model::Config;
use crate::control::Shared;
use crate::governor::{EndpointView, Fault, GroupView, View, wall};
use crate::inspect::tls::Certificate;
use crate::pool::health::Hold;
use crate::probe::TurnAnswer;
use crate::snapshot;
use crate::store;
use crate::sys::kernel_tls::Version;
use crate::tls::Finding;
use crate::tls::Offer;

pub(super) fn status(shared: &Shared, view: &View) -> Status {
    let snapshot = shared.snapshot.load();
    let not_ready = readiness::reasons(shared, &readiness::Scope::All);
    let alarms = attention::alarms(shared, view);
    let uptime = Timestamp::now().duration_since(shared.started);
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: snapshot.revision,
        source: shared.source.clone(),
        started: round(shared.started),
        uptime_s: u64::try_from(uptime.as_secs()).unwrap_or(0),
        ready: not_ready.is_empty(),
        not_ready,
        listeners: snapshot
            .listeners
            .iter()
            .map(|each| listener(shared, view, each))
            .collect(),
        views: shared.views.addresses.load().as_ref().clone(),
        pins: pin_counts(shared),
        partners: PartnerCounts {
            configured: snapshot.partners.len(),
            awaited: shared.reports.missing(),
        },
        sandbox: Some(sandbox(shared)),
        kernel_tls: kernel_tls(&snapshot.config),
        last_reload_failure: shared.last_failure.load().as_ref().clone(),
        attention: alarms.iter().map(|alarm| alarm.text.clone()).collect(),
        alarms,
    }
}

fn sandbox(shared: &Shared) -> Vec<String> {
    let measures = shared.sandbox.in_force.iter();
    measures.map(|measure| measure.label().into()).collect()
}

fn kernel_tls(config: &Config) -> Option<Vec<KernelTls>> {
    if !config.may_hand_over() {
        return None;
    }
    let offer = config.server.kernel_tls.then(Offer::of_this_kernel);
    let told = offer.map(|offer| {
        Version::ALL.map(|version| KernelTls {
            version: version.label().into(),
            refusal: offer.refusal(version).map(Into::into),
        })
    });
    Some(told.map_or_else(Vec::new, Into::into))
}

fn listener(shared: &Shared, view: &View, each: &snapshot::Listener) -> Listener {
    let bound = shared.bound.load();
    let of_listener = || {
        bound
            .iter()
            .filter(|bound| *bound.listener == *each.state.name)
    };
    let group = view
        .groups
        .iter()
        .find(|group| group.listeners.contains(&each.state.name));
    let seats = |group: &GroupView| {
        let known = |endpoint: &&EndpointView| each.position(&endpoint.health.node).is_some();
        group
            .endpoints
            .iter()
            .filter(known)
            .map(listener_node)
            .collect()
    };
    Listener {
        name: each.state.name.to_string(),
        service: each.config.service.name().into(),
        pool: each.pool.to_string(),
        bound: of_listener()
            .map(|bound| bound.address.to_string())
            .collect(),
        open: of_listener().next().is_some() && of_listener().all(|bound| bound.is_open),
        sessions: each.state.sessions(),
        sessions_total: each.state.sessions_total(),
        max_sessions: each.config.max_sessions,
        nodes: group.map(seats).unwrap_or_default(),
    }
}

fn listener_node(endpoint: &EndpointView) -> ListenerNode {
    let health = &endpoint.health;
    ListenerNode {
        node: health.node.to_string(),
        health: health.state.label().into(),
        standing: health.standing.label().into(),
        since: at(health.since),
        sessions: endpoint.endpoint.sessions(),
    }
}

pub(super) fn pin_counts(shared: &Shared) -> PinCounts {
    let counts = shared.pins.counts();
    PinCounts {
        partners: counts.partners,
        addresses: counts.addresses,
        max: shared.snapshot.load().config.server.max_pins,
    }
}

pub(super) fn nodes(shared: &Shared, view: &View) -> Nodes {
    let snapshot = shared.snapshot.load();
    let administered = shared.administered.load();
    let mut nodes = Vec::new();
    for pool in &snapshot.config.pools {
        for configured in &pool.nodes {
            let word = administered
                .iter()
                .find(|word| word.pool == pool.name && word.node == configured.name);
            let state = word.map_or(configured.state, |word| word.state.into());
            nodes.push(Node {
                administered: word.map(administrators_word),
                weight: configured.weight,
                ..node(view, &pool.name, &configured.name, state.name())
            });
        }
    }
    let mut removed: Vec<(&str, &str)> = view
        .groups
        .iter()
        .flat_map(|group| &group.endpoints)
        .map(|each| (&*each.endpoint.pool, &*each.endpoint.node))
        .filter(|(pool, node)| !is_configured(&snapshot.config, pool, node))
        .collect();
    removed.sort_unstable();
    removed.dedup();
    nodes.extend(
        removed
            .into_iter()
            .map(|(pool, name)| node(view, pool, name, REMOVED)),
    );
    Nodes { nodes }
}

fn is_configured(config: &Config, pool: &str, node: &str) -> bool {
    let mut pools = config.pools.iter().filter(|known| known.name == pool);
    pools.any(|pool| pool.nodes.iter().any(|known| known.name == node))
}

fn node(view: &View, pool: &str, name: &str, state: &str) -> Node {
    let services: Vec<_> = view
        .groups
        .iter()
        .filter(|group| *group.pool == *pool)
        .flat_map(|group| {
            let of_node = |each: &&EndpointView| *each.endpoint.node == *name;
            let endpoints = group.endpoints.iter().filter(of_node);
            endpoints.map(|each| service(group, each))
        })
        .collect();
    Node {
        name: name.into(),
        pool: pool.into(),
        state: state.into(),
        weight: 0,
        administered: None,
        sessions: services.iter().map(|each| u64::from(each.sessions)).sum(),
        services,
    }
}

fn service(group: &GroupView, each: &EndpointView) -> NodeService {
    let health = &each.health;
    NodeService {
        listeners: names(&group.listeners),
        address: each.endpoint.address.to_string(),
        health: health.state.label().into(),
        standing: health.standing.label().into(),
        since: at(health.since),
        evidence: health.evidence.map(|(what, _)| what.label().into()),
        evidence_at: health.evidence.map(|(_, when)| at(when)),
        failures: health.failures,
        certificate: each
            .certificate
            .as_ref()
            .map(|shown| certificate(shown, !group.certificates_differ)),
        turn: each
            .turn
            .map(|view| turn(&view.answer, view.fault, each.endpoint.address)),
        tls_fault: each.tls_fault.as_deref().map(tls_fault),
        held_until: health.hold.map(|hold| match hold {
            Hold::Until(moment) | Hold::Flapping(moment) => at(moment).to_string(),
            Hold::Manual => "resume".into(),
        }),
        sessions: each.endpoint.sessions(),
    }
}

/// A certificate as the answers carry it.
pub(super) fn certificate(shown: &Certificate, is_same: bool) -> NodeCertificate {
    let hexadecimal = shown.key.iter().map(|byte| format!("{byte:02x}"));
    NodeCertificate {
        name: shown.name().into(),
        names: shown.names.iter().map(ToString::to_string).collect(),
        not_before: Timestamp::from_second(shown.not_before).ok(),
        not_after: Timestamp::from_second(shown.not_after).ok(),
        client: shown.for_clients,
        server: shown.for_servers,
        key: hexadecimal.collect(),
        same: is_same,
    }
}

/// What a node says to an Allocate, as the answers carry it.
pub(super) fn turn(answer: &TurnAnswer, fault: Option<Fault>, own: NodeAddr) -> NodeTurn {
    NodeTurn {
        code: answer.code,
        alternate_server: answer.alternate.map(|address| address.to_string()),
        configured: own.to_string(),
        fault: fault.map(|fault| fault.label().into()),
    }
}

/// Why a node cannot be spoken to in TLS, as the answers carry it.
pub(super) fn tls_fault(finding: &Finding) -> NodeTlsFault {
    NodeTlsFault {
        fault: finding.label().into(),
        says: finding.to_string(),
        remedy: finding.remedy().into(),
    }
}

fn administrators_word(word: &store::Administered) -> Administered {
    Administered {
        state: word.state,
        by: word.by.clone(),
        since: round(word.since),
        reason: word.reason.clone(),
        deadline: word.deadline.map(round),
        maintenance: word.maintenance.as_ref().map(|begun| Maintenance {
            since: round(begun.since),
            by: begun.by.clone(),
            reason: begun.reason.clone(),
        }),
    }
}

/// The wall-clock time of a moment, past or to come.
pub(super) fn at(moment: Moment) -> Timestamp {
    let ahead = moment.since(Moment::now());
    let ahead = jiff::SignedDuration::try_from(ahead).unwrap_or_default();
    round(wall(moment).checked_add(ahead).unwrap_or(Timestamp::MAX))
}

/// People and scripts compare times; nanoseconds only make that harder.
pub(super) fn round(time: Timestamp) -> Timestamp {
    let to = TimestampRound::new().smallest(Unit::Millisecond);
    time.round(to).unwrap_or(time)
}

/// A name as the answers carry it.
pub(super) fn names(list: &[Arc<str>]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

const REMOVED: &str = "removed";
