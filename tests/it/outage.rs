//! What is no failover: a pause, and the end of every node at once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::world::{Caller, SOON, World, caller_address, pass, quiet};

const PAUSE: Duration = Duration::from_millis(500);
/// A pause that this machine made longer by so much is another promise.
const PAUSE_MAX: Duration = Duration::from_millis(550);
const PAUSES: u32 = 10;

/// Callers that are served, one from each of the first addresses, with the nodes that serve them.
fn callers(world: &World, count: usize) -> Vec<(Caller, String)> {
    let address = world.address();
    let served = |number| Caller::served(address, caller_address(number)).unwrap();
    (0..count).map(served).collect()
}

fn cuts(world: &World) -> usize {
    let failovers = world.pinfold.json("/v1/failovers");
    failovers["failovers"].as_array().unwrap().len()
}

/// Pauses one node after another until `wanted` pauses are done, or one lasted too long to promise
/// anything; how many were as they should be.
fn pause(wanted: u32, first_phase: u32) -> u32 {
    let mut world = World::start(3);
    let partner = world.fabrikam();
    let mut idle = callers(&world, 9);
    let node = partner.stats().node.unwrap();
    for number in 0..wanted {
        // Another phase of the probes each time.
        let phase = (first_phase + number) % 10;
        pass(Duration::from_millis(u64::from(phase) * 43));
        let name = if number % 2 == 0 {
            node.clone()
        } else {
            format!("edge{}", number % 3 + 1)
        };
        let begun = Instant::now();
        world.edge(&name).freeze().unwrap();
        pass(PAUSE);
        world.edge(&name).thaw().unwrap();
        if begun.elapsed() > PAUSE_MAX {
            return number;
        }
    }
    let stats = partner.stats();
    assert_eq!((stats.connections, stats.gaps_total), (1, 0), "{stats:?}");
    for (caller, node) in &mut idle {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
    assert_eq!(cuts(&world), 0);
    wanted
}

#[test]
fn a_node_that_is_paused_for_half_a_second_loses_nobody() {
    let _quiet = quiet();
    let complete = (0..5).any(|attempt| pause(PAUSES, attempt * 3) == PAUSES);
    assert!(complete, "this machine is too busy to pause for {PAUSE:?}");
}

#[test]
fn nobody_is_cut_when_every_node_freezes_at_once() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let mut callers = callers(&world, 12);
    for edge in &mut world.edges {
        edge.freeze().unwrap();
    }
    for (caller, _) in &mut callers {
        caller.say("while you slept").unwrap();
    }
    for name in ["edge1", "edge2", "edge3"] {
        world.pinfold.wait_health(name, "down");
    }
    let status = world.pinfold.json("/v1/status");
    assert_eq!(status["listeners"][0]["sessions"], 12, "{status}");
    assert_eq!(status["ready"], false);
    for edge in &mut world.edges {
        edge.thaw().unwrap();
    }
    for (caller, node) in &mut callers {
        assert_eq!(&caller.answer("while you slept").unwrap(), node);
        assert_eq!(&caller.ask("and now").unwrap(), node);
    }
    assert_eq!(cuts(&world), 0);
}

#[test]
fn who_is_frozen_is_not_cut_when_the_other_nodes_are_killed() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let mut callers = callers(&world, 12);
    for name in ["edge1", "edge2"] {
        world.edge(name).freeze().unwrap();
    }
    world.edge("edge3").kill().unwrap();
    for name in ["edge1", "edge2", "edge3"] {
        world.pinfold.wait_health(name, "down");
    }
    for name in ["edge1", "edge2"] {
        world.edge(name).thaw().unwrap();
    }
    let frozen = callers.iter_mut().filter(|(_, node)| node != "edge3");
    let mut count = 0;
    for (caller, node) in frozen {
        assert_eq!(&caller.ask("still here").unwrap(), node);
        count += 1;
    }
    assert!(count >= 4, "only {count} callers were on frozen nodes");
}

#[test]
fn when_every_node_was_killed_the_first_that_is_back_serves_at_once() {
    let mut world = World::start(3);
    let partner = world.fabrikam();
    let pinned = partner.stats().node.unwrap();
    for edge in &mut world.edges {
        edge.kill().unwrap();
    }
    for name in ["edge1", "edge2", "edge3"] {
        world.pinfold.wait_health(name, "down");
    }
    let address = world.address();
    let stranger = Ipv4Addr::new(127, 0, 9, 9);
    assert!(Caller::served(address, stranger).is_err());
    let before = partner.stats().gaps_total;
    world.edge(&pinned).restart().unwrap();
    let back = partner.wait_for(SOON, |stats| stats.gaps_total > before);
    let stats = world.stage.wait(back).expect("served again");
    assert_eq!(stats.node, Some(pinned));
    Caller::served(address, stranger).unwrap();
}
