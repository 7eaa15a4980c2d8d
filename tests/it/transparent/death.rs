//! A node dies under its flows, in every way that the network knows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;
use socket2::{Domain, Protocol, Socket, Type};

use super::client::{Caller, Client};
use super::{NODES, Scene, VIP, VIP_TCP, VIP_V6, media, outside, place};
use crate::laboratory::laboratory;
use crate::world::SOON;

/// Calm probes wait for three seconds; whenever this machine itself stalls, those begin anew.
const SILENCE: Duration = Duration::from_secs(9);
/// A pause as short as this moves nobody.
const PAUSE: Duration = Duration::from_secs(2);
/// Where somebody says that nobody is there.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Sooner than the next probe at rest, on a machine that has other things to do as well.
const SOON_DOWN: Duration = Duration::from_secs(3);

/// How long each client is without an answer from any node but `dead`; the longest of them.
fn move_all(clients: &[Client], vip: &str, dead: &str) -> Duration {
    let began = Instant::now();
    for client in clients {
        let (node, _) = client.speak_until(vip, |node| node != dead);
        assert_ne!(node, dead);
    }
    let took = began.elapsed();
    for client in clients {
        client.is_told_of_no_error();
    }
    took
}

#[test]
fn flows_of_a_node_that_falls_silent_move_within_the_default_silence() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 3);
        laboratory.blackhole("edge2");
        let took = move_all(&clients, VIP, "edge2");
        assert!(took < SILENCE, "{took:?}");
        assert!(
            took > Duration::from_secs(2),
            "a pause of two seconds moves nobody: {took:?}"
        );
    });
}

#[test]
fn flows_of_a_node_without_a_link_move_within_the_default_silence() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 3);
        laboratory.link("edge2", "inside", "down");
        let took = move_all(&clients, VIP, "edge2");
        assert!(took < SILENCE, "{took:?}");
        laboratory.link("edge2", "inside", "up");
        scene.wait_all("up");
    });
}

#[test]
fn a_process_that_is_gone_moves_its_clients_with_their_next_datagrams_and_is_found_down_soon() {
    laboratory(|laboratory| {
        let mut scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 5);
        let client_v6 = scene.client("2001:db8:1::200");
        let node_v6 = client_v6.ask(VIP_V6, "hello").node;
        scene.kill("edge2");
        let killed = Instant::now();
        let took = move_all(&clients, VIP, "edge2");
        assert!(took < AT_ONCE, "{took:?}");
        // What ICMP says starts probes, which are refused.
        scene.wait_services("down", |each| {
            each.node == "edge2" && each.listener == "udp"
        });
        assert!(killed.elapsed() < SOON_DOWN, "{:?}", killed.elapsed());
        let dead_v6: &'static str = NODES[place(&node_v6)];
        scene.kill(dead_v6);
        let took = move_all(&[client_v6], VIP_V6, &node_v6);
        assert!(took < AT_ONCE, "{took:?}");
    });
}

#[test]
fn the_next_datagram_but_one_reaches_another_node_when_the_port_is_closed() {
    laboratory(|laboratory| {
        let mut scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 1);
        let client = &clients[0];
        scene.kill("edge2");
        // The first one is answered by ICMP, which nobody hears but the appliance.
        let first = client.ask_within(Duration::from_millis(200), VIP, "lost");
        assert_eq!(first, None);
        let second = client.ask_within(Duration::from_millis(500), VIP, "and now?");
        assert_ne!(second.expect("another node").node, "edge2");
        client.is_told_of_no_error();
    });
}

#[test]
fn a_neighbour_that_is_gone_is_missed_by_the_appliance_itself() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 3);
        // Its machine is gone, and the appliance, which forgets where it was, asks three times for it.
        let interval = "echo 50 > /proc/sys/net/ipv4/neigh/inside/retrans_time_ms";
        laboratory.must("appliance", interval);
        laboratory.link("edge2", "inside", "down");
        laboratory.must("appliance", "ip neigh flush dev inside");
        let took = move_all(&clients, VIP, "edge2");
        assert!(took < PAUSE, "sooner than by silence: {took:?}");
    });
}

#[test]
fn a_node_to_which_there_is_no_way_loses_its_clients_at_once() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 3);
        let node = media("edge2", false).ip();
        laboratory.must("appliance", &format!("ip route add unreachable {node}"));
        let took = move_all(&clients, VIP, "edge2");
        assert!(took < AT_ONCE, "{took:?}");
    });
}

#[test]
fn a_client_is_on_one_node_by_tcp_and_udp_also_when_that_node_has_died() {
    laboratory(|laboratory| {
        let mut scene = Scene::start(laboratory);
        let clients = scene.clients(12);
        let by_tcp = |client: &Client| {
            let from = SocketAddr::new(client.address().ip(), 0);
            Caller::connect(laboratory, "client", from, VIP_TCP)
        };
        let mut callers = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let mut caller = by_tcp(client);
            let (first, second) = match number % 2 {
                0 => (client.ask(VIP, "hello").node, caller.ask().unwrap().0),
                _ => (caller.ask().unwrap().0, client.ask(VIP, "hello").node),
            };
            assert_eq!(first, second);
            callers.push((caller, first));
        }
        assert!(callers.iter().any(|(_, node)| node == "edge2"));
        scene.kill("edge2");
        scene.wait_services("down", |each| {
            each.node == "edge2" && each.listener == "udp"
        });
        scene.wait_services("down", |each| {
            each.node == "edge2" && each.listener == "tcp"
        });
        for (client, (caller, node)) in clients.iter().zip(&mut callers) {
            let (by_udp, _) = client.speak_until(VIP, |node| node != "edge2");
            if *node == "edge2" {
                assert_eq!(caller.ask(), None, "its connection has ended");
                *caller = by_tcp(client);
            } else {
                assert_eq!(by_udp, *node, "who is well stays");
            }
            assert_eq!(caller.ask().unwrap().0, by_udp);
        }
    });
}

/// What a node would say if nobody listened at its port, about a datagram of `client` to `node`: RFC 792.
fn port_unreachable(client: SocketAddr, node: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(client), SocketAddr::V4(node)) = (client, node) else {
        unreachable!("IPv4 here");
    };
    let mut quoted = vec![0x45, 0, 0, 36, 0, 1, 0x40, 0, 63, 17, 0, 0];
    quoted.extend(client.ip().octets());
    quoted.extend(node.ip().octets());
    let sum = checksum(&quoted).to_be_bytes();
    quoted[10..12].copy_from_slice(&sum);
    for word in [client.port(), node.port(), 16, 0] {
        quoted.extend(word.to_be_bytes());
    }
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[test]
fn who_says_that_nobody_is_there_without_being_asked_takes_no_node_down_and_moves_one_client() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = scene.clients_of("edge2", 4);
        let victim = &clients[0];
        let icmp = laboratory.within("client", || {
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap()
        });
        let message = port_unreachable(victim.address(), media("edge2", false));
        // To the appliance, or to where it would be routed on: it would not go there.
        for to in ["198.51.100.30", "203.0.113.32"] {
            let to = SocketAddr::new(outside(to), 0);
            for _ in 0..50 {
                icmp.send_to(&message, &to.into()).unwrap();
            }
        }
        for client in &clients {
            for _ in 0..20 {
                assert_eq!(client.ask(VIP, "still here").node, "edge2");
            }
        }
        // From inside, as if on its way to the client: it cannot be told from a true one.
        let icmp = laboratory.within("edge3", || {
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap()
        });
        let to = SocketAddr::new(victim.address().ip(), 0);
        icmp.send_to(&message, &to.into()).unwrap();
        let moved = wait_until(SOON, || {
            (scene.ended("udp", "node-lost") > 0.0).then_some(())
        });
        moved.expect("the worker hears of it");
        for client in &clients[1..] {
            for _ in 0..20 {
                assert_eq!(client.ask(VIP, "still here").node, "edge2");
            }
        }
        assert_ne!(victim.ask(VIP, "still here").node, "edge2");
        assert_eq!(scene.ended("udp", "node-lost"), 1.0);
        let down = wait_until(Duration::from_secs(3), || {
            let services = scene.services();
            services
                .iter()
                .any(|each| each.health == "down")
                .then_some(())
        });
        assert_eq!(down, None, "{:?}", scene.services());
    });
}
