//! What follows a failover: who is admitted how fast, who goes where, and when the node takes part again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pinfold_loadtest::background;
use pinfold_loadtest::process::{Signal, wait_until};

use crate::world::{Caller, FABRIKAM, Listener, Pinfold, SOON, World, caller_address, edge, find};

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
    // Until the verdict nobody knows that there is anything to recover from.
    world.pinfold.wait_health(&node, "down");
    // Its forty strangers call again at once, and others with them.
    let mut admitted = 0_u32;
    let mut refused = 0_u32;
    for number in 100..200 {
        match Caller::served(world.address(), caller_address(number)) {
            Ok(_) => admitted += 1,
            Err(_) => refused += 1,
        }
        let most = 20.0 * began.elapsed().as_secs_f64() + 6.0;
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
    let placed = wait_until(SOON, || {
        let now = shares(&world);
        (now.values().sum::<usize>() == 10).then_some(now)
    });
    let placed = placed.expect("all are pinned");
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

/// A world of two nodes in which fabrikam was moved away from its node, which is up again; the two nodes,
/// home first.
fn moved_away(lines: &str) -> (World, Caller, [String; 2]) {
    let mut world = World::start_with(2, |setup| {
        setup.pool = "return_after = \"0s\"".into();
        setup.fabrikam = lines.into();
    });
    let (caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    drop(caller);
    world.edge(&home).kill().unwrap();
    let moved = wait_until(SOON, || {
        world.pinfold.pin("fabrikam").filter(|node| *node != home)
    });
    let away = moved.expect("the pin leaves the dead node");
    let (caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, away);
    world.edge(&home).restart().unwrap();
    world.pinfold.wait_health(&home, "up");
    (world, caller, [home, away])
}

/// Why fabrikam is pinned where it is.
fn pinned_by(world: &World) -> String {
    let pins = world.pinfold.json("/v1/pins");
    let pins = pins["pins"].as_array().unwrap().iter();
    let mut fabrikam = pins.filter(|pin| pin["subject"]["name"] == "fabrikam");
    fabrikam.next().unwrap()["by"].as_str().unwrap().to_owned()
}

#[test]
fn a_partner_returns_once_it_has_been_idle_and_never_behind_its_back() {
    let lines = "failback = \"idle\"\nfailback_idle = \"3s\"";
    let (world, mut caller, [home, away]) = moved_away(lines);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(
            caller.ask("still here").unwrap(),
            away,
            "who talks is left alone"
        );
    }
    let back = wait_until(SOON, || {
        (world.pinfold.pin("fabrikam")? == home).then_some(())
    });
    back.expect("it returns when it has been idle");
    assert!(
        caller.ends_within(SOON),
        "its session on the other node ends with that"
    );
    assert_eq!(Caller::served(world.address(), FABRIKAM).unwrap().1, home);
    assert_eq!(pinned_by(&world), "failback");
}

/// A window that is open for hours to come, whatever the time is.
fn open_window() -> String {
    let is_morning = Timestamp::now().strftime("%H").to_string().as_str() < "12";
    let window = if is_morning {
        "23:00-14:00"
    } else {
        "11:00-02:00"
    };
    format!("failback = \"window\"\nfailback_window = \"daily {window} UTC\"")
}

#[test]
fn in_its_window_a_partner_returns_even_while_it_talks() {
    let lines = open_window();
    let (world, caller, [home, _]) = moved_away(&lines);
    let back = wait_until(SOON, || {
        (world.pinfold.pin("fabrikam")? == home).then_some(())
    });
    back.expect("the window is open");
    drop(caller);
}

#[test]
fn a_return_is_undone_when_the_partner_does_not_come_back() {
    let lines = open_window() + "\nalarm_after = \"1s\"";
    let (world, mut caller, [_, away]) = moved_away(&lines);
    assert!(caller.ends_within(SOON), "it is sent back");
    let reverted = wait_until(SOON, || {
        (world.pinfold.pin("fabrikam")? == away && pinned_by(&world) == "reverted").then_some(())
    });
    reverted.expect("nobody came to its node");
    assert!(world.pinfold.process.output().contains("failback-reverted"));
}

#[test]
fn a_return_under_way_is_undone_and_not_tried_again_whatever_happens_to_the_process() {
    let lines = open_window() + "\nalarm_after = \"2s\"";
    let (mut world, mut caller, [_, away]) = moved_away(&lines);
    assert!(caller.ends_within(SOON), "it is sent back");
    // Each change has long been written when its effect is seen from outside.
    let again = |world: &mut World| {
        crate::world::pass(Duration::from_millis(100));
        world.pinfold.process.signal(Signal::KILL).unwrap();
        world.pinfold.process.wait_exit(SOON).expect("it ends");
        world.pinfold = Pinfold::start(&world.directory);
        world.pinfold.wait_ready();
    };
    again(&mut world);
    assert_eq!(pinned_by(&world), "failback");
    let is_reverted = |world: &World| {
        world.pinfold.pin("fabrikam").unwrap() == away && pinned_by(world) == "reverted"
    };
    let reverted = wait_until(SOON, || is_reverted(&world).then_some(()));
    reverted.expect("nobody came to its node");
    again(&mut world);
    world.wait_all_up();
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert!(is_reverted(&world), "once a window is enough");
    }
}

#[test]
fn a_partner_that_stays_stays() {
    let (world, mut caller, [_, away]) = moved_away("failback = \"stay\"");
    assert!(!caller.ends_within(Duration::from_secs(3)));
    assert_eq!(world.pinfold.pin("fabrikam"), Some(away));
}

#[test]
fn a_process_that_is_frozen_behind_a_tcp_probe_is_found_by_its_traffic() {
    for kind in ["tcp", "none"] {
        let mut world = World::start_with(2, |setup| {
            setup.pool = "balance = \"round-robin\"".into();
            setup.listeners[0].more = format!("[listener.probe]\nkind = \"{kind}\"");
        });
        let bystanders = world.stage.background(background::Plan {
            interval: Duration::from_millis(50),
            ..background::Plan::new(world.address(), 12)
        });
        let fabrikam = world.fabrikam();
        let before = fabrikam.stats();
        let node = before.node.clone().unwrap();
        world.edge(&node).freeze().unwrap();
        let back = fabrikam.wait_for(SOON, |stats| stats.gaps_total > before.gaps_total);
        let after = world.stage.wait(back).expect("its traffic tells");
        let gap = after.gaps.last().unwrap();
        assert!(gap.duration < Duration::from_secs(5), "{kind}: {gap:?}");
        assert_ne!(gap.to_node, node);
        let service = world.pinfold.node(&node)["services"][0].clone();
        assert!(
            service["evidence"]
                .as_str()
                .unwrap()
                .starts_with("bytes of several clients")
        );
        drop(bystanders);
    }
}

#[test]
fn a_quiet_node_behind_a_tcp_probe_is_left_alone() {
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "[listener.probe]\nkind = \"tcp\"".into();
    });
    let (mut lonely, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    // Others are busy on the other node only.
    let mut busy = Vec::new();
    for number in 0..20 {
        let (caller, other) = Caller::served(world.address(), caller_address(number)).unwrap();
        if other != node {
            busy.push(caller);
        }
    }
    world.edge(&node).freeze().unwrap();
    lonely.say("is anybody there?").unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        busy.iter_mut()
            .for_each(|caller| drop(caller.ask("busy").unwrap()));
    }
    world.edge(&node).thaw().unwrap();
    assert_eq!(
        lonely.answer("is anybody there?").unwrap(),
        node,
        "one client proves nothing"
    );
}

#[test]
fn clients_that_have_had_their_answers_do_not_wait_with_the_one_that_asks_in_vain() {
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "[listener.probe]\nkind = \"tcp\"".into();
    });
    let served = |number| Caller::served(world.address(), caller_address(number)).unwrap();
    let callers: Vec<_> = (0..12).map(served).collect();
    let node = callers[0].1.clone();
    let (mut there, mut busy): (Vec<_>, Vec<_>) =
        callers.into_iter().partition(|(_, on)| *on == node);
    assert!(there.len() > 1 && !busy.is_empty(), "they spread");
    world.edge(&node).freeze().unwrap();
    there[0].0.say("is anybody there?").unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        busy.iter_mut()
            .for_each(|(caller, _)| drop(caller.ask("busy").unwrap()));
        let health = world.pinfold.node(&node)["services"][0]["health"].clone();
        assert_ne!(health, "down", "one client proves nothing");
    }
    world.edge(&node).thaw().unwrap();
    assert_eq!(there[0].0.answer("is anybody there?").unwrap(), node);
    for (caller, _) in &mut there[1..] {
        assert_eq!(caller.ask("good morning").unwrap(), node);
    }
}

#[test]
fn a_partner_that_was_active_and_never_came_back_is_told_of_after_its_time() {
    let mut world = World::start_with(2, |setup| {
        setup.fabrikam = "alarm_after = \"1s\"".into();
    });
    let attention = |world: &World| world.pinfold.json("/v1/status")["attention"].to_string();
    let (mut caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.edge(&node).kill().unwrap();
    assert!(caller.ends_within(SOON));
    let told = wait_until(SOON, || {
        attention(&world)
            .contains("NOT BACK fabrikam")
            .then_some(())
    });
    told.expect("the alarm is raised");
    assert_eq!(world.pinfold.metric("pinfold_partners_not_back"), Some(1.0));
    let is_told = |line: &str| line.contains("partner-not-back");
    let line = world.pinfold.process.wait_line(SOON, is_told);
    line.expect("it is told in the log");
    let _back = Caller::served(world.address(), FABRIKAM).unwrap();
    let over = wait_until(SOON, || {
        (!attention(&world).contains("NOT BACK")).then_some(())
    });
    over.expect("it is over when the partner comes");
    assert_eq!(world.pinfold.metric("pinfold_partners_not_back"), Some(0.0));
}
