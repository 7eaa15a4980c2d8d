//! `[gateway]`: what passes between clients and nodes beside the VIPs, and in whose name.
//!
//! What is sent to a VIP never comes here: it is for this machine itself, whose own firewall it is a
//! matter of. The ports are those of Microsoft's table for a scaled Edge pool with hardware balancers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::facts::Facts;
use super::interception::is_of;
use crate::config::model::{Gateway, GatewaySnat, TransportPort};

/// IP versions, with nft's words for them and for their addresses.
const VERSIONS: [(u8, &str, &str); 2] = [(4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")];

pub(super) fn chains(text: &mut String, facts: &Facts, gateway: &Gateway) {
    sets(text, facts);
    let (outside, inside) = (&gateway.outside, &gateway.inside);
    let _ = write!(
        text,
        "\n    # From outside nobody speaks for a node: a forged answer would be relayed to a client.\n    \
         chain forged {{\n        \
             type filter hook prerouting priority raw; policy accept;\n        \
             iifname \"{outside}\" ip saddr @outer4 drop\n        \
             iifname \"{outside}\" ip6 saddr @outer6 drop\n        \
             iifname \"{outside}\" ip saddr . meta l4proto . th sport @answers4 drop\n        \
             iifname \"{outside}\" ip6 saddr . meta l4proto . th sport @answers6 drop\n    \
         }}\n\n    \
         # Other interfaces, and what passes between those, are not concerned.\n    \
         chain forward {{\n        \
             type filter hook forward priority filter; policy accept;\n        \
             iifname {{ \"{outside}\", \"{inside}\" }} jump gateway\n        \
             oifname {{ \"{outside}\", \"{inside}\" }} jump gateway\n    \
         }}\n\n    \
         chain gateway {{\n        \
             ct state established,related accept\n        \
             iifname \"{outside}\" oifname \"{inside}\" jump inward\n        \
             iifname \"{inside}\" oifname \"{outside}\" jump outward\n\n        \
             # All else: nothing from outside to a node's Access Edge, which is reached through the VIP; nothing\n        \
             # between the outside and the network inside, which an Edge Server must keep apart.\n        \
             counter drop\n    \
         }}\n\n"
    );
    inward(text, gateway);
    outward(text, facts);
    translation(text, facts, gateway);
}

fn sets(text: &mut String, facts: &Facts) {
    for (version, _, kind) in VERSIONS {
        let media = facts.media.iter();
        let media = media.filter(|((ip, _), _)| is_of(*ip, version));
        let media: Vec<_> = media
            .map(|((ip, port), nodes)| (element(*ip, *port), nodes))
            .collect();
        let kinds = format!("{kind} . inet_proto . inet_service");
        let title = "Where clients and other Edges speak with the A/V Edges directly.";
        set(text, title, &format!("media{version}"), &kinds, &media);
        let title = "The outer addresses of the A/V Edges.";
        let av = of_version(&facts.av, version);
        set(text, title, &format!("av{version}"), kind, &av);
        let title = "All outer addresses of the nodes.";
        let outer = of_version(&facts.outer, version);
        set(text, title, &format!("outer{version}"), kind, &outer);
    }
}

fn of_version(
    addresses: &BTreeMap<IpAddr, BTreeSet<String>>,
    version: u8,
) -> Vec<(String, &BTreeSet<String>)> {
    let of_version = addresses.iter().filter(|(ip, _)| is_of(**ip, version));
    of_version
        .map(|(ip, nodes)| (ip.to_string(), nodes))
        .collect()
}

fn element(ip: IpAddr, port: TransportPort) -> String {
    format!("{ip} . {} . {}", port.transport.name(), port.port)
}

fn set(
    text: &mut String,
    title: &str,
    name: &str,
    kind: &str,
    elements: &[(String, &BTreeSet<String>)],
) {
    let _ = write!(
        text,
        "\n    # {title}\n    set {name} {{\n        type {kind}\n"
    );
    if !elements.is_empty() {
        text.push_str("        elements = {\n");
        for (element, nodes) in elements {
            let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
            let _ = writeln!(text, "            {element},  # {}", nodes.join(", "));
        }
        text.push_str("        }\n");
    }
    text.push_str("    }\n");
}

fn inward(text: &mut String, gateway: &Gateway) {
    text.push_str("    chain inward {\n        # Clients whom the first answer has sent to the A/V Edge itself.\n");
    for (version, ip, _) in VERSIONS {
        let _ = writeln!(
            text,
            "        {ip} daddr . meta l4proto . th dport @media{version} accept"
        );
    }
    if gateway.media_inbound {
        text.push_str(
            "\n        # media_inbound: partners with OCS 2007 open media towards the node.\n",
        );
        for (version, ip, _) in VERSIONS {
            let _ = writeln!(
                text,
                "        {ip} daddr @av{version} meta l4proto {{ tcp, udp }} th dport 50000-59999 accept"
            );
        }
    }
    text.push_str("    }\n\n");
}

fn outward(text: &mut String, facts: &Facts) {
    text.push_str(
        "    chain outward {\n        \
         # A/V Edges: answers to clients, other Edges (STUN and TURN), and media, to which or from which one of\n        \
         # the ports 50000-59999 belongs.\n",
    );
    for (version, ip, _) in VERSIONS {
        let _ = write!(
            text,
            "        {ip} saddr . meta l4proto . th sport @media{version} accept\n        \
             {ip} saddr @av{version} udp dport 3478 accept\n        \
             {ip} saddr @av{version} tcp dport 443 accept\n        \
             {ip} saddr @av{version} meta l4proto {{ tcp, udp }} th sport 50000-59999 accept\n        \
             {ip} saddr @av{version} meta l4proto {{ tcp, udp }} th dport 50000-59999 accept\n"
        );
    }
    text.push_str("\n        # Names, and lists of revoked certificates.\n");
    for (version, ip, _) in VERSIONS {
        let _ = write!(
            text,
            "        {ip} saddr @outer{version} meta l4proto {{ tcp, udp }} th dport 53 accept\n        \
             {ip} saddr @outer{version} tcp dport 80 accept\n"
        );
    }
    if !facts.translated.is_empty() {
        text.push_str("\n        # To partners; in whose name, `postrouting` says.\n");
        for rule in translated(facts) {
            let _ = writeln!(text, "        {} accept", rule.matches);
        }
    }
    text.push_str("    }\n");
}

fn translation(text: &mut String, facts: &Facts, gateway: &Gateway) {
    if facts.translated.is_empty() {
        return;
    }
    text.push_str(
        "\n    # What the nodes originate leaves in the name of the VIP, which partners' firewalls know. What A/V\n    \
         # Edges send keeps its source.\n    \
         chain postrouting {\n        \
         type nat hook postrouting priority srcnat; policy accept;\n",
    );
    for rule in translated(facts) {
        let GatewaySnat { to, .. } = rule.snat;
        let _ = writeln!(
            text,
            "        oifname \"{}\" {} snat {} to {to}",
            gateway.outside, rule.matches, rule.ip
        );
    }
    text.push_str("    }\n");
}

/// One rule of translation.
struct Translated<'f> {
    snat: &'f GatewaySnat,
    /// nft's word for the IP version.
    ip: &'static str,
    /// Which packets.
    matches: String,
}

/// A rule for each `[[gateway.snat]]` and transport; none where no node has an address of that kind.
fn translated(facts: &Facts) -> impl Iterator<Item = Translated<'_>> {
    let with_nodes = facts.translated.iter();
    let with_nodes = with_nodes.filter(|(_, addresses)| !addresses.is_empty());
    with_nodes.flat_map(|(snat, addresses)| {
        let ip = if snat.to.is_ipv4() { "ip" } else { "ip6" };
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let mut ports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for port in &snat.ports {
            ports.entry(port.transport).or_default().insert(port.port);
        }
        ports.into_iter().map(move |(transport, ports)| {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            Translated {
                snat,
                ip,
                matches: format!(
                    "{ip} saddr {{ {} }} {} dport {{ {} }}",
                    addresses.join(", "),
                    transport.name(),
                    ports.join(", ")
                ),
            }
        })
    })
}
