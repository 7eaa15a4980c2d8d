//! What follows a failover: who is admitted how fast, who goes where, and when the node takes part again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, Listener, SOON, World, caller_address, edge, find};

/// Strangers who are connected when a node dies, and call again and again until they are served.
fn strangers(world: &World, count: usize) -> Vec<Caller> {
    let served = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    (0..count).map(|number| served(number).0).collect()
}

#[test]
fn partners_are_admitted_at_once_and_strangers_at_the_pace_while_the_pool_recovers() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "max_new_per_node = \"20/s\"\nbalance = \"round-robin\"".into();
    });
    let callers = strangers(&world, 80);
    let fabrikam = world.fabrikam();
    let (before, node) = (fabrikam.stats(), fabrikam.stats().node.unwrap());
    let began = Instant::now();
    world.edge(&node).kill().unwrap();
    let back = fabrikam.wait_for(SOON, |stats| stats.gaps_total > before.gaps_total);
    world.stage.wait(back).expect("the partner is served again");
    // Its forty strangers call again at once, and others with them.
    let mut admitted = 0_u32;
    let mut refused = 0_u32;
    for number in 100..200 {
        match Caller::served(world.address(), caller_address(number)) {
            Ok(_) => admitted += 1,
            Err(_) => refused += 1,
        }
        let most = 20.0 * began.elapsed().as_secs_f64() + 3.0;
        assert!(f64::from(admitted) <= most, "{admitted} of at most {most}");
        if admitted >= 20 {
            break;
        }
    }
    let gap = fabrikam.stats().gaps.last().unwrap().duration;
    assert!(
        gap < Duration::from_secs(1),
        "the partner waited for nobody: {gap:?}"
    );
    assert!(
        admitted >= 20,
        "they are held, not turned away: {admitted}, and {refused} refused"
    );
    drop(callers);
}

#[test]
fn at_other_times_strangers_are_not_paced() {
    let world = World::start_with(2, |setup| {
        setup.pool = "max_new_per_node = \"1/m\"".into();
    });
    assert_eq!(strangers(&world, 40).len(), 40);
}

#[test]
fn whoever_would_wait_too_long_is_reset_and_counted() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "max_new_per_node = \"1/m\"\nbalance = \"round-robin\"".into();
    });
    let callers = strangers(&world, 8);
    world.edge("edge1").kill().unwrap();
    world.pinfold.wait_health("edge1", "down");
    let refused = (100..104)
        .filter(|number| Caller::served(world.address(), caller_address(*number)).is_err());
    assert!(refused.count() >= 3, "one a minute");
    let sessions = world.pinfold.json("/v1/sessions");
    let outcomes = &sessions["listeners"][0]["outcomes"];
    assert!(
        find(outcomes, "outcome", "refused-pace")["sessions"]
            .as_u64()
            .unwrap()
            >= 3
    );
    drop(callers);
}

#[test]
fn a_node_that_is_dead_inside_is_left_outside() {
    let inside: Vec<_> = ["edge1", "edge2"].map(edge).into();
    let mut world = World::start_with(2, |setup| {
        for ((_, text), inside) in setup.nodes.iter_mut().zip(&inside) {
            let _ = write!(
                text,
                "\naddresses = {{ internal = \"{}\" }}",
                inside.address()
            );
        }
        setup.listeners[0].more = "needs = [\"internal-sip\"]".into();
        setup
            .listeners
            .push(Listener::new("internal-sip", "internal-sip"));
        setup.listeners[1].more =
            "[listener.probe]\ninterval = \"200ms\"\nfast_interval = \"50ms\"".into();
    });
    let fabrikam = world.fabrikam();
    let before = fabrikam.stats();
    let node = before.node.clone().unwrap();
    let (dead, alive): (Vec<_>, Vec<_>) =
        inside.into_iter().partition(|inside| inside.name() == node);
    drop(dead);
    let back = fabrikam.wait_for(SOON, |stats| stats.gaps_total > before.gaps_total);
    let after = world
        .stage
        .wait(back)
        .expect("it is moved although its own node answers");
    assert_ne!(after.node.unwrap(), node);
    let services = world.pinfold.node(&node)["services"].clone();
    let federation = services.as_array().unwrap().iter();
    let mut federation = federation.filter(|each| each["listeners"][0] == "federation");
    let evidence = &federation.next().unwrap()["evidence"];
    assert_eq!(evidence, "down on a listener that this one needs");
    // The file changes its mind: the node is held as after any failure, and then is one of them again.
    world.reload_with(|setup| setup.listeners[0].more = String::new());
    let held = wait_until(SOON, || {
        let services = world.pinfold.node(&node)["services"].clone();
        let mut services = services.as_array()?.iter();
        services.find(|each| each["listeners"][0] == "federation" && each["health"] == "up")?;
        Some(())
    });
    held.expect("it needs nobody any more");
    drop(alive);
}

/// Partners "p0" to "p9", each with an address of its own.
fn legacy_partners(count: u8) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(
            text,
            "[[partner]]\nname = \"p{number}\"\naddresses = [\"127.0.8.{number}/32\"]\n\
             generation = \"ocs-2007\"\n"
        );
    }
    text
}

/// How many partners each node has.
fn shares(world: &World) -> BTreeMap<String, usize> {
    let pins = world.pinfold.json("/v1/pins");
    let mut shares = BTreeMap::new();
    for pin in pins["pins"].as_array().unwrap() {
        *shares
            .entry(pin["node"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    shares
}

#[test]
fn no_node_has_more_than_its_share_of_legacy_partners_before_and_after_a_failover() {
    let mut world = World::start_with(3, |setup| {
        setup.pool = "max_share = \"40%\"\nreturn_after = \"30s\"".into();
        setup.rest = legacy_partners(10);
    });
    let call = |number| Caller::served(world.address(), Ipv4Addr::new(127, 0, 8, number)).unwrap();
    let callers: Vec<_> = (0..10).map(call).collect();
    let placed = shares(&world);
    assert_eq!(placed.values().sum::<usize>(), 10);
    assert!(placed.values().all(|count| *count <= 4), "{placed:?}");
    world.edge("edge1").kill().unwrap();
    let moved = wait_until(SOON, || {
        let now = shares(&world);
        (!now.contains_key("edge1")).then_some(now)
    });
    // Four in a hundred is more than ten have; two nodes have to take them all the same.
    let moved = moved.expect("all pins leave the dead node");
    assert_eq!(moved.values().sum::<usize>(), 10);
    assert!(moved.values().all(|count| *count <= 6), "{moved:?}");
    drop(callers);
}

#[test]
fn a_node_that_comes_and_goes_is_kept_down_and_says_until_when() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "flap = \"2 in 10m, hold 5m\"\nreturn_after = \"0s\"".into();
    });
    let address = world.edge("edge1").address();
    for _ in 0..2 {
        world.edge("edge1").kill().unwrap();
        world.pinfold.wait_health("edge1", "down");
        world.edge("edge1").restart().unwrap();
        assert_eq!(world.edge("edge1").address(), address);
        let answers = wait_until(SOON, || {
            let service = &world.pinfold.node("edge1")["services"][0];
            (service["evidence"] == "probe answered").then_some(())
        });
        answers.expect("it answers again");
        let settled = wait_until(SOON, || {
            let service = &world.pinfold.node("edge1")["services"][0];
            (service["health"] == "up" || !service["held_until"].is_null()).then_some(())
        });
        settled.expect("it is back, or kept down");
    }
    let service = world.pinfold.node("edge1")["services"][0].clone();
    assert_eq!(service["health"], "down", "{service}");
    assert!(service["held_until"].is_string(), "{service}");
    world.pinfold.post("/v1/nodes/edge1/resume").unwrap();
    world.pinfold.wait_health("edge1", "up");
}
