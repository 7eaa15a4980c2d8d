//! Whom nodes see, and whom clients hear.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Caller, Client};
use super::{
    NODES, Scene, VIP, VIP_INTERNAL, VIP_TCP, VIP_TCP_INTERNAL, VIP_TCP_V6, VIP_V6, media, outside,
};
use crate::host_rules::address;
use crate::laboratory::laboratory;
use crate::world::{SOON, pass};

#[test]
fn a_node_sees_the_client_itself_by_udp_and_the_client_is_answered_from_the_vip() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        for (name, client, vip) in [
            ("client", "198.51.100.200:0", VIP),
            ("client", "198.51.100.201:5555", VIP),
            ("client", "[2001:db8:1::200]:0", VIP_V6),
            ("front", "192.0.2.101:0", VIP_INTERNAL),
        ] {
            let client = Client::open(laboratory, name, address(client));
            let first = client.ask(vip, "hello");
            assert_eq!(first.saw, client.address());
            for _ in 0..20 {
                assert_eq!(client.ask(vip, "still here"), first);
            }
            client.is_told_of_no_error();
        }
        assert_eq!(scene.sessions("udp"), 2);
        assert_eq!(scene.sessions("udp6"), 1);
        assert_eq!(scene.sessions("internal-udp"), 1);
    });
}

#[test]
fn a_node_sees_the_client_itself_by_tcp_from_its_port_or_from_another_where_that_is_taken() {
    laboratory(|laboratory| {
        // Two listeners whose nodes are the same: a client may come to both from one port.
        let other_vip = "198.51.100.10:443";
        let scene = Scene::start_with(laboratory, |plan| {
            let other = ["tcp-too", "av-tcp", other_vip, "edge", ""];
            plan.listeners.push(other.map(Into::into));
        });
        for (name, client, vip) in [
            ("client", "198.51.100.200:0", VIP_TCP),
            ("client", "198.51.100.201:5555", VIP_TCP),
            ("client", "[2001:db8:1::200]:0", VIP_TCP_V6),
            ("front", "192.0.2.101:0", VIP_TCP_INTERNAL),
        ] {
            let mut caller = Caller::connect(laboratory, name, address(client), vip);
            let first = caller.ask().expect("an answer");
            assert_eq!(first.1, caller.address());
            assert_eq!(caller.ask(), Some(first));
        }
        let from = address("198.51.100.200:7777");
        let mut one = Caller::connect(laboratory, "client", from, VIP_TCP);
        let (node, saw) = one.ask().expect("an answer");
        assert_eq!(saw, from);
        let mut other = Caller::connect(laboratory, "client", from, other_vip);
        let (same_node, saw) = other.ask().expect("an answer");
        assert_eq!(same_node, node, "they are of one affinity");
        assert_eq!(saw.ip(), from.ip());
        assert_ne!(saw.port(), from.port(), "it is taken");
        assert_eq!(one.ask(), Some((node, from)), "nobody is disturbed");
        assert_eq!(scene.ended("tcp", "internal-error"), 0.0);
    });
}

#[test]
fn large_datagrams_pass_both_ways_whatever_the_largest_packet() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        for mtu in [1500, 1280] {
            laboratory.mtu("appliance", "inside", mtu);
            for node in NODES {
                laboratory.mtu(node, "inside", mtu);
            }
            for (client, vip) in [("198.51.100.200", VIP), ("2001:db8:1::200", VIP_V6)] {
                let client = scene.client_at(SocketAddr::new(outside(client), 0));
                for length in [1200, 1252, 1400, 1472, 3000, 8000] {
                    let large = "x".repeat(length);
                    let answer = client.ask_within(SOON, vip, &large);
                    let answer = answer.unwrap_or_else(|| panic!("{length} bytes, {mtu}, {vip}"));
                    assert_eq!(answer.saw, client.address());
                }
                client.is_told_of_no_error();
            }
        }
    });
}

#[test]
fn large_datagrams_pass_where_a_router_on_the_way_to_the_node_takes_smaller_packets_only() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        for (client, vip, is_ipv6) in [
            ("198.51.100.200", VIP, false),
            ("2001:db8:1::200", VIP_V6, true),
        ] {
            let client = scene.client(client);
            let node = client.ask(vip, "hello").node;
            let router = NODES.into_iter().find(|name| *name != node).unwrap();
            let way = media(&node, is_ipv6).ip();
            let via = media(router, is_ipv6).ip();
            laboratory.must(
                router,
                "for all in all inside; do echo 0 > /proc/sys/net/ipv4/conf/$all/send_redirects; done; \
                 echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
            );
            laboratory.must(
                router,
                &format!("ip route add {way} dev inside mtu lock 1280"),
            );
            // For IPv4 nobody needs to know; for IPv6 it is written down where packets are made.
            let known = if is_ipv6 { "mtu 1280" } else { "" };
            laboratory.must(
                "appliance",
                &format!("ip route add {way} via {via} {known}"),
            );
            for length in [1200, 1400, 3000] {
                let large = "x".repeat(length);
                let answer = client.ask_within(SOON, vip, &large);
                let answer = answer.unwrap_or_else(|| panic!("{length} bytes, {vip}"));
                assert_eq!(answer.node, node);
            }
            client.is_told_of_no_error();
        }
    });
}

#[test]
fn of_a_burst_of_many_clients_each_gets_its_own_answers_and_all_of_them() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients(20);
        for client in &clients {
            client.ask(VIP, "hello");
        }
        let vip = address(VIP);
        for number in 0..8 {
            for client in &clients {
                client.send(vip, format!("{number}").as_bytes());
            }
        }
        for client in &clients {
            let answers = (0..8).map(|_| {
                let (from, said) = client.hear(SOON).expect("an answer");
                assert_eq!(from, vip);
                let said = String::from_utf8(said).unwrap();
                let (_, about) = said.split_once(' ').unwrap();
                about.to_owned()
            });
            let answers: Vec<_> = answers.collect();
            let own = client.address();
            let expected: Vec<_> = (0..8).map(|number| format!("{own} {number}")).collect();
            assert_eq!(answers, expected);
        }
    });
}

#[test]
fn a_node_that_speaks_after_a_long_silence_is_heard_from_the_vip() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        // By itself the kernel forgets sooner than the flow ends, as it does at 30 seconds and two minutes.
        for name in ["timeout", "timeout_stream"] {
            let file = format!("/proc/sys/net/netfilter/nf_conntrack_udp_{name}");
            laboratory.must("appliance", &format!("echo 1 > {file}"));
        }
        let client = scene.client("198.51.100.200");
        let node = client.ask(VIP, "hello").node;
        pass(Duration::from_millis(2500));
        let process = scene.nodes[crate::transparent::place(&node)].as_ref();
        process.unwrap().say(client.address(), b"news");
        let heard = client.hear(SOON);
        assert_eq!(heard, Some((address(VIP), b"news".to_vec())));
    });
}
