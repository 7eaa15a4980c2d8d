//! What is done to a configuration, or to a node by hand, while clients speak.

use std::net::SocketAddr;

use pinfold_loadtest::process::Signal;

use super::client::{Caller, Client};
use super::{NODES, Scene, VIP, VIP_TCP, VIP_V6};
use crate::host_rules::apply;
use crate::laboratory::laboratory;
use crate::world::SOON;

/// Clients, and the nodes that have answered them.
fn settled(scene: &Scene<'_>, count: u8) -> Vec<(Client, String)> {
    let clients = scene.clients(count).into_iter();
    clients
        .map(|client| {
            let node = client.ask(VIP, "hello").node;
            (client, node)
        })
        .collect()
}

/// Every client is still with its node, which sees it as before.
fn are_undisturbed(clients: &[(Client, String)]) {
    for (client, node) in clients {
        let answer = client.ask(VIP, "still here");
        assert_eq!((&answer.node, answer.saw), (node, client.address()));
    }
}

fn post(scene: &Scene<'_>, path: &str) {
    let answer = scene.pinfold.post(path).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
}

#[test]
fn reloads_lose_no_flow_and_flows_of_a_removed_listener_live_on() {
    laboratory(|laboratory| {
        let mut scene = Scene::start(laboratory);
        let clients = settled(&scene, 8);
        let mut caller = Caller::connect(laboratory, "client", clients[0].0.address(), VIP_TCP);
        let by_tcp = caller.ask();
        assert_eq!(by_tcp, Some((clients[0].1.clone(), clients[0].0.address())));
        for round in 0..10 {
            let timeout = format!("idle_timeout = \"{}s\"", 100 + round);
            scene.reload_with(|plan| plan.listener("udp")[4] = timeout);
            are_undisturbed(&clients);
        }
        assert_eq!(scene.sessions("udp"), 8);
        scene.reload_with(|plan| plan.listeners.retain(|listener| listener[0] != "udp"));
        are_undisturbed(&clients);
        assert_eq!(caller.ask(), by_tcp);
        let client = scene.client("2001:db8:1::200");
        assert_eq!(client.ask(VIP_V6, "hello").saw, client.address());
    });
}

#[test]
fn a_node_that_drains_keeps_its_flows_and_gets_no_others() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = settled(&scene, 12);
        assert!(clients.iter().any(|(_, node)| node == "edge2"));
        post(&scene, "/v1/nodes/edge2/drain");
        are_undisturbed(&clients);
        for number in 220..232 {
            let ip = format!("198.51.100.{number}");
            let add = format!("ip addr add {ip}/24 dev outside");
            laboratory.must("client", &add);
            assert_ne!(scene.client(&ip).ask(VIP, "hello").node, "edge2");
        }
        are_undisturbed(&clients);
    });
}

#[test]
fn a_node_that_is_disabled_loses_its_flows_to_the_others_and_nobody_else_loses_any() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let clients = settled(&scene, 12);
        post(&scene, "/v1/nodes/edge2/disable");
        let (moved, stay): (Vec<_>, Vec<_>) =
            clients.into_iter().partition(|(_, node)| node == "edge2");
        assert!(!moved.is_empty());
        for (client, _) in &moved {
            let (node, _) = client.speak_until(VIP, |node| node != "edge2");
            // Whatever of edge2 was on its way has come; from here on it is the other one's client.
            assert_eq!(client.ask(VIP, "and on").node, node);
            client.is_told_of_no_error();
        }
        are_undisturbed(&stay);
    });
}

const OTHER_VIP: &str = "198.51.100.10:3479";

/// The lines of a listener of plain UDP that has this source.
fn plain(source: &str) -> [String; 5] {
    let more = format!("source = \"{source}\"\nfamily = \"av\"\nnode_port = 3478\n");
    ["plain", "udp", OTHER_VIP, "edge", &more].map(Into::into)
}

#[test]
fn by_a_reload_nodes_see_new_clients_themselves_and_go_on_with_the_old_ones_and_back() {
    laboratory(|laboratory| {
        let mut scene = Scene::start_with(laboratory, |plan| plan.listeners.push(plain("snat")));
        let ours: SocketAddr = "203.0.113.1:0".parse().unwrap();
        let ask = |client: &Client| client.ask(OTHER_VIP, "hello");
        let before = scene.client("198.51.100.200");
        let seen = ask(&before);
        assert_eq!(seen.saw.ip(), ours.ip());

        scene.reload_with(|plan| *plan.listener("plain") = plain("transparent"));
        apply(laboratory, &scene.directory);
        let after = scene.client("198.51.100.201");
        let seen_after = ask(&after);
        assert_eq!(seen_after.saw, after.address());
        assert_eq!(ask(&before), seen, "its flow goes on");

        scene.reload_with(|plan| *plan.listener("plain") = plain("snat"));
        let last = scene.client("198.51.100.201");
        assert_eq!(ask(&last).saw.ip(), ours.ip());
        assert_eq!(ask(&after), seen_after, "its flow goes on");
        assert_eq!(ask(&before), seen);
        assert!(NODES.contains(&seen.node.as_str()));
        assert_eq!(scene.sessions("plain"), 3);
    });
}

#[test]
fn after_a_kill_of_pinfold_itself_the_next_datagrams_are_answered_from_the_vip() {
    laboratory(|laboratory| {
        let mut scene = Scene::start(laboratory);
        let clients = settled(&scene, 8);
        scene.pinfold.process.signal(Signal::KILL).unwrap();
        assert!(scene.pinfold.process.wait_exit(SOON).is_some());
        scene.pinfold = laboratory.pinfold(&scene.directory);
        scene.pinfold.wait_ready();
        scene.wait_all("up");
        // The kernel still knows by which worker each of them was served.
        for (client, _) in &clients {
            let answer = client.ask(VIP, "and now?");
            assert_eq!(answer.saw, client.address());
            assert_eq!(client.ask(VIP, "and on"), answer);
        }
    });
}
