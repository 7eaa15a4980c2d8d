//! Nodes that accept and die, and clients whose bytes kill.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinfold_loadtest::{SimulatedEdge, background};

use crate::world::{Caller, SOON, Setup, Stage, World, caller_address};

/// How many connections a sick node takes with it.
const DOOMED: u32 = 20;

/// Two nodes, one of them about to die under its next connections, and nobody who probes them:
/// each doomed connection is a client's.
fn sick_world(stage: &Stage, service: &str, more: &str) -> (World, [SimulatedEdge; 2]) {
    let edges = [stage.edge("sick"), stage.edge("sound")];
    let world = World::start_with(0, |setup| {
        for edge in &edges {
            setup.node(edge.name(), edge.address());
        }
        let listener = &mut setup.listeners[0];
        listener.service = service.into();
        listener.more = format!("{more}\n[listener.probe]\nkind = \"none\"");
    });
    edges[0].die_before_first_byte(DOOMED);
    (world, edges)
}

#[test]
fn a_node_that_dies_before_its_first_byte_is_never_noticed() {
    let stage = Stage::open();
    let (world, [sick, _sound]) = sick_world(&stage, "federation", "");
    let address = world.address();
    for number in 0..100 {
        let (mut caller, node) = Caller::served(address, caller_address(number)).unwrap();
        assert_eq!(caller.ask("again").unwrap(), node);
    }
    let taken = sick.counters().accepted;
    assert!(taken >= u64::from(DOOMED), "only {taken} came to it");
}

#[test]
fn without_replay_a_node_that_dies_before_its_first_byte_is_noticed() {
    let stage = Stage::open();
    let (world, [sick, _sound]) = sick_world(&stage, "tcp", "replay = false");
    let address = world.address();
    let served = |number| Caller::served(address, caller_address(number));
    let lost = (0..100).filter(|&number| served(number).is_err()).count();
    assert_eq!(lost, usize::try_from(DOOMED).unwrap());
    assert!(sick.counters().accepted >= u64::from(DOOMED));
}

#[test]
fn a_client_whose_bytes_make_nodes_reset_takes_no_node_down_and_disturbs_nobody() {
    let world = World::start_with(3, |setup: &mut Setup| {
        setup.listeners[0].more = "max_sessions_per_client = 100".into();
    });
    let address = world.address();
    let partner = world.fabrikam();
    let mut plan = background::Plan::new(address, 30);
    plan.interval = Duration::from_millis(50);
    let bystanders = world.stage.background(plan);
    let stand = bystanders.wait_for(SOON, |stats| stats.standing() == 30);
    world.stage.wait(stand).unwrap();

    let poisoner = Ipv4Addr::new(127, 0, 6, 6);
    for number in 0..150 {
        let mut caller = Caller::connect(address, poisoner).unwrap();
        if number % 2 == 0 {
            caller.ask("hello").unwrap();
        }
        caller.say("!reset").unwrap();
        assert!(caller.ends_within(SOON), "it gets what it asked for");
    }
    for name in ["edge1", "edge2", "edge3"] {
        world.pinfold.wait_health(name, "up");
    }
    let failovers = world.pinfold.json("/v1/failovers");
    assert_eq!(failovers["failovers"].as_array().unwrap().len(), 0);
    let stats = bystanders.stats();
    assert!(stats.disturbed.is_empty(), "{stats:?}");
    assert_eq!(stats.standing(), 30);
    let stats = partner.stats();
    assert_eq!((stats.connections, stats.gaps_total), (1, 0), "{stats:?}");
}
