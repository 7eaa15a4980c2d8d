//! Audio calls over TURN: real servers and clients, and nodes that die under calls.

mod real;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::host_rules::{apply, nodes};
use crate::laboratory::Laboratory;
use crate::world::{Directory, Pinfold};

/// Where clients of the laboratory call.
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 30);
const UDP: u16 = 3478;
const TCP: u16 = 443;

fn vip(port: u16) -> SocketAddr {
    (VIP, port).into()
}

/// The A/V address of a node.
fn node_address(number: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 30 + number).into()
}

/// An address of the client's that a call has for itself: those of RFC 6598 are all the client's.
fn caller(number: u16) -> IpAddr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(100, 64, high, low).into()
}

/// Pinfold on the appliance with the host's rules, both A/V services at their defaults but for `more` lines of the one
/// of UDP. Its nodes are up.
fn appliance(laboratory: &Laboratory, directory: &Directory, more: &str) -> Pinfold {
    let callers = "100.64.0.0/10";
    laboratory.must("client", &format!("ip route add local {callers} dev lo"));
    laboratory.must(
        "appliance",
        &format!("ip route add {callers} via 198.51.100.200"),
    );
    let listener = |name: &str, port: u16, more: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\nbind = \"{VIP}:{port}\"\nservice = \"{name}\"\npool = \"edge\"\n{more}\n"
        )
    };
    let text = format!(
        "version = 1\n[server]\nworkers = 2\nadmin = \"unix:{}\"\n{}{}{}",
        directory.admin().display(),
        nodes(),
        listener("av-udp", UDP, more),
        listener("av-tcp", TCP, "")
    );
    directory.write_text(&text);
    apply(laboratory, directory);
    let pinfold = laboratory.pinfold(directory);
    pinfold.wait_ready();
    for node in ["edge1", "edge2", "edge3"] {
        pinfold.wait_health(node, "up");
    }
    pinfold
}
