//! A node that was down comes back: when it takes part again, and how much it is given.

use std::ops::Range;
use std::time::Duration;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, SOON, World, caller_address};

/// Kills "edge1" and lets it come back, with nobody on it.
fn return_edge1(world: &mut World) {
    world.edge("edge1").kill().unwrap();
    world.pinfold.wait_health("edge1", "down");
    world.edge("edge1").restart().unwrap();
    world.pinfold.wait_health("edge1", "up");
}

/// Strangers who stay; how many of them "edge1" was given.
fn come(world: &World, callers: &mut Vec<Caller>, numbers: Range<usize>) -> usize {
    let mut given = 0;
    for number in numbers {
        let (caller, node) = Caller::served(world.address(), caller_address(number)).unwrap();
        given += usize::from(node == "edge1");
        callers.push(caller);
    }
    given
}

#[test]
fn a_node_that_returned_takes_its_share_of_newcomers_little_by_little() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "return_after = \"0s\"\nwarm_up = \"1h\"".into();
    });
    return_edge1(&mut world);
    let mut callers = Vec::new();
    // It has the fewest sessions, so without a warm-up all of them would be its.
    let given = come(&world, &mut callers, 0..40);
    assert!(
        given <= 2,
        "{given} of 40, of which it is to have one in a hundred"
    );
    world.reload_with(|setup| setup.pool = "return_after = \"0s\"\nwarm_up = \"2s\"".into());
    let warm = wait_until(SOON, || {
        let told = world.pinfold.json("/v1/explain/127.9.9.9");
        let nodes = told["places"][0]["candidates"].as_array()?.clone();
        let edge1 = nodes.into_iter().find(|node| node["node"] == "edge1")?;
        (edge1["warmth"] == 100).then_some(())
    });
    assert!(warm.is_some(), "its share grows to the whole");
    assert_eq!(come(&world, &mut callers, 100..110), 10);
}

#[test]
fn a_node_that_is_to_be_let_back_by_hand_stays_out_until_then() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "return_after = \"manual\"\nwarm_up = \"0s\"".into();
    });
    return_edge1(&mut world);
    let mut callers = Vec::new();
    assert_eq!(come(&world, &mut callers, 0..20), 0);
    let attention = || world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(attention().contains("HELD edge1"), "{}", attention());
    assert!(
        attention().contains("pinfold resume edge1"),
        "{}",
        attention()
    );
    assert!(world.pinfold(&["resume", "edge1"]).status.success());
    let taken = wait_until(SOON, || {
        let number = 100 + callers.len();
        (come(&world, &mut callers, number..number + 1) == 1).then_some(())
    });
    assert!(taken.is_some(), "it takes sessions again");
    assert!(!attention().contains("HELD"), "{}", attention());
}

#[test]
fn a_pool_has_recovered_once_as_many_are_back_as_were_displaced_and_no_sooner() {
    for displaced in [1, 2] {
        let mut world = World::start_with(2, |setup| {
            setup.pool = "max_new_per_node = \"1/m\"\nbalance = \"round-robin\"".into();
        });
        let mut callers = Vec::new();
        let given = come(&world, &mut callers, 0..2 * displaced);
        assert_eq!(given, displaced, "as many on each");
        world.edge("edge1").kill().unwrap();
        world.pinfold.wait_health("edge1", "down");
        assert_eq!(
            come(&world, &mut callers, 100..101),
            0,
            "one is back at once"
        );
        // For a second nobody knows how many were displaced, and everybody keeps the pace.
        let call = |number| Caller::served(world.address(), caller_address(number)).ok();
        let limit = if displaced == 1 {
            SOON
        } else {
            Duration::from_secs(2)
        };
        let next = wait_until(limit, || call(101));
        assert_eq!(next.is_some(), displaced == 1, "{displaced} were displaced");
        if displaced == 1 {
            let others = (110..130).filter_map(call).count();
            assert_eq!(others, 20, "all at once, and not one a minute");
        }
    }
}
