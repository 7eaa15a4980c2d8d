//! How nodes' answers to clients come to the relay, and when no longer.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::facts::Facts;
use crate::net::transparent::{
    DELIVERED_HERE, FIRST_WORKER_MARK, LET_GO, MARK_MASK, SELF_TEST_PORT, interception_port, mark,
};

/// The sets that the chains look into.
pub(super) fn sets(text: &mut String, facts: &Facts, workers: usize, counted: &str) {
    text.push_str(
        "    # Addresses and ports at which nodes see the clients' own addresses, and answer to those. The first\n    \
         # is no node: by it `pinfold serve` finds out every few seconds whether these rules are in force.\n",
    );
    for (version, kind, own) in [(4, "ipv4_addr", "127.0.0.1"), (6, "ipv6_addr", "::1")] {
        let _ = write!(
            text,
            "    set answers{version} {{\n        type {kind} . inet_proto . inet_service\n        elements = {{\n            \
             {own} . udp . {SELF_TEST_PORT},  # self-test\n"
        );
        let of_version = facts
            .answers
            .iter()
            .filter(|((ip, _), _)| is_of(*ip, version));
        for ((ip, port), nodes) in of_version {
            let (transport, port) = (port.transport.name(), port.port);
            let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "            {ip} . {transport} . {port},  # {}",
                nodes.join(", ")
            );
        }
        text.push_str("        }\n    }\n\n");
    }
    text.push_str("    # Where clients' datagrams arrive.\n");
    for (version, kind) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
        let _ = write!(
            text,
            "    set vips{version} {{\n        type {kind} . inet_service\n"
        );
        let of_version = facts
            .vips
            .iter()
            .filter(|(vip, _)| is_of(vip.ip(), version));
        let of_version: Vec<_> = of_version.collect();
        if !of_version.is_empty() {
            text.push_str("        elements = {\n");
            for (vip, listener) in of_version {
                let (ip, port) = (vip.ip(), vip.port());
                let _ = writeln!(text, "            {ip} . {port},  # {listener}");
            }
            text.push_str("        }\n");
        }
        text.push_str("    }\n\n");
    }
    let _ = write!(
        text,
        "    # The mark of each worker and the port at which it takes what nodes answer by UDP. Some versions of\n    \
         # nft list the rules that use it without the port: print these rules anew, do not save a listing.\n    \
         # {counted}.\n    \
         map interception_ports {{\n        type mark : inet_service\n        elements = {{\n"
    );
    for worker in (0..=u8::MAX).take(workers) {
        let (mark, port) = (mark(worker), interception_port(worker));
        let _ = writeln!(text, "            {mark:#x} : {port},");
    }
    text.push_str("        }\n    }\n\n");
}

/// Whether an address is of IP version 4 or 6.
pub(super) fn is_of(ip: IpAddr, version: u8) -> bool {
    ip.is_ipv4() == (version == 4)
}

/// How long the kernel remembers what workers ask: as long as a flow may be silent, and what nobody answers not for long,
/// because that is what a flood is made of.
fn memory(text: &mut String, facts: &Facts) {
    text.push_str(
        "    # As long as a flow may be silent; and what no node answers not for long, since that is what floods are\n    \
         # made of.\n",
    );
    for (version, protocol) in [(4, "ip"), (6, "ip6")] {
        let replied = facts.idle.max(UNREPLIED);
        let _ = write!(
            text,
            "    ct timeout flows{version} {{\n        \
                 protocol udp\n        \
                 l3proto {protocol}\n        \
                 policy = {{ unreplied : {UNREPLIED}, replied : {replied} }}\n    \
             }}\n\n"
        );
    }
}

/// Seconds. Whoever asks an A/V Edge sends again after half a one.
const UNREPLIED: u64 = 10;

/// The chains that every packet passes.
pub(super) fn chains(text: &mut String, facts: &Facts) {
    memory(text, facts);
    let ours = format!("& {MARK_MASK:#x} == {FIRST_WORKER_MARK:#x}");
    let not_ours = format!("& {MARK_MASK:#x} != {FIRST_WORKER_MARK:#x}");
    let here = format!("meta mark set {DELIVERED_HERE:#x}");
    // ICMP and ICMPv6 by number: a small system has no file with their names.
    let icmp = "meta l4proto { 1, 58 } ct state related";
    text.push_str(
        "    # Datagrams of clients need no memory of the kernel: or a flood of them, from invented addresses, would\n    \
         # fill it, and nobody's next connection would be let in.\n    \
         chain arriving {\n        \
             type filter hook prerouting priority raw; policy accept;\n        \
             ip daddr . udp dport @vips4 notrack\n        \
             ip6 daddr . udp dport @vips6 notrack\n    \
         }\n\n    \
         chain answering {\n        \
             type filter hook output priority raw; policy accept;\n        \
             ip saddr . udp sport @vips4 notrack\n        \
             ip6 saddr . udp sport @vips6 notrack\n    \
         }\n\n",
    );
    let _ = write!(
        text,
        "    chain output {{\n        \
             type route hook output priority mangle; policy accept;\n\n        \
             # What a worker sends in a client's name has its mark. The connection keeps it, so that the answer\n        \
             # is known by it.\n        \
             meta mark {ours} ct mark set meta mark\n        \
             meta mark {ours} meta nfproto ipv4 meta l4proto udp ct timeout set \"flows4\"\n        \
             meta mark {ours} meta nfproto ipv6 meta l4proto udp ct timeout set \"flows6\"\n\n        \
             # A worker lets go of a client that its node has sent on. The datagram that says so goes no further.\n        \
             meta mark {LET_GO:#x} ct mark set 0 drop\n\n        \
             # \"Nobody is there\", said by this machine itself: to the worker, not to the client.\n        \
             {icmp} ct mark {ours} {here}\n\n        \
             # Nodes that learn of a shorter way to the client would answer past this machine.\n        \
             icmp type redirect drop\n        \
             icmpv6 type nd-redirect drop\n    \
         }}\n\n"
    );
    let _ = write!(
        text,
        "    chain prerouting {{\n        \
             type filter hook prerouting priority mangle; policy accept;\n\n        \
             # Whatever does not belong to a worker's connection passes as if these rules were not there.\n        \
             ct state untracked return\n        \
             ct mark {not_ours} return\n        \
             # Nor what a worker itself sends to a node on this machine, as the self-test does.\n        \
             meta mark {ours} return\n\n        \
             # \"Nobody is there\", said by a node or a router about what a worker sent: to the worker.\n        \
             {icmp} {here} accept\n\n        \
             # The client speaks with the node directly: from here on it gets the node's answers directly, too.\n        \
             ip daddr . meta l4proto . udp dport @answers4 ct mark set 0 return\n        \
             ip6 daddr . meta l4proto . udp dport @answers6 ct mark set 0 return\n\n        \
             # All else is a node's answer to a client, also of a node that the configuration has no more and whose\n        \
             # sessions come to their end. By TCP: to the socket that dialled the node with the client's address.\n        \
             meta l4proto tcp {here} accept\n\n        \
             # By UDP: to the worker whose mark the flow has.\n        \
             meta nfproto ipv4 meta l4proto udp tproxy ip to 127.0.0.1:ct mark map @interception_ports {here} accept\n        \
             meta nfproto ipv6 meta l4proto udp tproxy ip6 to [::1]:ct mark map @interception_ports {here} accept\n    }}\n"
    );
}
