//! Addresses and ports of listeners: clashes, loops, and what the domain forbids to balance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::check::{pool_of, target};
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Allow, Node, Service};
use crate::config::preset;
use crate::config::read::{Draft, ListenerDraft, PartnerDraft};
use crate::config::source::Span;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    overlaps(&draft.listeners, findings);
    loops(draft, findings);
    answers_from_anywhere(draft, findings);
    for listener in &draft.listeners {
        one_port(draft, listener, findings);
        forbidden_ports(draft, listener, findings);
        hasty_av_probe(listener, findings);
        nobody(draft, listener, findings);
    }
}

/// One bind address of a listener.
pub(super) struct Bind<'d> {
    pub(super) address: SocketAddr,
    span: &'d Span,
    pub(super) listener: &'d ListenerDraft,
}

pub(super) fn binds(listeners: &[ListenerDraft]) -> impl Iterator<Item = Bind<'_>> {
    listeners.iter().flat_map(|listener| {
        let addresses = listener.listener.bind.iter().zip(&listener.binds);
        addresses.map(move |(&address, span)| Bind {
            address,
            span,
            listener,
        })
    })
}

fn overlaps(listeners: &[ListenerDraft], findings: &Findings<'_>) {
    let mut by_port: BTreeMap<(bool, bool, u16), Vec<Bind<'_>>> = BTreeMap::new();
    for bind in binds(listeners).filter(|bind| bind.address.port() != 0) {
        let transport = bind.listener.listener.service.is_udp();
        let place = (transport, bind.address.is_ipv6(), bind.address.port());
        let others = by_port.entry(place).or_default();
        let clash = |other: &&Bind<'_>| is_same_place(other.address, bind.address);
        if let Some(other) = others.iter().find(clash) {
            let line = findings.source.position(other.span.start).line;
            let title = format!(
                "{} overlaps {} of listener \"{}\"",
                bind.address, other.address, other.listener.listener.name
            );
            let why = format!("the other stands in line {line}; a client must reach one listener");
            let help = "give them different addresses or ports, or remove one";
            findings.push(Diagnostic::error(bind.span, title).why(why).help(help));
        }
        others.push(bind);
    }
}

/// Whether one socket at `one` and one at `other` would be in each other's way.
pub(super) fn is_same_place(one: SocketAddr, other: SocketAddr) -> bool {
    let overlaps =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    let is_same_port = one.port() == other.port() && one.port() != 0;
    overlaps && is_same_port && one.is_ipv4() == other.is_ipv4()
}

/// A node that is one of our own listeners would be dialled by itself, without end.
fn loops(draft: &Draft, findings: &Findings<'_>) {
    let mut ours: BTreeMap<(bool, u16), Vec<Bind<'_>>> = BTreeMap::new();
    for bind in binds(&draft.listeners).filter(|bind| bind.address.port() != 0) {
        let transport = bind.listener.listener.service.is_udp();
        ours.entry((transport, bind.address.port()))
            .or_default()
            .push(bind);
    }
    for listener in &draft.listeners {
        let Some(pool) = pool_of(draft, listener) else {
            continue;
        };
        for (node, places) in pool.pool.nodes.iter().zip(&pool.nodes) {
            let Some((ip, port)) = target(listener, node) else {
                continue;
            };
            let is_target = |bind: &&Bind<'_>| {
                let own = bind.address.ip();
                own == ip
                    || (own.is_unspecified() && ip.is_loopback() && own.is_ipv4() == ip.is_ipv4())
            };
            let candidates = ours.get(&(listener.listener.service.is_udp(), port));
            if let Some(bind) = candidates.into_iter().flatten().find(is_target) {
                let span = places.address(listener.listener.family);
                let title = format!(
                    "node \"{}\" is dialled at {}, where listener \"{}\" listens",
                    node.name,
                    SocketAddr::new(ip, port),
                    bind.listener.listener.name
                );
                let why = "a session would be relayed to this appliance itself, in a loop";
                let help = "write the node's own address, not the VIP";
                findings.push(Diagnostic::error(&span, title).why(why).help(help));
            }
        }
    }
}

/// A datagram has no connection that remembers which address it was sent to.
fn answers_from_anywhere(draft: &Draft, findings: &Findings<'_>) {
    let is_udp = |bind: &Bind<'_>| bind.listener.listener.service.is_udp();
    for bind in binds(&draft.listeners).filter(is_udp) {
        if bind.address.ip().is_unspecified() {
            let title = format!("{} is no address to answer UDP from", bind.address);
            let why = "a client takes an answer from the address that it asked, and this machine may have several";
            let help = "write the VIP itself, or a list of all of them";
            findings.push(Diagnostic::error(bind.span, title).why(why).help(help));
        }
    }
}

/// Where the nodes' port follows from `bind`, that must be one port.
fn one_port(draft: &Draft, listener: &ListenerDraft, findings: &Findings<'_>) {
    let model = &listener.listener;
    let follows = preset::of(model.service).node_port.is_none();
    if listener.places.sets("node_port") || !follows {
        return;
    }
    let nodes = pool_of(draft, listener).map_or(&[][..], |pool| &pool.pool.nodes);
    let has_port = |node: &Node| node.address(model.family).port.is_some();
    let span = listener.places.value("bind");
    let help = "write `node_port`, the port of the nodes";
    if model.node_port == 0 && !nodes.iter().all(has_port) {
        let title = "bind has port 0, so the port of the nodes is unknown";
        findings.push(Diagnostic::error(&span, title).help(help));
    }
    if model.bind.iter().any(|bind| bind.port() != model.node_port) && !nodes.iter().all(has_port) {
        let title = "bind has several ports, so the port of the nodes is unclear";
        findings.push(Diagnostic::error(&span, title).help(help));
    }
}

fn forbidden_ports(draft: &Draft, listener: &ListenerDraft, findings: &Findings<'_>) {
    let service = listener.listener.service;
    if !service.is_edge() {
        return;
    }
    let complain = |what: String, ip: IpAddr, port: u16, span: &Span| {
        if let Some(why) = forbidden(port, service).filter(|_| !ip.is_loopback()) {
            let title = format!("{what}: port {port} must not be balanced");
            let help = "remove the listener, and let this traffic reach each node directly";
            findings.push(Diagnostic::error(span, title).why(why).help(help));
        }
    };
    for (bind, span) in listener.listener.bind.iter().zip(&listener.binds) {
        complain(format!("bind {bind}"), bind.ip(), bind.port(), span);
    }
    let Some(pool) = pool_of(draft, listener) else {
        return;
    };
    let default_port = listener.listener.node_port;
    let is_own = listener.places.sets("node_port")
        || listener
            .listener
            .bind
            .iter()
            .all(|bind| bind.port() != default_port);
    let family = listener.listener.family;
    let dials = |node: &Node| {
        let address = node.address(family);
        address.port.is_none() && !address.ip.is_loopback()
    };
    if let Some(node) = pool.pool.nodes.iter().find(|node| is_own && dials(node)) {
        let span = listener.places.value("node_port");
        complain(
            format!("node_port {default_port}"),
            node.address(family).ip,
            default_port,
            &span,
        );
    }
    for (node, places) in pool.pool.nodes.iter().zip(&pool.nodes) {
        if let Some(port) = node.address(family).port {
            let what = format!("node \"{}\"", node.name);
            complain(what, node.address(family).ip, port, &places.address(family));
        }
    }
}

/// Why the domain forbids to balance `port`.
pub(super) fn forbidden(port: u16, service: Service) -> Option<&'static str> {
    match port {
        8057 => Some(
            "internal web conferencing goes to each node (Microsoft, load balancing requirements)",
        ),
        23456 => Some(
            "the internal XMPP gateway goes to each node (Microsoft, load balancing requirements)",
        ),
        4443 if service != Service::Https => {
            Some("replication of the management store goes to each node's internal address")
        }
        50001..=50003 => Some("centralized logging, and media, go to each node's own address"),
        50000..=59999 => {
            Some("media ports are allocated on one node; balanced, they reach the wrong one")
        }
        _ => None,
    }
}

fn hasty_av_probe(listener: &ListenerDraft, findings: &Findings<'_>) {
    let is_hasty = listener.listener.probe.interval < Duration::from_secs(1);
    if listener.listener.service.is_av() && is_hasty {
        let title = "an A/V Edge is probed more often than once a second";
        let why =
            "it may count each probe as a failed authentication, and monitoring raises an alarm";
        let span = listener.probe.value("interval");
        findings.push(
            Diagnostic::warning(&span, title)
                .why(why)
                .help("write interval = \"2s\""),
        );
    }
}

fn nobody(draft: &Draft, listener: &ListenerDraft, findings: &Findings<'_>) {
    let has_addresses = |each: &PartnerDraft| !each.addresses.is_empty();
    if listener.listener.allow == Allow::Partners && !draft.partners.iter().any(has_addresses) {
        let title = "allow = \"partners\" lets nobody connect: no partner has addresses";
        let span = listener.places.value("allow");
        let help = "give the [[partner]] tables their `addresses`";
        findings.push(Diagnostic::warning(&span, title).help(help));
    }
}
