//! Real TURN servers as nodes: how they answer the probe `turn-allocate`, and what is seen of where they are.

use std::net::UdpSocket;

use pinfold_loadtest::process::wait_until;
use serde_json::Value;

use crate::coturn::{CREDENTIALS, Coturn, Server};
use crate::world::{Listener, SOON, World, find, lonely_address};

/// A server on an address of its own.
fn serve(coturn: &Coturn, options: &[&str]) -> Server {
    let free = UdpSocket::bind((lonely_address(), 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    coturn.serve(address, options)
}

/// For documentation: nobody is there.
const ELSEWHERE: &str = "192.0.2.31:3478";

/// The one service of a node.
fn service(world: &World, node: &str) -> Value {
    world.pinfold.node(node)["services"][0].clone()
}

#[test]
fn real_servers_live_while_they_answer_and_where_they_send_their_clients_is_told() {
    let Some(coturn) = Coturn::find() else {
        return;
    };
    let mut right = serve(&coturn, &CREDENTIALS);
    let redirect = format!("--alternate-server={ELSEWHERE}");
    let astray = serve(&coturn, &[&CREDENTIALS[..], &[&redirect]].concat());
    let open = serve(&coturn, &["--no-auth"]);
    let servers = [("right", &right), ("astray", &astray), ("open", &open)];
    let addresses = servers.map(|(name, server)| (name, server.address));
    let world = World::start_with(0, |setup| {
        for (name, address) in addresses {
            setup.node(name, address);
        }
        setup.listeners = vec![Listener {
            more: "[listener.probe]\nkind = \"turn-allocate\"".into(),
            ..Listener::new("relay", "udp")
        }];
    });

    // All live; what two of them say is told, and nothing of the third.
    for (node, fault) in [("astray", "elsewhere"), ("open", "open")] {
        let told = wait_until(SOON, || {
            (service(&world, node)["turn"]["fault"] == fault).then_some(())
        });
        assert!(told.is_some(), "{}", service(&world, node));
        assert_eq!(service(&world, node)["health"], "up");
    }
    let refusal = wait_until(SOON, || {
        let turn = service(&world, "right")["turn"].clone();
        turn["code"].is_number().then_some(turn)
    });
    let refusal = refusal.expect("its answer is known");
    assert_eq!(refusal["code"], 401);
    assert_eq!(refusal["fault"], Value::Null);
    let turn = &service(&world, "astray")["turn"];
    assert_eq!(turn["alternate_server"], ELSEWHERE);
    assert_eq!(turn["configured"], astray.address.to_string());
    let gauge = |node: &str| {
        let labels = format!("pool=\"edge\",node=\"{node}\",listener=\"relay\"");
        let sample = format!("pinfold_node_addressing_fault{{{labels}}}");
        world.pinfold.metric(&sample)
    };
    assert_eq!(gauge("right"), Some(0.0));
    assert_eq!(gauge("astray"), Some(1.0));
    let attention = world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(attention.contains("ADDRESSING astray sends clients of relay to 192.0.2.31:3478"));
    let log = world.pinfold.process.output();
    let told = log.lines().filter(|line| line.contains("addressing-fault"));
    assert_eq!(told.count(), 1, "{log}");

    // By hand the same is found at once.
    let output = world.pinfold(&["probe", "right"]);
    let screen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    assert!(screen.contains("turn-allocate"), "{screen}");
    let output = world.pinfold(&["probe", "astray"]);
    let screen = String::from_utf8_lossy(&output.stdout).replace("\n  ", " ");
    assert_eq!(output.status.code(), Some(0), "it lives: {screen}");
    let note = format!("astray sends clients of relay to {ELSEWHERE}, and its address is");
    assert!(screen.contains(&note), "{screen}");

    // Whoever dies refuses, and is down by that.
    right.kill();
    world.pinfold.wait_health("right", "down");
    assert_eq!(service(&world, "right")["evidence"], "probe refused");
    let probed = world.pinfold.json("/v1/nodes/right/probe");
    let service = find(&probed["services"], "probe", "turn-allocate");
    assert_eq!(service["result"], "refused", "{probed}");
}
