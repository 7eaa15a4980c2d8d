//! `pinfold probe`: what it finds, while the daemon itself asks nobody.

use std::process::Output;

use serde_json::Value;

use crate::tls::{certify, server};
use crate::world::{Directory, World, find};

/// Nodes are asked at the start, and then not for as long as a test lasts.
const SELDOM: &str =
    "[listener.probe]\ninterval = \"10m\"\nfast_interval = \"10m\"\ntimeout = \"2s\"\n";

fn probe(world: &World, words: &[&str]) -> Output {
    world.pinfold(&[&["probe"], words].concat())
}

/// What it answers, and with which code it exits.
#[track_caller]
fn json(world: &World, words: &[&str]) -> (Value, Option<i32>) {
    let output = probe(world, &[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (value, output.status.code())
}

#[test]
fn each_service_is_asked_now_and_what_is_found_is_nobodys_evidence() {
    // A machine that stood still has the daemon ask by itself, which is evidence: then once more.
    assert!((0..5).any(|_| asks_and_tells_nobody()));
}

/// `false`: the daemon has asked by itself meanwhile.
fn asks_and_tells_nobody() -> bool {
    let directory = Directory::create();
    certify(directory.path());
    let (_sealed, address) = server(directory.path(), "-tls1_2");
    let mut world = World::start_with(3, |setup| {
        setup.node("sealed", address);
        setup.listeners[0].more = SELDOM.into();
        setup.listener("plain", "tcp", "127.0.0.1:0");
        setup.listeners[1].more = SELDOM.into();
        // Asks what "federation" asks.
        setup.listener("second", "federation", "127.0.0.1:0");
        setup.listeners[2].more = SELDOM.into();
    });
    let (up, code) = json(&world, &["edge1"]);
    assert_eq!(code, Some(0), "{up}");
    assert_eq!(up["all_answered"], true);
    let services = up["services"].as_array().unwrap();
    assert_eq!(services.len(), 2, "each question once: {up}");
    let hello = find(&up["services"], "probe", "tls-hello");
    assert_eq!(hello["listeners"].as_array().unwrap().len(), 2, "{up}");
    assert!(hello["millis"].is_number(), "{up}");

    let (sealed, code) = json(&world, &["sealed", "--pool", "edge"]);
    assert_eq!(code, Some(0), "{sealed}");
    let hello = find(&sealed["services"], "probe", "tls-hello");
    assert_eq!(hello["tls"], "1.2");
    assert_eq!(hello["certificate"]["name"], "server.test");
    assert_eq!(
        hello["certificate"]["same"], false,
        "simulated nodes show another"
    );
    let screen = String::from_utf8(probe(&world, &["sealed"]).stdout).unwrap();
    let warns = |line: &str| line.starts_with("server.test") && line.contains('!');
    assert!(screen.lines().any(warns), "{screen}");
    assert!(screen.ends_with("ALL ANSWER: 2 of 2\n"), "{screen}");

    let asked = |world: &World| world.pinfold.metric("pinfold_probes_total");
    let before = asked(&world);
    assert!(before.is_some());
    world.edge("edge2").kill().unwrap();
    world.edge("edge3").freeze().unwrap();
    let (killed, code) = json(&world, &["edge2"]);
    assert_eq!(code, Some(1), "{killed}");
    for service in killed["services"].as_array().unwrap() {
        assert_eq!(service["result"], "refused", "{killed}");
    }
    let (frozen, code) = json(&world, &["edge3"]);
    world.edge("edge3").thaw().unwrap();
    assert_eq!(code, Some(1), "{frozen}");
    let of_kind = |kind| find(&frozen["services"], "probe", kind)["result"].clone();
    assert_eq!(of_kind("tls-hello"), "timed-out");
    assert_eq!(of_kind("tcp"), "answered", "its kernel lives");
    let nodes = ["edge2", "edge3"].map(|node| world.pinfold.node(node));
    if asked(&world) != before {
        return false;
    }
    for node in nodes {
        for service in node["services"].as_array().unwrap() {
            assert_eq!(service["health"], "up", "{node}");
            assert_eq!(service["failures"], 0, "{node}");
        }
    }
    true
}

#[test]
fn nodes_that_take_no_sessions_are_asked_too_and_the_next_command_is_named() {
    let world = World::start(2);
    for verb in ["drain", "disable"] {
        let done = world
            .pinfold
            .post(&format!("/v1/nodes/edge1/{verb}"))
            .unwrap();
        assert_eq!(done.status, 200);
        let output = probe(&world, &["edge1"]);
        let screen = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{screen}");
        assert!(screen.contains("→ pinfold resume edge1"), "{screen}");
    }
}

#[test]
fn a_node_that_nobody_knows_and_a_daemon_that_is_not_there_are_said_plainly() {
    let world = World::start(2);
    let output = probe(&world, &["edg1"]);
    assert_eq!(output.status.code(), Some(64));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("did you mean \"edge1\"?"), "{complaint}");
    assert_eq!(
        world.pinfold.get("/v1/nodes/edg1/probe").unwrap().status,
        404
    );
    let output = probe(&world, &["edge1", "--pool", "egde"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("no pool \"egde\": did you mean \"edge\"?"),
        "{complaint}"
    );
    let output = probe(
        &world,
        &["edge1", "--admin", "unix:/nonexistent/admin.sock"],
    );
    assert_eq!(output.status.code(), Some(69));
}
