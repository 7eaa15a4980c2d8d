//! What a reload takes away lives on for a while, governed, and what it brings back stays.

use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, SOON, World, caller_address, edge, pass, quiet};

/// Callers that are served, with the nodes that serve them; some on every node.
fn callers(world: &World) -> Vec<(Caller, String)> {
    let address = world.address();
    let served = |number| Caller::served(address, caller_address(number)).unwrap();
    (0..12).map(served).collect()
}

fn split(callers: Vec<(Caller, String)>, node: &str) -> (Vec<Caller>, Vec<(Caller, String)>) {
    let (of_node, others): (Vec<_>, Vec<_>) = callers.into_iter().partition(|(_, on)| on == node);
    assert!(!of_node.is_empty() && !others.is_empty());
    (
        of_node.into_iter().map(|(caller, _)| caller).collect(),
        others,
    )
}

#[test]
fn sessions_of_a_removed_node_live_for_drain_timeout_and_then_end() {
    let mut world = World::start_with(3, |setup| setup.server = "drain_timeout = \"2s\"".into());
    let (mut gone, mut others) = split(callers(&world), "edge1");
    let removed = Instant::now();
    world.reload_with(|setup| setup.remove_node("edge1"));
    for caller in &mut gone {
        assert_eq!(caller.ask("still here").unwrap(), "edge1");
    }
    for number in 20..40 {
        let (_, node) = Caller::served(world.address(), caller_address(number)).unwrap();
        assert_ne!(node, "edge1");
    }
    for caller in &mut gone {
        assert!(caller.ends_within(SOON));
    }
    assert!(removed.elapsed() >= Duration::from_secs(2));
    for (caller, node) in &mut others {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
}

#[test]
fn a_removed_node_that_freezes_is_still_found_out() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let (mut gone, mut others) = split(callers(&world), "edge1");
    world.reload_with(|setup| setup.remove_node("edge1"));
    world.edge("edge1").freeze().unwrap();
    for caller in &mut gone {
        assert!(caller.ends_within(Duration::from_secs(3)), "it is cut");
    }
    for (caller, node) in &mut others {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
}

#[test]
fn a_node_that_is_removed_and_brought_back_keeps_its_sessions() {
    let mut world = World::start_with(3, |setup| setup.server = "drain_timeout = \"1s\"".into());
    let (mut gone, _others) = split(callers(&world), "edge1");
    let nodes = world.setup.nodes.clone();
    world.reload_with(|setup| setup.remove_node("edge1"));
    world.reload_with(|setup| setup.nodes = nodes);
    pass(Duration::from_secs(2));
    for caller in &mut gone {
        assert_eq!(caller.ask("still here").unwrap(), "edge1");
    }
}

#[test]
fn a_listener_that_is_removed_and_brought_back_keeps_its_sessions() {
    let mut world = World::start_with(2, |setup| {
        setup.server = "drain_timeout = \"1s\"".into();
        setup.listener("second", "tcp", "127.0.0.1:0");
    });
    let second = world.pinfold.address("second");
    let (mut caller, node) = Caller::served(second, caller_address(1)).unwrap();
    let listeners = world.setup.listeners.clone();
    world.reload_with(|setup| drop(setup.listeners.pop()));
    world.reload_with(|setup| setup.listeners = listeners);
    pass(Duration::from_secs(2));
    assert_eq!(caller.ask("still here").unwrap(), node);
}

#[test]
fn a_node_that_moves_to_another_address_serves_there_and_keeps_what_it_had() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let (mut old, mut others) = split(callers(&world), "edge1");
    let moved = edge("edge1");
    let address = moved.address();
    world.reload_with(|setup| {
        setup.remove_node("edge1");
        setup.node("edge1", address);
    });
    for caller in &mut old {
        assert_eq!(caller.ask("still here").unwrap(), "edge1");
    }
    let counted_apart = || {
        let sample =
            "pinfold_node_sessions_active{pool=\"edge\",node=\"edge1\",listeners=\"federation\"}";
        (world.pinfold.metric(sample)? == 0.0).then_some(())
    };
    assert!(wait_until(SOON, counted_apart).is_some());
    let served_there = || {
        let service = world.pinfold.node("edge1")["services"].take();
        let services = service.as_array()?;
        let mut services = services.iter();
        let there = services.find(|each| each["address"] == address.to_string())?;
        (there["standing"] == "takes").then_some(())
    };
    let taken = wait_until(SOON, served_there);
    assert!(taken.is_some(), "{}", world.pinfold.node("edge1"));
    let newcomer = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    let newcomers: Vec<_> = (20..40).map(newcomer).collect();
    for name in ["edge1", "edge2", "edge3"] {
        assert!(newcomers.iter().any(|(_, node)| node == name), "{name}");
    }

    world.edge("edge1").freeze().unwrap();
    for caller in &mut old {
        assert!(
            caller.ends_within(Duration::from_secs(3)),
            "the old address is cut"
        );
    }
    for (caller, node) in &mut others {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
    let metrics = world.pinfold.get("/metrics").unwrap().body;
    let mut samples = metrics
        .lines()
        .filter(|line| line.starts_with("pinfold_node_up{"));
    let edge1 = samples.find(|line| line.contains("node=\"edge1\""));
    assert!(edge1.is_some_and(|line| line.ends_with(" 1")), "{edge1:?}");
}

#[test]
fn a_session_older_than_its_probe_is_cut_by_what_the_new_probe_finds() {
    let _quiet = quiet();
    let mut world = World::start_with(3, |setup| {
        setup.listeners[0].more = "[listener.probe]\nkind = \"tcp\"".into();
    });
    let (mut old, mut others) = split(callers(&world), "edge1");
    world.reload_with(|setup| setup.listeners[0].more.clear());
    world.wait_all_up();
    world.edge("edge1").freeze().unwrap();
    for caller in &mut old {
        assert!(caller.ends_within(Duration::from_secs(3)), "it is cut");
    }
    for (caller, node) in &mut others {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
}
