//! A node sends its client away: what comes after the first answer is between the two of them.

use std::net::SocketAddr;
use std::time::Duration;

use pinfold::inspect::stun::{self, Dialect, Message};
use pinfold_loadtest::process::wait_until;

use super::client::Client;
use super::node::Alternate;
use super::{NODES, Scene, VIP, VIP_INTERNAL, VIP_V6, media};
use crate::host_rules::address;
use crate::laboratory::{Laboratory, laboratory};
use crate::world::SOON;

const DIALECTS: [Dialect; 2] = [Dialect::Rfc, Dialect::Microsoft];

/// The client's first question to a VIP, which is answered from there by 401; where the answer sends the client.
fn allocate(client: &Client, vip: &str, dialect: Dialect) -> SocketAddr {
    let (question, transaction) = stun::allocate(dialect, [fastrand::u8(..); 16]);
    client.send(address(vip), &question);
    let (from, answer) = client.hear(SOON).expect("an answer");
    assert_eq!(from, address(vip));
    let answer = Message::read(&answer).expect("a message");
    assert_eq!(answer.transaction, transaction);
    assert_eq!(answer.error(), Some(401));
    answer.alternate_server().expect("an address")
}

/// So many flows of a listener have ended because their nodes have sent the clients away, and none lives.
fn wait_redirected(scene: &Scene<'_>, listener: &str, count: f64) {
    let redirected = wait_until(SOON, || {
        let is_counted = scene.ended(listener, "redirected") >= count;
        (is_counted && scene.sessions(listener) == 0).then_some(())
    });
    let ended = scene.ended(listener, "redirected");
    assert!(redirected.is_some(), "{ended} of {listener}");
    assert_eq!(ended, count, "{listener}");
}

/// The client asks the node itself, and hears from nobody else.
fn speak_directly(client: &Client, node: SocketAddr) {
    for _ in 0..3 {
        let answer = client.ask(&node.to_string(), "direct");
        assert_eq!((answer.saw, answer.from), (client.address(), node));
    }
    client.is_told_of_no_error();
}

/// A client is sent away, speaks with its node, comes back, and is sent away again.
fn go_and_come_back(scene: &Scene<'_>, client: &str, listener: &str, vip: &str) {
    let mut count = scene.ended(listener, "redirected");
    for dialect in DIALECTS {
        let client = scene.client(client);
        let node = allocate(&client, vip, dialect);
        let is_ipv6 = client.address().is_ipv6();
        assert!(NODES.iter().any(|name| media(name, is_ipv6) == node));
        count += 1.0;
        wait_redirected(scene, listener, count);
        speak_directly(&client, node);
        // As where the answer was lost, or the client needs another relayed address.
        for _ in 0..2 {
            assert_eq!(allocate(&client, vip, dialect), node, "its pin lasts");
            count += 1.0;
            speak_directly(&client, node);
        }
        wait_redirected(scene, listener, count);
    }
}

fn sends_away(laboratory: &Laboratory) -> Scene<'_> {
    Scene::start_with(laboratory, |plan| plan.alternate = Alternate::Itself)
}

#[test]
fn who_is_sent_away_goes_on_with_the_node_from_the_same_port() {
    laboratory(|laboratory| {
        let scene = sends_away(laboratory);
        go_and_come_back(&scene, "198.51.100.200", "udp", VIP);
        go_and_come_back(&scene, "2001:db8:1::200", "udp6", VIP_V6);
    });
}

#[test]
fn so_it_is_where_the_client_reaches_the_node_past_the_appliance() {
    laboratory(|laboratory| {
        let scene = sends_away(laboratory);
        // One arm: only what the nodes answer passes their gateway, the appliance.
        laboratory.join("client", "inside", &[]);
        for name in NODES {
            for is_ipv6 in [false, true] {
                let node = media(name, is_ipv6).ip();
                let own = if is_ipv6 {
                    "2001:db8:1::200"
                } else {
                    "198.51.100.200"
                };
                let way = format!("ip route add {node} dev inside src {own}");
                laboratory.must("client", &way);
            }
        }
        go_and_come_back(&scene, "198.51.100.200", "udp", VIP);
        go_and_come_back(&scene, "2001:db8:1::200", "udp6", VIP_V6);
    });
}

#[test]
fn a_question_that_is_sent_twice_leaves_no_flow_and_the_direct_way_open() {
    laboratory(|laboratory| {
        let scene = sends_away(laboratory);
        for round in 0..20 {
            let client = scene.client("198.51.100.200");
            let dialect = DIALECTS[round % 2];
            let (question, _) = stun::allocate(dialect, [7; 16]);
            let vip = address(VIP);
            for _ in 0..2 {
                client.send(vip, &question);
            }
            let (first, answer) = client.hear(SOON).expect("an answer");
            let node = Message::read(&answer).unwrap().alternate_server().unwrap();
            // One is the VIP's; the other is on its way by then, and is the VIP's, or the node's own, or lost.
            let mut heard = vec![first];
            while let Some((from, again)) = client.hear(Duration::from_millis(50)) {
                heard.push(from);
                assert_eq!(again, answer);
            }
            let are_theirs = heard.iter().all(|from| [vip, node].contains(from));
            assert!(are_theirs && heard.contains(&vip), "{heard:?}");
            speak_directly(&client, node);
        }
        let none = wait_until(SOON, || (scene.sessions("udp") == 0).then_some(()));
        none.expect("no flow lives");
    });
}

#[test]
fn a_client_that_had_to_ask_again_and_again_is_answered_and_not_sent_away() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let vip = address(VIP);
        // The same question, and others.
        for asked in [[1; 6], [1, 2, 3, 4, 5, 6]] {
            let client = scene.client("198.51.100.200");
            NODES.iter().for_each(|node| laboratory.blackhole(node));
            for number in asked {
                let (question, _) = stun::allocate(Dialect::Microsoft, [number; 16]);
                client.send(vip, &question);
            }
            assert_eq!(client.hear(Duration::from_millis(20)), None);
            NODES.iter().for_each(|node| laboratory.light_up(node));
            let (question, transaction) = stun::allocate(Dialect::Microsoft, [7; 16]);
            client.send(vip, &question);
            let (from, answer) = client.hear(SOON).expect("an answer");
            let answer = Message::read(&answer).unwrap();
            assert_eq!((from, answer.transaction), (vip, transaction));
        }
        assert_eq!(scene.sessions("udp"), 2);
        assert_eq!(scene.ended("udp", "redirected"), 0.0);
    });
}

#[test]
fn inside_clients_are_sent_to_the_nodes_inner_addresses() {
    laboratory(|laboratory| {
        let scene = sends_away(laboratory);
        let client = Client::open(laboratory, "front", address("192.0.2.101:0"));
        let node = allocate(&client, VIP_INTERNAL, Dialect::Microsoft);
        assert!(node.to_string().starts_with("192.0.2.1"), "{node}");
        wait_redirected(&scene, "internal-udp", 1.0);
        speak_directly(&client, node);
    });
}

#[test]
fn who_is_sent_to_the_vip_itself_is_not_sent_away() {
    laboratory(|laboratory| {
        let to_vip = Alternate::This(address(VIP));
        let scene = Scene::start_with(laboratory, |plan| plan.alternate = to_vip);
        let client = scene.client("198.51.100.200");
        for dialect in DIALECTS {
            assert_eq!(allocate(&client, VIP, dialect), address(VIP));
            assert_eq!(scene.sessions("udp"), 1);
        }
        let first = client.ask(VIP, "and on");
        assert_eq!(client.ask(VIP, "and on"), first);
        assert_eq!(scene.ended("udp", "redirected"), 0.0);
        // Nor is a client of an address that is elsewhere left without its answers.
        let limit = Duration::from_millis(50);
        assert!(client.hear(limit).is_none(), "nothing comes twice");
    });
}
