//! Whose address nodes see: where the domain forbids translation, and what transparency needs.

use std::net::{IpAddr, SocketAddr};

use crate::config::check::{is_laboratory, pool_of, target};
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::SourceAddress;
use crate::config::read::{Draft, ListenerDraft, PoolDraft};

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    for listener in &draft.listeners {
        translated_av(listener, findings);
        other_family(draft, listener, findings);
    }
    for pool in &draft.pools {
        unused_sources(draft, pool, findings);
    }
    no_way_back(draft, findings);
    one_answer(draft, findings);
}

fn is_transparent(listener: &ListenerDraft) -> bool {
    listener.listener.source == SourceAddress::Transparent
}

fn translated_av(listener: &ListenerDraft, findings: &Findings<'_>) {
    let service = listener.listener.service;
    if !service.is_av() || is_transparent(listener) || is_laboratory(listener) {
        return;
    }
    let title = format!(
        "source = \"snat\" is forbidden on service \"{}\"",
        service.name()
    );
    let why = "the A/V Edge must see the client's own address, or audio is one-way \
               (Microsoft, load balancing requirements, A/V Edge)";
    let help =
        "remove the line (\"transparent\" is the preset) and make this machine the nodes' gateway";
    let span = listener.places.value("source");
    findings.push(Diagnostic::error(&span, title).why(why).help(help));
}

/// A node cannot be reached by an address of another kind than its own.
fn other_family(draft: &Draft, listener: &ListenerDraft, findings: &Findings<'_>) {
    let Some(pool) = pool_of(draft, listener).filter(|_| is_transparent(listener)) else {
        return;
    };
    let model = &listener.listener;
    for (node, places) in pool.pool.nodes.iter().zip(&pool.nodes) {
        let Some((ip, _)) = target(listener, node) else {
            continue;
        };
        let differs = |bind: &&SocketAddr| bind.is_ipv4() != ip.is_ipv4();
        let Some(bind) = model.bind.iter().find(differs) else {
            continue;
        };
        let title = format!(
            "node \"{}\" is dialled at {ip}, which is {}, and clients of {bind} have {} addresses",
            node.name,
            version(ip),
            version(bind.ip())
        );
        let why = format!(
            "nodes of listener \"{}\" see the client's own address, so both sides must be of one IP version",
            model.name
        );
        let help = "give each IP version a listener and a pool of its own, or correct the address";
        let span = places.address(model.family);
        findings.push(Diagnostic::error(&span, title).why(why).help(help));
    }
}

/// A node cannot tell to which of two addresses a client has sent a datagram, nor can whoever takes the answer back.
fn one_answer(draft: &Draft, findings: &Findings<'_>) {
    let mut seen = Vec::new();
    let udp = |each: &&ListenerDraft| is_transparent(each) && each.listener.service.is_udp();
    for listener in draft.listeners.iter().filter(udp) {
        let nodes = pool_of(draft, listener).map(|pool| &pool.pool.nodes);
        let nodes = nodes.into_iter().flatten();
        let targets: Vec<_> = nodes.filter_map(|node| target(listener, node)).collect();
        for (bind, span) in listener.listener.bind.iter().zip(&listener.binds) {
            let is_shared = |(other, others): &&(&SocketAddr, Vec<_>)| {
                other.is_ipv4() == bind.is_ipv4()
                    && others.iter().any(|other| targets.contains(other))
            };
            if let Some((other, _)) = seen.iter().find(is_shared) {
                let title = format!("clients of {bind} and of {other} are sent to the same nodes");
                let why = "nodes see the client's own address: one that sends to both from one port is answered \
                           by one of the two";
                let help = "give each address nodes of its own, or leave one away";
                findings.push(Diagnostic::warning(span, title).why(why).help(help));
            }
            seen.push((bind, targets.clone()));
        }
    }
}

fn version(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn unused_sources(draft: &Draft, pool: &PoolDraft, findings: &Findings<'_>) {
    let listeners = draft.listeners.iter();
    let mut users = listeners.filter(|each| each.listener.pool == pool.pool.name);
    if pool.pool.source_addresses.is_empty() || !users.clone().any(is_transparent) {
        return;
    }
    if users.all(is_transparent) {
        let title =
            "`source_addresses` has no effect on sessions: nodes see the clients' addresses";
        let why = "every listener of the pool has source = \"transparent\"";
        let span = pool.places.value("source_addresses");
        findings.push(Diagnostic::warning(&span, title).why(why));
    }
}

/// Nodes answer the client itself; without a gateway nobody has said that the answer comes by here.
fn no_way_back(draft: &Draft, findings: &Findings<'_>) {
    let concerns = |each: &&ListenerDraft| is_transparent(each) && !is_laboratory(each);
    let mut listeners = draft.listeners.iter().filter(concerns);
    let Some(first) = listeners.next().filter(|_| draft.gateway.is_none()) else {
        return;
    };
    let name = &first.listener.name;
    let title = match listeners.count() {
        0 => format!(
            "what nodes answer to clients of \"{name}\" must come back through this machine"
        ),
        others => format!(
            "what nodes answer to clients of \"{name}\" and {others} more must come back through this machine"
        ),
    };
    let why = "nodes see the clients' own addresses and answer to those; there is no [gateway]";
    let help = "make this machine the nodes' default gateway and write [gateway], or do as \"One arm\" \
                of docs/OPERATIONS.md says; then apply what `pinfold check --host-rules` prints";
    let span = first.places.value("name");
    findings.push(Diagnostic::warning(&span, title).why(why).help(help));
}
