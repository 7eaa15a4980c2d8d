//! What the kernel of this machine must be told, as a script that an administrator applies.
//!
//! Nodes that see a client's own address answer the client: rules bring those answers here, and let go
//! of a flow once the client speaks with its node directly. With `[gateway]` the rules also say what
//! passes between clients and nodes beside the VIPs. Owns the text, and what of the configuration
//! stands in it. Deliberately applies nothing: `serve` never changes the machine.
//!
//! Pure: the same configuration gives the same text. Nothing in it is secret, and nothing that is not
//! checked gets into it: names and interfaces consist of letters, digits and a few signs.

mod facts;
mod forwarding;
mod interception;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use self::facts::Facts;
use crate::config::model::Config;
use crate::net::transparent::{DELIVERED_HERE, MOST_WORKERS, ROUTING_TABLE};

/// Where the script notes what it switched on, so that its removal switches off no more than that.
const NOTES: &str = "/run/pinfold-host-rules";

/// The switches of the kernel, and the names of the notes about them.
const FORWARDING_V4: (&str, &str) = ("/proc/sys/net/ipv4/ip_forward", "ipv4-forwarding");
const FORWARDING_V6: (&str, &str) = ("/proc/sys/net/ipv6/conf/all/forwarding", "ipv6-forwarding");

/// How many connections the kernel remembers, and the name of the note about what it was.
const ROOM: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const ROOM_NOTE: &str = "conntrack-max";

/// Entries for whatever else is tracked.
const ROOM_FOR_OTHERS: u64 = 65_536;

/// The script that brings the rules into force, whatever was in force before: for POSIX sh, by root.
/// `cores` counts where the configuration leaves the number of workers to the machine.
#[must_use]
pub fn script(config: &Config, cores: usize) -> String {
    let facts = Facts::of(config);
    if !facts.is_needed() {
        return format!(
            "# No listener has source = \"transparent\" and there is no [gateway]: nothing is needed. What an\n\
             # earlier configuration needed is taken away.\n\n{}",
            removal()
        );
    }
    let workers = config.server.workers.unwrap_or(cores);
    let workers = workers.clamp(1, MOST_WORKERS);
    let counted = match config.server.workers {
        Some(_) => format!("[server] workers = {workers}"),
        None => format!("[server] workers = \"auto\", and {workers} cores on this machine"),
    };
    let mut text = String::from(HEAD);
    routing(&mut text, &facts);
    text.push_str(FILTER_HEAD);
    interception::sets(&mut text, &facts, workers, &counted);
    interception::chains(&mut text, &facts);
    if let Some(gateway) = &config.gateway {
        forwarding::chains(&mut text, &facts, gateway);
    }
    text.push_str("}\nRULES\n");
    room(&mut text, &facts);
    forwarding(&mut text, &facts);
    text.push_str(BRIDGES);
    text
}

/// The script that takes away what any [`script`] brought: for POSIX sh, by root. Running it where
/// nothing is in force does no harm.
#[must_use]
pub fn removal() -> String {
    let mut text = String::from(
        "# Takes away what `pinfold check --host-rules` printed. May be run as often as you like.\nset -eu\n\n\
         # Forwarding first: never is this machine a router without rules. Only what the rules switched on.\n",
    );
    for (switch, note) in [FORWARDING_V4, FORWARDING_V6] {
        let _ = write!(
            text,
            "if [ -e {NOTES}/{note} ]; then\n    echo 0 > {switch}\n    rm {NOTES}/{note}\nfi\n"
        );
    }
    let _ = write!(
        text,
        "if [ -e {NOTES}/{ROOM_NOTE} ]; then\n    cat {NOTES}/{ROOM_NOTE} > {ROOM}\n    rm {NOTES}/{ROOM_NOTE}\nfi\n"
    );
    let _ = writeln!(text, "rmdir {NOTES} 2> /dev/null || :");
    let _ = write!(
        text,
        "\nnft -f - <<'RULES'\ntable inet pinfold\ndelete table inet pinfold\nRULES\n\n\
         for family in -4 -6; do\n    \
             while ip \"$family\" rule del fwmark {DELIVERED_HERE:#x} table {ROUTING_TABLE} 2> /dev/null; do :; done\n    \
             ip \"$family\" route flush table {ROUTING_TABLE} 2> /dev/null || :\n\
         done\n"
    );
    text
}

const HEAD: &str = "\
# What this machine's kernel must know so that nodes can see the clients' own addresses (source = \"transparent\"),
# and so that this machine can be the nodes' gateway ([gateway]). Printed by `pinfold check --host-rules` for one
# configuration: print and apply it anew when nodes, transparent listeners, workers or [gateway] change.
#
# For root, with nft (nftables) and ip (iproute2). May be run as often as you like: the tables are replaced at once
# or, if anything is wrong, not at all. `pinfold check --host-rules --remove` prints what takes it away.
set -eu

";

fn routing(text: &mut String, facts: &Facts) {
    let _ = write!(
        text,
        "# ── Routing ──────────────────────────────────────────────────────────────────────────────────────\n\
         #\n\
         # What the tables below mark is delivered on this machine, whatever its address. Nothing else is\n\
         # concerned: the routing table holds this one route, and only the mark leads there.\n\
         deliver_here() {{\n    \
             ip \"$1\" route replace local default dev lo table {ROUTING_TABLE}\n    \
             [ -n \"$(ip \"$1\" rule show fwmark {DELIVERED_HERE:#x} table {ROUTING_TABLE})\" ] ||\n        \
                 ip \"$1\" rule add fwmark {DELIVERED_HERE:#x} priority {ROUTING_TABLE} table {ROUTING_TABLE}\n\
         }}\n\
         deliver_here -4\n"
    );
    text.push_str(match facts.has_v6() {
        true => "deliver_here -6\n\n",
        false => {
            "# No node has an IPv6 address: where this machine has no IPv6 either, nothing is missing.\n\
             if [ \"$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6 2> /dev/null)\" = 0 ]; then\n    \
                 deliver_here -6\nfi\n\n"
        }
    });
}

const FILTER_HEAD: &str = "\
# ── Tables ───────────────────────────────────────────────────────────────────────────────────────
nft -f - <<'RULES'
# Made if it is missing, so that it can be deleted; then made anew. The kernel does all of it at once.
table inet pinfold
delete table inet pinfold
table inet pinfold {
";

/// See bridge(8), and the kernel's `ip-sysctl.rst`: what comes over a bridge then meets the tables before it has come to
/// this machine, and loses there what they have said of it.
const BRIDGES: &str = "
# ── Bridges ──────────────────────────────────────────────────────────────────────────────────────
if [ \"$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2> /dev/null)\" = 1 ]; then
    echo 'host rules: where nodes are reached over a bridge of this machine, what they answer by UDP is lost' \\
        'while net.bridge.bridge-nf-call-iptables is 1: set it to 0' >&2
fi
";

/// The kernel remembers what workers send to nodes.
fn room(text: &mut String, facts: &Facts) {
    if facts.answers.is_empty() {
        return;
    }
    let entries = facts.connections + ROOM_FOR_OTHERS;
    let _ = write!(
        text,
        "\n# ── Room ─────────────────────────────────────────────────────────────────────────────────────────\n\
         #\n\
         # With these tables the kernel remembers every connection of this machine, and there is room for all that\n\
         # max_sessions of all listeners allow ({}). Raised where it is less; never lowered. A container cannot,\n\
         # and has its host's.\n\
         if [ -w {ROOM} ] && [ \"$(cat {ROOM})\" -lt {entries} ]; then\n    \
             mkdir -p {NOTES}\n    \
             [ -e {NOTES}/{ROOM_NOTE} ] || cat {ROOM} > {NOTES}/{ROOM_NOTE}\n    \
             echo {entries} > {ROOM}\n\
         fi\n",
        facts.connections
    );
}

fn forwarding(text: &mut String, facts: &Facts) {
    text.push_str(
        "\n# ── Forwarding ───────────────────────────────────────────────────────────────────────────────────\n\
         #\n\
         # Once a client speaks with its node directly, this machine is a router for both. Last, when the tables\n\
         # stand. What was off before is noted, so that the removal switches it off again.\n",
    );
    let _ = write!(
        text,
        "forward() {{\n    \
             [ \"$(cat \"$1\")\" = 0 ] || return 0\n    \
             mkdir -p {NOTES}\n    \
             : > {NOTES}/\"$2\"\n    \
             echo 1 > \"$1\"\n\
         }}\n"
    );
    for (is_used, (switch, note)) in [
        (facts.has_v4(), FORWARDING_V4),
        (facts.has_v6(), FORWARDING_V6),
    ] {
        if is_used && note == FORWARDING_V6.1 {
            text.push_str(
                "# A machine that forwards IPv6 takes no routes from router advertisements: give it a default route.\n",
            );
        }
        if is_used {
            let _ = writeln!(text, "forward {switch} {note}");
        }
    }
}
