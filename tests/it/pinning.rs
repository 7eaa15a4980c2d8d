//! Who goes where, and who stays there.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;
use serde_json::{Value, json};

use crate::world::{Caller, FABRIKAM, SOON, World, caller_address, find};

#[test]
fn a_partner_goes_to_one_node_from_all_of_its_addresses() {
    let world = World::start_with(4, |setup| {
        setup.fabrikam_addresses = vec!["127.0.2.0/28".into(), "127.0.3.3/32".into()];
    });
    let mut addresses: Vec<_> = (0..8).map(|last| Ipv4Addr::new(127, 0, 2, last)).collect();
    addresses.push(Ipv4Addr::new(127, 0, 3, 3));
    let served = |address| Caller::served(world.address(), address).unwrap();
    let sessions: Vec<_> = addresses.into_iter().map(served).collect();
    let home = world.pinfold.pin("fabrikam").expect("a pin by its name");
    assert!(sessions.iter().all(|(_, node)| *node == home));
    // The answer is relayed before the session is counted.
    let pins = || world.pinfold.json("/v1/pins");
    let are_counted = || (pins()["pins"][0]["sessions"] == 9).then_some(());
    assert!(wait_until(SOON, are_counted).is_some(), "{}", pins());
    assert_eq!(pins()["pins"].as_array().unwrap().len(), 1, "{}", pins());
}

#[test]
fn clients_without_a_name_spread_and_each_keeps_its_node() {
    let world = World::start(3);
    let served = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    let sessions: Vec<_> = (0..12).map(served).collect();
    for name in ["edge1", "edge2", "edge3"] {
        let count = sessions.iter().filter(|(_, node)| node == name).count();
        assert_eq!(count, 4, "least-sessions spreads evenly");
    }
    for (number, (_, node)) in sessions.iter().enumerate() {
        assert_eq!(&served(number).1, node);
        assert_eq!(
            world
                .pinfold
                .pin(&caller_address(number).to_string())
                .as_ref(),
            Some(node)
        );
    }
}

#[test]
fn an_address_pin_lapses_after_its_time_and_not_while_it_is_used() {
    let ttl = Duration::from_secs(1);
    let world = World::start_with(2, |setup| {
        setup.listeners[0].more = "pin_ttl = \"1s\"".into()
    });
    let name = caller_address(1).to_string();
    let (mut caller, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    crate::world::pass(ttl * 2);
    assert_eq!(
        world.pinfold.pin(&name).as_ref(),
        Some(&node),
        "it is in use"
    );
    assert_eq!(caller.ask("still here").unwrap(), node);
    let ended = Instant::now();
    drop(caller);
    let lapsed = wait_until(SOON, || world.pinfold.pin(&name).is_none().then_some(()));
    assert!(lapsed.is_some(), "it lapses");
    assert!(ended.elapsed() >= ttl, "{:?}", ended.elapsed());
}

#[test]
fn a_preferred_node_is_honoured_and_done_without_while_it_is_down() {
    let mut world = World::start_with(3, |setup| setup.fabrikam = "node = \"edge2\"".into());
    let partner = world.fabrikam();
    assert_eq!(partner.stats().node.as_deref(), Some("edge2"));
    world.stage.wait(partner.stop());

    world.edge("edge2").kill().unwrap();
    world.pinfold.wait_health("edge2", "down");
    let (_, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_ne!(node, "edge2");
}

#[test]
fn a_partners_pin_outlives_its_sessions_and_reloads() {
    let mut world = World::start_with(3, |setup| {
        setup.listeners[0].more = "pin_ttl = \"1s\"".into()
    });
    let (caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    drop(caller);
    world.reload_harmlessly(20);
    crate::world::pass(Duration::from_secs(2));
    assert_eq!(world.pinfold.pin("fabrikam").as_ref(), Some(&home));
    let (_, again) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(again, home);
}

#[test]
fn partners_that_are_written_down_while_they_are_connected_keep_their_nodes() {
    let mut world = World::start(4);
    let served = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    let sessions: Vec<_> = (0..8).map(served).collect();
    let partners: String = (0..8)
        .map(|number| {
            format!(
                "[[partner]]\nname = \"p{number}\"\naddresses = [\"{}\"]\n\
                 generation = \"ocs-2007\"\n",
                caller_address(number)
            )
        })
        .collect();
    world.rewrite(|setup| setup.rest.clone_from(&partners));
    let plan = world.pinfold(&["reload", "--plan"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    for (number, (_, node)) in sessions.iter().enumerate() {
        let line = format!(
            "p{number} keeps {node}, to which {}",
            caller_address(number)
        );
        assert!(plan.contains(&line), "{plan}");
    }
    world.reload_with(|setup| setup.rest.clone_from(&partners));
    for (number, (mut caller, node)) in sessions.into_iter().enumerate() {
        let name = format!("p{number}");
        assert_eq!(world.pinfold.pin(&name).as_ref(), Some(&node));
        assert_eq!(caller.ask("still here").unwrap(), node);
        let again = Caller::served(world.address(), caller_address(number)).unwrap();
        assert_eq!(again.1, node, "{name}");
    }
}

fn partner(world: &World, name: &str) -> Value {
    let partners = world.pinfold.json("/v1/partners");
    find(&partners["partners"], "name", name).clone()
}

#[test]
fn a_partner_that_is_pinned_by_its_address_is_seen_and_one_that_never_came_is_known_to_be_missing()
{
    let mut world = World::start_with(2, |setup| {
        setup.fabrikam = "pin = \"source\"".into();
        setup.rest = "[[partner]]\nname = \"woodgrove\"\naddresses = [\"127.0.8.1/32\"]\n".into();
    });
    let callers = [0, 1].map(|_| Caller::served(world.address(), FABRIKAM).unwrap());
    assert_eq!(partner(&world, "fabrikam")["sessions"], 2);
    // It changes the partner itself.
    world.reload_harmlessly(1);
    assert_eq!(partner(&world, "fabrikam")["sessions"], 2);
    let woodgrove = partner(&world, "woodgrove");
    assert_eq!(
        (&woodgrove["sessions"], &woodgrove["last_used"]),
        (&json!(0), &Value::Null)
    );
    let text = world.pinfold(&["partners"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("fabrikam").contains("now"), "{text}");
    assert!(line("woodgrove").contains("never"), "{text}");

    drop(callers);
    let is_gone = || (partner(&world, "fabrikam")["sessions"] == 0).then_some(());
    assert!(wait_until(SOON, is_gone).is_some());
    assert!(partner(&world, "fabrikam")["last_used"].is_string());
}

#[test]
fn a_partner_that_is_not_pinned_and_lost_one_of_its_connections_is_not_said_to_be_missing() {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "balance = \"round-robin\"".into();
        setup.fabrikam = "pin = \"none\"\nalarm_after = \"1s\"".into();
    });
    let [one, other] = [0, 1].map(|_| Caller::served(world.address(), FABRIKAM).unwrap());
    assert_ne!(one.1, other.1, "round-robin");
    world.edge(&one.1).kill().unwrap();
    world.pinfold.wait_health(&one.1, "down");
    crate::world::pass(Duration::from_millis(2500));
    assert_eq!(world.pinfold.metric("pinfold_partners_not_back"), Some(0.0));
    drop(other);
    let is_missed =
        || (world.pinfold.metric("pinfold_partners_not_back") == Some(1.0)).then_some(());
    assert!(wait_until(SOON, is_missed).is_some());
}

/// The partner "litware", from one address.
fn litware(from: Ipv4Addr) -> String {
    format!(
        "[[partner]]\nname = \"litware\"\ngeneration = \"ocs-2007\"\naddresses = [\"{from}\"]\n"
    )
}

/// Writes "litware" down, whose sessions are there already, until they are known to be its.
fn write_down(world: &mut World, from: Ipv4Addr, sessions: u64) {
    world.reload_with(|setup| setup.rest = litware(from));
    let is_seen = || {
        let litware = partner(world, "litware");
        let of_pin: u64 = litware["pins"][0]["sessions"].as_u64()?;
        (litware["sessions"] == sessions && of_pin == sessions).then_some(())
    };
    let seen = wait_until(SOON, is_seen);
    assert!(seen.is_some(), "{}", partner(world, "litware"));
}

#[test]
fn a_partner_that_is_written_down_is_seen_without_a_reconnect_and_is_moved_by_hand_like_any_other()
{
    let mut world = World::start(2);
    let from = caller_address(1);
    // They say nothing from here on.
    let sessions = [0, 1].map(|_| Caller::served(world.address(), from).unwrap());
    let (mut stranger, _) = Caller::served(world.address(), caller_address(2)).unwrap();
    let home = sessions[0].1.clone();
    write_down(&mut world, from, 2);
    assert!(stranger.ask("still here").is_ok());

    let to = ["edge1", "edge2"].into_iter().find(|node| *node != home);
    let moved = world.pinfold(&["pin", "litware", to.unwrap(), "--now"]);
    assert!(moved.status.success(), "{moved:?}");
    for (mut caller, _) in sessions {
        assert!(caller.ends_within(SOON), "what is elsewhere is ended");
    }
    world.pinfold.wait_ended("moved", 2);
    assert!(stranger.ask("still here").is_ok());
    let is_gone = || (partner(&world, "litware")["sessions"] == 0).then_some(());
    assert!(wait_until(SOON, is_gone).is_some());
    let litware = partner(&world, "litware");
    assert_eq!(litware["pins"][0]["sessions"], 0, "{litware}");
}

#[test]
fn a_partner_that_was_written_down_while_it_was_idle_is_missed_when_its_node_dies() {
    let mut world = World::start(2);
    let from = caller_address(1);
    let (mut caller, home) = Caller::served(world.address(), from).unwrap();
    write_down(&mut world, from, 1);
    // A frozen node: its sessions are cut by the verdict, and not by a kernel.
    world.edge(&home).freeze().unwrap();
    assert!(caller.ends_within(SOON));
    let missed = wait_until(SOON, || {
        let failovers = world.pinfold.json("/v1/failovers");
        let partners = failovers["failovers"].as_array()?.last()?["partners"].clone();
        (partners[0]["partner"] == "litware").then_some(())
    });
    assert!(missed.is_some(), "{}", world.pinfold.json("/v1/failovers"));
}

#[test]
fn a_partner_that_is_written_down_while_its_session_is_being_opened_is_seen_once_a_node_answers() {
    let mut world = World::start(1);
    let from = caller_address(1);
    world.edge("edge1").freeze().unwrap();
    let mut caller = Caller::connect(world.address(), from).unwrap();
    caller.say("anybody there").unwrap();
    let is_there = || {
        let sessions = world.pinfold.json("/v1/sessions");
        (sessions["nodes"][0]["sessions"] == 1).then_some(())
    };
    assert!(wait_until(SOON, is_there).is_some());
    world.reload_with(|setup| setup.rest = litware(from));
    assert_eq!(partner(&world, "litware")["sessions"], 0);
    world.edge("edge1").thaw().unwrap();
    caller.answer("anybody there").unwrap();
    let is_seen = || {
        let litware = partner(&world, "litware");
        let is_held = litware["pins"][0]["sessions"] == 1;
        (litware["sessions"] == 1 && is_held).then_some(())
    };
    let seen = wait_until(SOON, is_seen);
    assert!(seen.is_some(), "{}", partner(&world, "litware"));
}

#[test]
fn what_is_left_on_a_dead_node_does_not_hide_that_a_partner_never_came_back() {
    let mut world = World::start_with(3, |setup| {
        setup.pool = "balance = \"round-robin\"".into();
        setup.listeners[0].more = "on_node_down = \"leave\"".into();
        setup.fabrikam = "pin = \"none\"\nalarm_after = \"1s\"".into();
    });
    let [mut killed, mut left] = [0, 1].map(|_| Caller::served(world.address(), FABRIKAM).unwrap());
    assert_ne!(killed.1, left.1, "round-robin");
    world.edge(&left.1).freeze().unwrap();
    world.pinfold.wait_health(&left.1, "down");
    world.edge(&killed.1).kill().unwrap();
    assert!(killed.0.ends_within(SOON));
    drop(killed);
    let is_missed =
        || (world.pinfold.metric("pinfold_partners_not_back") == Some(1.0)).then_some(());
    assert!(wait_until(SOON, is_missed).is_some());
    // It is there all the same, and is served again if its node lives.
    assert_eq!(partner(&world, "fabrikam")["sessions"], 1);
    let node = left.1.clone();
    world.edge(&node).thaw().unwrap();
    assert_eq!(left.0.ask("still here").unwrap(), node);
}

#[test]
fn a_session_left_on_a_dead_node_that_turns_out_to_be_a_partners_does_not_mean_that_it_is_back() {
    let stranger = caller_address(5);
    let mut world = World::start_with(3, |setup| {
        setup.pool = "balance = \"round-robin\"".into();
        setup.listeners[0].more = "on_node_down = \"leave\"".into();
        setup.fabrikam = "pin = \"none\"\nalarm_after = \"5s\"".into();
    });
    let (mut killed, first) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.edge(&first).kill().unwrap();
    assert!(killed.ends_within(SOON));
    drop(killed);
    // It came after the loss, and might be taken for the partner's return.
    let (mut left, second) = Caller::served(world.address(), stranger).unwrap();
    world.edge(&second).freeze().unwrap();
    world.pinfold.wait_health(&second, "down");
    world.reload_with(|setup| {
        setup.fabrikam_addresses.push(format!("{stranger}/32"));
    });
    let is_named = || (partner(&world, "fabrikam")["sessions"] == 1).then_some(());
    assert!(wait_until(SOON, is_named).is_some());
    let is_missed =
        || (world.pinfold.metric("pinfold_partners_not_back") == Some(1.0)).then_some(());
    assert!(wait_until(SOON, is_missed).is_some());
    world.edge(&second).thaw().unwrap();
    assert_eq!(left.ask("still here").unwrap(), second);
}
