//! What an administrator asks of a node: gently, and for longer than one process.

use std::time::{Duration, Instant};

use pinfold_loadtest::process::{Signal, wait_until};

use crate::world::{Caller, Pinfold, SOON, World, caller_address};

/// The callers from `numbers`, with the nodes that serve them.
fn callers(world: &World, numbers: std::ops::Range<usize>) -> Vec<(Caller, String)> {
    let served = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    numbers.map(served).collect()
}

fn ask(world: &World, path: &str) {
    let answer = world.pinfold.post(path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_drained_node_keeps_its_sessions_until_the_deadline_and_takes_no_others() {
    let mut world = World::start(2);
    let mut before = callers(&world, 0..10);
    let drained = Instant::now();
    ask(&world, "/v1/nodes/edge1/drain?deadline=2s&reason=patches");
    let after = callers(&world, 20..40);
    assert!(after.iter().all(|(_, node)| node == "edge2"));
    // Who was pinned to it comes back to the other one, too.
    let again = callers(&world, 0..10);
    assert!(again.iter().all(|(_, node)| node == "edge2"));
    for (caller, node) in &mut before {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
    let (mut cut, mut stay): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|(_, node)| node == "edge1");
    assert!(!cut.is_empty() && !stay.is_empty());
    for (caller, _) in &mut cut {
        assert!(caller.ends_within(SOON), "the deadline cuts it");
    }
    assert!(drained.elapsed() >= Duration::from_secs(2));
    for (caller, _) in &mut stay {
        assert_eq!(caller.ask("still here").unwrap(), "edge2");
    }

    world.pinfold.process.signal(Signal::TERM).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it stops");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    world.wait_all_up();
    let node = world.pinfold.node("edge1");
    assert_eq!(node["state"], "draining", "{node}");
    assert_eq!(node["administered"]["reason"], "patches", "{node}");
    let restarted = callers(&world, 0..20);
    assert!(restarted.iter().all(|(_, node)| node == "edge2"));

    ask(&world, "/v1/nodes/edge1/resume");
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
    let mut fresh = 100..200;
    let resumed = wait_until(SOON, || {
        let (_, node) = Caller::served(world.address(), caller_address(fresh.next()?)).ok()?;
        (node == "edge1").then_some(())
    });
    assert!(resumed.is_some(), "a resumed node takes sessions");
}

#[test]
fn resuming_a_node_before_the_deadline_spares_its_sessions() {
    let world = World::start(2);
    let mut sessions = callers(&world, 0..10);
    ask(&world, "/v1/nodes/edge1/drain?deadline=1s");
    ask(&world, "/v1/nodes/edge1/resume");
    crate::world::pass(Duration::from_secs(2));
    for (caller, node) in &mut sessions {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
}

#[test]
fn a_disabled_node_ends_its_sessions_now_and_those_of_others_never() {
    let world = World::start(2);
    let sessions = callers(&world, 0..10);
    ask(&world, "/v1/nodes/edge1/disable");
    for (mut caller, node) in sessions {
        if node == "edge1" {
            assert!(caller.ends_within(SOON));
        } else {
            assert_eq!(caller.ask("still here").unwrap(), node);
        }
    }
    let after = callers(&world, 0..10);
    assert!(after.iter().all(|(_, node)| node == "edge2"));
}

#[test]
fn a_drain_outlives_a_reload() {
    let mut world = World::start(2);
    ask(&world, "/v1/nodes/edge1/drain");
    world.reload_harmlessly(3);
    assert_eq!(world.pinfold.node("edge1")["state"], "draining");
    let after = callers(&world, 0..10);
    assert!(after.iter().all(|(_, node)| node == "edge2"));
}
