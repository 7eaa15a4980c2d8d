//! `[gateway]`: what passes beside the VIPs, and in whose name.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use pinfold_loadtest::process::EdgeProcess;
use socket2::{Domain, Socket, Type};

use super::{VIP, address, apply, is_silent, next, remove, two_arms, udp};
use crate::laboratory::{Laboratory, laboratory};
use crate::world::{Caller, Directory, loadtest};

/// Longer than a handshake within one machine takes, however busy it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether somebody gets a connection, from an address of its own.
fn connects(laboratory: &Laboratory, name: &str, from: &str, to: &str) -> bool {
    let to = address(to);
    laboratory.within(name, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        let from: IpAddr = from.parse().unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect_timeout(&to.into(), PATIENCE).is_ok()
    })
}

#[test]
fn from_outside_only_audio_and_video_of_a_node_is_reached() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        let listening = ["203.0.113.11:5061", "203.0.113.31:443", "192.0.2.11:5061"];
        let _listening =
            listening.map(|place| laboratory.within("edge1", || TcpListener::bind(place).unwrap()));
        let reached =
            || listening.map(|place| connects(laboratory, "client", "198.51.100.200", place));
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            reached(),
            [true, true, true],
            "without rules it is a router"
        );
        apply(laboratory, &directory);
        assert_eq!(reached(), [false, true, false]);
        // Nor do nodes reach outside what they need not.
        let client = udp(laboratory, "client", "198.51.100.200:53");
        let other = udp(laboratory, "client", "198.51.100.200:4444");
        let front = udp(laboratory, "front", "192.0.2.101:0");
        front.send_to(b"inside", "198.51.100.200:53").unwrap();
        let node = udp(laboratory, "edge1", "203.0.113.11:0");
        node.send_to(b"other", "198.51.100.200:4444").unwrap();
        node.send_to(b"name", "198.51.100.200:53").unwrap();
        let (_, text) = next(&client);
        assert_eq!(text, "name", "the inside is not routed to the outside");
        assert!(is_silent(&client));
        assert!(is_silent(&other));
        // Nor the other way round, which without rules it does.
        let inner = udp(laboratory, "front", "192.0.2.101:53");
        client.send_to(b"inward", "192.0.2.101:53").unwrap();
        assert!(is_silent(&inner));
        remove(laboratory, &directory);
        client.send_to(b"inward", "192.0.2.101:53").unwrap();
        assert_eq!(next(&inner).1, "inward");
    });
}

#[test]
fn without_the_rules_the_inside_would_be_routed_to_the_outside() {
    laboratory(|laboratory| {
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        let client = udp(laboratory, "client", "198.51.100.200:53");
        let front = udp(laboratory, "front", "192.0.2.101:0");
        front.send_to(b"inside", "198.51.100.200:53").unwrap();
        assert_eq!(next(&client).1, "inside");
    });
}

#[test]
fn partners_see_the_vip_and_reach_it_at_the_same_time_and_audio_keeps_its_source() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        apply(laboratory, &directory);
        let here = address("203.0.113.11:5061");
        let _edge = laboratory.within("edge1", || {
            EdgeProcess::spawn(&loadtest(), "edge1", here).unwrap()
        });
        let pinfold = laboratory.pinfold(&directory);
        pinfold.wait_ready();
        pinfold.wait_health("edge1", "up");
        // In: the partner connects to the VIP.
        let vip = address(&format!("{VIP}:5061"));
        let source = Ipv4Addr::new(198, 51, 100, 200);
        let served = laboratory.within("client", || Caller::served(vip, source));
        assert_eq!(served.unwrap().1, "edge1");
        // Out: nodes connect to partners.
        for (name, from, to) in [
            ("edge1", "203.0.113.11", "198.51.100.200:5061"),
            ("edge2", "203.0.113.12", "198.51.100.201:5061"),
        ] {
            let partner = laboratory.within("client", || TcpListener::bind(to).unwrap());
            assert!(connects(laboratory, name, from, to), "{from} to {to}");
            let (_, peer) = partner.accept().unwrap();
            assert_eq!(peer.ip(), VIP.parse::<IpAddr>().unwrap());
        }
        // What A/V Edges send keeps its source, also to that port.
        let media = udp(laboratory, "edge1", "203.0.113.31:50000");
        let client = udp(laboratory, "client", "198.51.100.200:3478");
        media.send_to(b"media", "198.51.100.200:3478").unwrap();
        let (from, _) = next(&client);
        assert_eq!(from, address("203.0.113.31:50000"));
        let partner = laboratory.within("client", || {
            TcpListener::bind("198.51.100.200:443").unwrap()
        });
        assert!(connects(
            laboratory,
            "edge1",
            "203.0.113.31",
            "198.51.100.200:443"
        ));
        let (_, peer) = partner.accept().unwrap();
        assert_eq!(peer.ip(), address("203.0.113.31:0").ip());
    });
}

#[test]
fn media_is_let_in_only_where_the_configuration_says_so() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        let node = udp(laboratory, "edge1", "203.0.113.31:50000");
        let other = udp(laboratory, "edge1", "203.0.113.11:50000");
        let client = udp(laboratory, "client", "198.51.100.200:0");
        let send = || {
            client.send_to(b"media", "203.0.113.11:50000").unwrap();
            client.send_to(b"media", "203.0.113.31:50000").unwrap();
        };
        apply(laboratory, &directory);
        send();
        assert!(is_silent(&node) && is_silent(&other));
        let text = fs::read_to_string(directory.config()).unwrap();
        directory.write_text(&text.replace("[gateway]", "[gateway]\nmedia_inbound = true"));
        apply(laboratory, &directory);
        send();
        assert_eq!(next(&node).1, "media");
        assert!(is_silent(&other), "to the A/V Edge alone");
    });
}
