//! `pinfold maintain` and `pinfold drill`: a node is emptied partner by partner, or all of it is undone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::time::Duration;

use pinfold_loadtest::process::{Process, Signal, wait_until};
use serde_json::{Value, json};

use crate::world::{Caller, FABRIKAM, Pinfold, SOON, World, caller_address, pass};

/// The pin of "fabrikam" as it is listed.
fn pin(world: &World) -> Value {
    let pins = world.pinfold.json("/v1/pins");
    let mut pins = pins["pins"].as_array().unwrap().iter();
    let pin = pins.find(|pin| pin["subject"]["name"] == "fabrikam");
    pin.cloned().unwrap_or_default()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn maintain(world: &World, words: &[&str]) -> (String, Option<i32>) {
    let output = world.pinfold(&[&["maintain"], words].concat());
    (told(&output), output.status.code())
}

/// Callers from many addresses, some of them on `node`.
fn callers(world: &World, node: &str) -> Vec<Caller> {
    let callers =
        (0..20).map(|number| Caller::served(world.address(), caller_address(number)).unwrap());
    let callers: Vec<_> = callers.collect();
    let count = callers.iter().filter(|(_, on)| on == node).count();
    assert!(count > 0, "some are on {node}");
    callers
        .into_iter()
        .filter(|(_, on)| on == node)
        .map(|(caller, _)| caller)
        .collect()
}

#[test]
fn a_node_is_emptied_and_says_that_it_is_safe_and_its_partner_returns_as_configured() {
    let mut world = World::start_with(2, |setup| {
        setup.fabrikam = "failback = \"idle\"\nfailback_idle = \"1s\"".into();
        setup.pool = "balance = \"round-robin\"".into();
    });
    let partner = world.fabrikam();
    let home = world.pinfold.pin("fabrikam").unwrap();
    let users = callers(&world, &home);
    let drill = world.pinfold.json(&format!("/v1/drill/{home}"));
    assert_eq!(drill["partners"][0]["partner"], "fabrikam", "{drill}");
    assert_eq!(drill["users"][0]["sessions"], json!(users.len()), "{drill}");
    assert_eq!(drill["holds"], true, "{drill}");
    let to = drill["partners"][0]["to"].as_str().unwrap().to_owned();
    assert_ne!(to, home);

    let (text, code) = maintain(
        &world,
        &[&home, "--reason", "CHG0099001", "--pace", "1000/s"],
    );
    assert_eq!(code, Some(0), "{text}");
    for expected in [
        &format!("moved  {home} → {to}   back in"),
        "SAFE TO PATCH",
        "Stop-CsWindowsService -Graceful",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert_eq!(world.pinfold.node(&home)["sessions"], 0);
    for mut user in users {
        assert!(user.ends_within(SOON), "who was on {home} is ended");
    }
    let moved = pin(&world);
    assert_eq!(
        (&moved["node"], &moved["by"]),
        (&json!(to), &json!("maintenance")),
        "{moved}"
    );
    assert_eq!(
        (&moved["home"], &moved["order"]["reason"]),
        (&json!(home), &json!("CHG0099001")),
        "{moved}"
    );
    assert_eq!(world.pinfold.node(&home)["state"], "draining");
    assert_eq!(
        world.pinfold.node(&home)["administered"]["reason"],
        "CHG0099001"
    );

    // All of it is on the disk, and not by hand: resumed, and idle, the partner goes home.
    drop(partner);
    world.pinfold.process.signal(Signal::KILL).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    world.wait_all_up();
    assert_eq!(pin(&world)["order"]["reason"], "CHG0099001");
    assert_eq!(pin(&world)["node"], json!(to), "not while it drains");
    assert!(world.pinfold(&["resume", &home]).status.success());
    let is_home = wait_until(SOON, || (pin(&world)["node"] == json!(home)).then_some(()));
    assert!(is_home.is_some(), "{}", pin(&world));
}

#[test]
fn a_partner_that_does_not_come_back_undoes_it_and_a_pin_by_hand_is_by_hand_again() {
    let world = World::start_with(2, |setup| setup.fabrikam = "alarm_after = \"1s\"".into());
    assert!(
        world
            .pinfold(&["pin", "fabrikam", "edge1", "--reason", "CHG 1"])
            .status
            .success()
    );
    // It is busy, and has nothing that connects again.
    let (mut caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, "edge1");
    let (text, code) = maintain(&world, &["edge1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("fabrikam did not come back within 1 s"),
        "{text}"
    );
    assert!(text.contains("extension"), "whom to call: {text}");
    assert!(caller.ends_within(SOON));
    let back = pin(&world);
    assert_eq!(
        (&back["node"], &back["by"]),
        (&json!("edge1"), &json!("by-hand")),
        "{back}"
    );
    assert_eq!(back["order"]["reason"], "CHG 1", "{back}");
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
    assert_eq!(
        Caller::served(world.address(), FABRIKAM).unwrap().1,
        "edge1"
    );
}

#[test]
fn a_maintenance_that_lasts_longer_than_its_window_is_undone_and_one_that_does_not_is_not() {
    let world = World::start_with(2, |setup| setup.fabrikam = "alarm_after = \"1h\"".into());
    // It is busy, and would be waited for for an hour.
    let (mut caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    let (text, code) = maintain(&world, &[&home, "--window", "1s"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("it lasted longer than --window"), "{text}");
    assert!(caller.ends_within(SOON), "it was moved before");
    assert_eq!(pin(&world)["node"], json!(home), "{text}");
    let node = world.pinfold.node(&home);
    assert_eq!(node["state"], "active", "{node}");
    assert_eq!(node["administered"], Value::Null, "{node}");

    // How long, and not when: nothing is begun by whoever means a time of day.
    for (window, why) in [
        ("Sat 02:00-05:00", "no time of day"),
        ("05:00", "no time of day"),
        ("0s", "no time"),
    ] {
        let (text, code) = maintain(&world, &[&home, "--window", window]);
        assert_eq!(code, Some(64), "{text}");
        assert!(text.contains(why), "{text}");
        assert_eq!(world.pinfold.node(&home)["administered"], Value::Null);
    }

    let partner = world.fabrikam();
    let (text, code) = maintain(&world, &[&home, "--window", "5m"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(world.pinfold.node(&home)["state"], "draining");
    drop(partner);
}

#[test]
fn undoing_a_maintenance_leaves_alone_whom_an_earlier_one_has_moved() {
    let mut world = World::start(2);
    let partner = world.fabrikam();
    let home = world.pinfold.pin("fabrikam").unwrap();
    let (text, code) = maintain(&world, &[&home]);
    assert_eq!(code, Some(0), "{text}");
    assert!(world.pinfold(&["resume", &home]).status.success());
    let stays = pin(&world);
    assert_eq!(
        (&stays["by"], &stays["home"]),
        (&json!("maintenance"), &json!(home))
    );

    for is_restarted in [false, true] {
        if is_restarted {
            // The moment is kept to the second.
            pass(Duration::from_secs(1));
        }
        let (text, code) = maintain(&world, &[&home]);
        assert_eq!(code, Some(0), "{text}");
        if is_restarted {
            world.pinfold.process.signal(Signal::KILL).unwrap();
            world.pinfold.process.wait_exit(SOON).expect("it ends");
            world.pinfold = Pinfold::start(&world.directory);
            world.pinfold.wait_ready();
            world.wait_all_up();
        }
        let (text, code) = maintain(&world, &[&home, "--undo"]);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(pin(&world)["node"], stays["node"], "{text}");
        assert_eq!(world.pinfold.node(&home)["state"], "active");
    }
    drop(partner);
}

/// What an administrator wants of a node, without the maintenance.
fn word(world: &World, node: &str) -> Value {
    let mut word = world.pinfold.node(node)["administered"].take();
    if let Some(word) = word.as_object_mut() {
        word.remove("maintenance");
    }
    word
}

#[test]
fn a_node_that_did_not_take_sessions_before_its_maintenance_does_not_take_them_after_it_is_undone()
{
    let mut world = World::start_with(2, |setup| setup.fabrikam = "alarm_after = \"1s\"".into());
    let partner = Caller::served(world.address(), FABRIKAM).unwrap();
    let home = partner.1.clone();
    let drained = world.pinfold(&["drain", &home, "--reason", "CHG 1", "--deadline", "1h"]);
    assert!(drained.status.success(), "{}", told(&drained));
    let before = word(&world, &home);
    assert_eq!(before["reason"], "CHG 1", "{before}");

    // The partner does not come back: undone by itself.
    let (text, code) = maintain(&world, &[&home, "--reason", "CHG 2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is draining as before"), "{text}");
    assert_eq!(word(&world, &home), before);
    assert_eq!(pin(&world)["node"], json!(home));

    // It succeeds, lasts over a kill, and is undone by hand.
    let (text, code) = maintain(&world, &[&home, "--reason", "CHG 3"]);
    assert_eq!(code, Some(0), "{text}");
    world.pinfold.process.signal(Signal::KILL).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    world.wait_all_up();
    let begun = &world.pinfold.node(&home)["administered"]["maintenance"];
    assert_eq!(begun["reason"], "CHG 3", "{begun}");
    let (text, code) = maintain(&world, &[&home, "--undo"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(word(&world, &home), before);
    let begun = &world.pinfold.node(&home)["administered"]["maintenance"];
    assert_eq!(*begun, Value::Null);

    // Nor does one that the file has disabled.
    assert!(world.pinfold(&["resume", &home]).status.success());
    let other = if home == "edge1" { "edge2" } else { "edge1" };
    world.reload_with(|setup| {
        let mut nodes = setup.nodes.iter_mut();
        let (_, lines) = nodes.find(|(name, _)| name == other).unwrap();
        lines.push_str("\nstate = \"disabled\"");
    });
    let (text, code) = maintain(&world, &[other]);
    assert_eq!(code, Some(0), "{text}");
    let (text, code) = maintain(&world, &[other, "--undo"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is disabled as before"), "{text}");
    assert_eq!(word(&world, other), Value::Null);
    drop(partner);
}

#[test]
fn of_one_pool_one_node_is_maintained_at_a_time_and_the_second_is_told_by_whom() {
    let world = World::start_with(3, |setup| setup.pool = "balance = \"round-robin\"".into());
    let users = callers(&world, "edge1");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["maintain", "edge1", "--pace", "1/m", "--reason", "CHG 1"]);
    let admin = format!("unix:{}", world.directory.admin().display());
    let mut conductor = Process::spawn(command.env("PINFOLD_ADMIN", admin)).unwrap();
    world.pinfold.wait_ended("drained", 1);

    let (text, code) = maintain(&world, &["edge2"]);
    assert_eq!(code, Some(69), "{text}");
    for expected in [
        "edge1 (pool edge) is under maintenance, begun by",
        "uid",
        "(\"CHG 1\")",
        "pinfold resume edge1",
        "pinfold maintain edge1 --undo",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert_eq!(world.pinfold.node("edge2")["state"], "active");
    // Nor is any single step done beside it.
    let partner = Caller::served(world.address(), FABRIKAM).unwrap();
    let at = world.pinfold.pin("fabrikam").unwrap();
    assert_ne!(at, "edge1");
    for step in ["move?partner=fabrikam", "end?sessions=9"] {
        let answer = world.pinfold.post(&format!("/v1/nodes/{at}/{step}"));
        let answer = answer.unwrap();
        assert_eq!(answer.status, 409, "{step}: {}", answer.body);
        let is_told = answer
            .body
            .contains("edge1 (pool edge) is under maintenance, begun by");
        assert!(is_told, "{step}: {}", answer.body);
    }
    assert_eq!(world.pinfold.pin("fabrikam"), Some(at));
    let status = world.pinfold(&["nodes"]);
    assert!(told(&status).contains("under maintenance since"));
    // Whatever node it is on: nobody waits for a partner that does not come again.
    drop(partner);
    let has_gone = || {
        let partners = world.pinfold.json("/v1/partners");
        (partners["partners"][0]["sessions"] == 0).then_some(())
    };
    assert!(wait_until(SOON, has_gone).is_some());

    // Its conductor goes away: still it is the first's turn, which goes on, or ends.
    conductor.signal(Signal::INT).unwrap();
    conductor.wait_exit(SOON).expect("it ends");
    assert_eq!(maintain(&world, &["edge2"]).1, Some(69));
    let (text, code) = maintain(&world, &["edge1", "--pace", "1000/s"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(world.pinfold(&["resume", "edge1"]).status.success());
    let (text, code) = maintain(&world, &["edge2", "--pace", "1000/s"]);
    assert_eq!(code, Some(0), "{text}");
    drop(users);
}

#[test]
fn another_node_that_goes_down_meanwhile_undoes_it() {
    let mut world = World::start_with(3, |setup| setup.pool = "balance = \"round-robin\"".into());
    let users = callers(&world, "edge1");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["maintain", "edge1", "--pace", "1/m"]);
    let admin = format!("unix:{}", world.directory.admin().display());
    let mut conductor = Process::spawn(command.env("PINFOLD_ADMIN", admin)).unwrap();
    world.pinfold.wait_ended("drained", 1);
    world.edge("edge2").kill().unwrap();
    let status = conductor.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", conductor.output());
    let said = conductor.wait_line(SOON, |line| line.contains("UNDOING"));
    assert!(said.is_some_and(|line| line.contains("edge2 went down")));
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
    assert!(world.pinfold.node("edge1")["sessions"].as_u64().unwrap() > 0);
    drop(users);
}

#[test]
fn who_interrupts_it_leaves_everything_as_it_is_and_reads_how_to_undo_it() {
    let world = World::start_with(2, |setup| setup.pool = "balance = \"round-robin\"".into());
    let (_partner, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    let users = callers(&world, &home);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["maintain", &home, "--pace", "1/m"]);
    let admin = format!("unix:{}", world.directory.admin().display());
    let mut conductor = Process::spawn(command.env("PINFOLD_ADMIN", admin)).unwrap();
    let again = wait_until(SOON, || {
        (pin(&world)["by"] == "maintenance").then_some(())?;
        Caller::served(world.address(), FABRIKAM).ok()
    });
    let (_again, node) = again.expect("it comes again");
    assert_ne!(node, home);
    world.pinfold.wait_ended("drained", 1);
    conductor.signal(Signal::INT).unwrap();
    let status = conductor.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", conductor.output());
    let said = conductor.wait_line(SOON, |line| line.contains("--undo"));
    assert!(said.is_some(), "{}", conductor.output());
    assert_eq!(world.pinfold.node(&home)["state"], "draining");
    assert_eq!(pin(&world)["by"], "maintenance");
    let (text, code) = maintain(&world, &[&home, "--undo"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(pin(&world)["node"], json!(home));
    assert_eq!(world.pinfold.node(&home)["state"], "active");
    drop(users);
}

#[test]
fn a_drill_says_whether_the_others_can_do_without_the_node_and_for_real_changes_nothing_for_long() {
    let mut world = World::start(2);
    let partner = world.fabrikam();
    let home = world.pinfold.pin("fabrikam").unwrap();
    let other = if home == "edge1" { "edge2" } else { "edge1" };
    let before = pin(&world);
    let output = world.pinfold(&["drill", &home, "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(
        told(&output).contains(&format!("N-1 HOLDS without {home}")),
        "{}",
        told(&output)
    );
    assert_eq!(pin(&world)["since"], before["since"], "nothing was changed");

    let output = world.pinfold(&["drill", &home]);
    assert_eq!(
        output.status.code(),
        Some(64),
        "nobody can be asked: {}",
        told(&output)
    );
    let output = world.pinfold(&["drill", &home, "--yes", "--reason", "half-yearly"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(pin(&world)["node"], json!(home), "{}", told(&output));
    assert_eq!(world.pinfold.node(&home)["state"], "active");

    world.edge(other).kill().unwrap();
    world.pinfold.wait_health(other, "down");
    let output = world.pinfold(&["drill", &home, "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains("PROBLEM: no other node takes fabrikam"),
        "{}",
        told(&output)
    );
    let (text, code) = maintain(&world, &[&home]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
    assert_eq!(world.pinfold.node(&home)["state"], "active");
    drop(partner);
}

#[test]
fn what_a_drill_promises_each_partner_is_where_it_is_once_the_node_has_died() {
    let mut world = World::start_with(4, |setup| {
        setup.pool = "max_share = \"40%\"".into();
        for number in 0..14 {
            let _ = write!(
                setup.rest,
                "[[partner]]\nname = \"p{number:02}\"\naddresses = [\"127.0.8.{number}/32\"]\n\
                 generation = \"ocs-2007\"\n"
            );
        }
    });
    let address = world.address();
    let call = |number| Caller::served(address, Ipv4Addr::new(127, 0, 8, number)).unwrap();
    let (callers, homes): (Vec<_>, Vec<_>) = (0..14).map(call).unzip();
    let count = |node: &&String| homes.iter().filter(|home| home == node).count();
    let crowded = homes.iter().max_by_key(count).unwrap().clone();
    let promised = |world: &World| {
        let output = world.pinfold(&["drill", &crowded, "--dry-run", "--json"]);
        let drill: Value = serde_json::from_slice(&output.stdout).unwrap();
        let partners = drill["partners"].as_array().unwrap().iter();
        let to = |each: &Value, key: &str| each[key].as_str().unwrap_or_default().to_owned();
        partners
            .map(|each| (to(each, "partner"), to(each, "to")))
            .collect::<BTreeMap<_, _>>()
    };
    let pinned = wait_until(SOON, || {
        let promised = promised(&world);
        (promised.len() == count(&&crowded)).then_some(promised)
    });
    let promised = pinned.expect("all are pinned");
    assert!(promised.len() > 2, "{promised:?}");

    world.edge(&crowded).kill().unwrap();
    // Half of them come at once, the last first, before or after the failover; the others come later.
    let came: Vec<_> = (0..14).rev().step_by(2).map(call).collect();
    for (name, to) in &promised {
        let is_there = || (world.pinfold.pin(name).as_ref() == Some(to)).then_some(());
        let now = || world.pinfold.pin(name);
        assert!(
            wait_until(SOON, is_there).is_some(),
            "{name}: {to} was promised, and it is on {:?}",
            now()
        );
    }
    drop((callers, came));
}
