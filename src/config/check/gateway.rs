//! `[gateway]`: what may be routed and translated, and whether it concerns anybody.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::check::ports::forbidden;
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Family, GatewaySnat, Node, Service, Transport, TransportPort};
use crate::config::read::{Draft, GatewayDraft, ListenerDraft, SnatPlaces};
use crate::config::source::Span;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    let Some(gateway) = &draft.gateway else {
        return;
    };
    one_interface(gateway, findings);
    media_for_nobody(draft, gateway, findings);
    let mut taken = BTreeMap::new();
    for (snat, places) in gateway.gateway.snat.iter().zip(&gateway.snat) {
        if let Some(why) = untranslatable(snat.family) {
            let title = format!("family = \"{}\" cannot be translated", snat.family.name());
            let help = "write family = \"access\", or remove this [[gateway.snat]]";
            let span = places.table.value("family");
            findings.push(Diagnostic::error(&span, title).why(why).help(help));
            continue;
        }
        target(draft, snat, places, findings);
        for (port, span) in snat.ports.iter().zip(&places.ports) {
            forbidden_port(draft, snat, *port, span, findings);
            let key = (snat.family, snat.to.is_ipv4(), *port);
            if let Some(other) = taken.insert(key, snat.to) {
                let family = snat.family.name();
                let title = format!("{port} of family \"{family}\" is translated a second time");
                let why = format!("the first goes to {other}; a connection has one source");
                let help = "remove one of them";
                findings.push(Diagnostic::error(span, title).why(why).help(help));
            }
        }
    }
}

fn nodes(draft: &Draft) -> impl Iterator<Item = &Node> {
    draft.pools.iter().flat_map(|pool| &pool.pool.nodes)
}

fn one_interface(gateway: &GatewayDraft, findings: &Findings<'_>) {
    let model = &gateway.gateway;
    if model.inside == model.outside && !model.inside.is_empty() {
        let title = format!("outside and inside are one interface, \"{}\"", model.inside);
        let why = "what comes from outside and what comes from a node could not be told apart";
        let help = "give the nodes an interface of their own; on one interface remove [gateway], \
                    and do as \"One arm\" of docs/OPERATIONS.md says";
        let span = gateway.places.value("inside");
        findings.push(Diagnostic::error(&span, title).why(why).help(help));
    }
}

fn media_for_nobody(draft: &Draft, gateway: &GatewayDraft, findings: &Findings<'_>) {
    let is_av = |node: &Node| node.addresses.contains_key(&Family::Av);
    if gateway.gateway.media_inbound && !nodes(draft).any(is_av) {
        let title = "media_inbound = true opens nothing: no node has an A/V address";
        let help = "write it: addresses = { av = \"…\" }, or remove the line";
        let span = gateway.places.value("media_inbound");
        findings.push(Diagnostic::warning(&span, title).help(help));
    }
}

/// Only what the Access and the Web Conferencing Edge originate may leave in another's name.
fn untranslatable(family: Family) -> Option<&'static str> {
    match family {
        Family::Access | Family::Webconf => None,
        Family::Av => Some(
            "nothing of an A/V Edge may be translated, or audio is one-way \
             (Microsoft, A/V firewall requirements)",
        ),
        Family::Internal | Family::Web => Some(
            "the inside is never routed to the outside, and its addresses are never translated \
             (Microsoft, load balancing requirements)",
        ),
    }
}

/// Partners let in the address that they know.
fn target(draft: &Draft, snat: &GatewaySnat, places: &SnatPlaces, findings: &Findings<'_>) {
    let (to, family) = (snat.to, snat.family);
    let span = places.table.value("to");
    if to.is_unspecified() || to.is_multicast() || to.is_loopback() {
        let title = format!("to = \"{to}\" is no address that a partner could see");
        let help = "write the VIP, such as \"203.0.113.10\"";
        findings.push(Diagnostic::error(&span, title).help(help));
        return;
    }
    let owns = |node: &&Node| node.addresses.values().any(|address| address.ip == to);
    if let Some(node) = nodes(draft).find(owns) {
        let title = format!("to = \"{to}\" is an address of node \"{}\"", node.name);
        let why = "answers would be delivered to that node, whoever asked";
        let help = "write the VIP, which this machine holds";
        findings.push(Diagnostic::error(&span, title).why(why).help(help));
        return;
    }
    let is_vip = |ip: IpAddr| ip == to || (ip.is_unspecified() && ip.is_ipv4() == to.is_ipv4());
    let listens = |each: &ListenerDraft| {
        let model = &each.listener;
        model.family == family && model.bind.iter().any(|bind| is_vip(bind.ip()))
    };
    if !draft.listeners.iter().any(listens) {
        let title = format!("no listener of family \"{}\" is at {to}", family.name());
        let why = "partners let in the address that they know, which is that of the listener they connect to";
        let help = "write the address of that listener; keep this one if partners know it";
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    }
    let is_of_its_kind = |node: &Node| node.address(family).ip.is_ipv4() == to.is_ipv4();
    if nodes(draft).next().is_some() && !nodes(draft).any(is_of_its_kind) {
        let title = format!(
            "no node has an address of family \"{}\" that could leave as {to}",
            family.name()
        );
        let why = "an address is translated to one of its own IP version only";
        findings.push(Diagnostic::warning(&span, title).why(why));
    }
}

fn forbidden_port(
    draft: &Draft,
    snat: &GatewaySnat,
    port: TransportPort,
    span: &Span,
    findings: &Findings<'_>,
) {
    let title = format!("{port} must not be translated");
    let help = "remove the port";
    if let Some(why) = forbidden(port.port, Service::Federation) {
        findings.push(Diagnostic::error(span, title).why(why).help(help));
        return;
    }
    let is_shared = |node: &&Node| {
        let av = node.addresses.get(&Family::Av);
        av.is_some_and(|av| av.ip == node.address(snat.family).ip)
    };
    let is_av = matches!(
        (port.transport, port.port),
        (Transport::Tcp, 443) | (Transport::Udp, 3478)
    );
    if let Some(node) = nodes(draft).find(is_shared).filter(|_| is_av) {
        let why = format!(
            "the A/V Edge of node \"{}\" has the same address, and what it sends there must keep it",
            node.name
        );
        findings.push(Diagnostic::error(span, title).why(why).help(help));
    }
}
