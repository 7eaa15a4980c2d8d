//! A reload that says of somebody connected that it is a partner, or who it is, leaves it where it is.

use serde_json::Value;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, FABRIKAM, SOON, World, caller_address};

/// Other clients on other nodes, so that whoever is placed anew is hardly where it was.
fn busy(listener: &str) -> (World, Caller, String) {
    let more = listener.to_owned();
    let world = World::start_with(3, |setup| {
        setup.listeners[0].more = more;
        setup.fabrikam = "legacy = false".into();
    });
    let (caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    (world, caller, home)
}

/// What a reload would do to pins, and what is printed of it.
fn planned(world: &World) -> (Value, String) {
    let plan = world.pinfold.post("/v1/reload?plan=true").unwrap();
    let plan: Value = plan.json().unwrap();
    let said = world.pinfold(&["reload", "--plan"]);
    let said = String::from_utf8(said.stdout).unwrap();
    (plan["adopted"].clone(), said)
}

fn stays(world: &World, caller: &mut Caller, home: &str) {
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some(home));
    let (_, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, home, "a new connection goes where the others are");
    assert_eq!(caller.ask("still here").unwrap(), home);
}

#[test]
fn a_partner_that_becomes_legacy_while_it_is_connected_keeps_its_node() {
    let (mut world, mut caller, home) = busy("");
    world.rewrite(|setup| setup.fabrikam = "legacy = true".into());
    let (adopted, said) = planned(&world);
    assert_eq!(adopted[0]["node"], *home, "{adopted}");
    let keeps = format!("fabrikam keeps {home}, to which {FABRIKAM} was pinned (federation)");
    assert!(said.contains(&keeps), "{said}");
    world.reload_with(|_| ());
    stays(&world, &mut caller, &home);
}

#[test]
fn a_listener_that_pins_by_partner_from_here_on_moves_nobody() {
    let (mut world, mut caller, home) = busy("pin = \"source\"");
    world.reload_with(|setup| {
        setup.listeners[0].more = "pin = \"partner\"".into();
        setup.fabrikam = "legacy = true".into();
    });
    stays(&world, &mut caller, &home);
}

#[test]
fn a_partner_that_is_renamed_keeps_its_node_and_what_was_said_of_it() {
    let mut world = World::start(3);
    let (mut caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    let mut others = ["edge1", "edge2", "edge3"].into_iter();
    let to = others.find(|node| **node != home).unwrap();
    let pinned = world.pinfold(&["pin", "fabrikam", to, "--reason", "CHG 7"]);
    assert!(pinned.status.success());
    let of_pin = |name: &str| {
        let pins = world.pinfold.json("/v1/pins");
        let mut pins = pins["pins"].as_array().unwrap().iter();
        let pin = pins.find(|pin| pin["subject"]["name"] == name).unwrap();
        (pin["node"].clone(), pin["by"].clone(), pin["order"].clone())
    };
    let before = of_pin("fabrikam");
    let renamed = world.setup.text(&world.directory);
    let renamed = renamed.replace("name = \"fabrikam\"", "name = \"fabrikam-de\"");
    std::fs::write(world.directory.config(), renamed).unwrap();
    let (adopted, said) = planned(&world);
    assert_eq!(adopted[0]["address"], "fabrikam", "{adopted}");
    assert!(said.contains(&format!("fabrikam-de keeps {to}")), "{said}");
    assert!(world.pinfold(&["reload"]).status.success());
    assert_eq!(of_pin("fabrikam-de"), before);
    assert_eq!(world.pinfold.pin("fabrikam"), None);
    assert_eq!(Caller::served(world.address(), FABRIKAM).unwrap().1, to);
    assert_eq!(caller.ask("still here").unwrap(), home);
    // Over a kill, too: it is kept under its new name.
    world
        .pinfold
        .process
        .signal(pinfold_loadtest::process::Signal::KILL)
        .unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = crate::world::Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    assert_eq!(world.pinfold.pin("fabrikam-de").as_deref(), Some(to));
    drop(Caller::served(world.address(), caller_address(1)).unwrap());
}

/// The partner of this name as it is listed.
fn listed(world: &World, name: &str) -> Option<Value> {
    let partners = world.pinfold.json("/v1/partners");
    let mut partners = partners["partners"].as_array()?.iter();
    partners.find(|known| known["name"] == *name).cloned()
}

/// Gives fabrikam another name while it is connected.
fn rename(world: &World, to: &str) {
    let renamed = world.setup.text(&world.directory);
    let renamed = renamed.replace("name = \"fabrikam\"", &format!("name = \"{to}\""));
    std::fs::write(world.directory.config(), renamed).unwrap();
    assert!(world.pinfold(&["reload"]).status.success());
}

#[test]
fn the_live_sessions_of_a_partner_that_is_renamed_go_by_the_new_name() {
    let world = World::start(3);
    let (mut caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    rename(&world, "fabrikam-de");
    let is_there = || (listed(&world, "fabrikam-de")?["sessions"] == 1).then_some(());
    wait_until(SOON, is_there).expect("it is seen under its new name");
    assert!(listed(&world, "fabrikam").is_none());
    let mut others = ["edge1", "edge2", "edge3"].into_iter();
    let to = others.find(|node| **node != home).unwrap();
    let pinned = world.pinfold(&["pin", "fabrikam-de", to, "--now"]);
    assert!(pinned.status.success());
    assert!(caller.ends_within(SOON), "it is found, and ended");
    assert_eq!(Caller::served(world.address(), FABRIKAM).unwrap().1, to);
}

#[test]
fn a_partner_that_was_renamed_while_it_was_connected_is_missed_by_its_new_name() {
    let mut world = World::start_with(3, |setup| setup.fabrikam = "alarm_after = \"1s\"".into());
    let (_caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    rename(&world, "fabrikam-de");
    let is_there = || (listed(&world, "fabrikam-de")?["sessions"] == 1).then_some(());
    wait_until(SOON, is_there).expect("it is seen under its new name");
    world.edge(&home).kill().unwrap();
    let is_missed = || {
        let ledger = world.pinfold.json("/v1/failovers?partner=fabrikam-de");
        let failover = ledger["failovers"].as_array()?.first()?.clone();
        let partners = failover["partners"].as_array()?;
        let gap = partners
            .iter()
            .find(|gap| gap["partner"] == "fabrikam-de")?;
        (gap["alarmed"] == true).then_some(())
    };
    wait_until(SOON, is_missed).expect("the alarm is raised");
}

#[test]
fn an_address_that_passes_from_one_partner_to_another_takes_its_sessions_along() {
    let mut world = World::start(3);
    let (mut caller, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.reload_with(|setup| {
        setup.rest = format!(
            "[[partner]]\nname = \"contoso\"\naddresses = [\"{FABRIKAM}/32\"]\n\
             generation = \"ocs-2007\"\n"
        );
        setup.fabrikam_addresses = vec![format!("{}/32", caller_address(9))];
    });
    let has = |name: &str, sessions: u64| {
        let is_so = || (listed(&world, name)?["sessions"] == sessions).then_some(());
        wait_until(SOON, is_so).unwrap_or_else(|| panic!("{name} has {sessions}"));
    };
    has("contoso", 1);
    has("fabrikam", 0);
    assert_eq!(caller.ask("still here").unwrap(), home);
    assert_eq!(world.pinfold.pin("contoso").as_deref(), Some(&*home));
    drop(caller);
    has("contoso", 0);
}

#[test]
fn a_partner_that_is_written_down_with_a_node_of_its_own_is_not_pinned_elsewhere_by_its_live_session()
 {
    let mut world = World::start(3);
    let stranger = caller_address(7);
    let (mut caller, home) = Caller::served(world.address(), stranger).unwrap();
    let mut others = ["edge1", "edge2", "edge3"].into_iter();
    let wanted = others.find(|node| **node != home).unwrap();
    world.reload_with(|setup| {
        setup.rest = format!(
            "[[partner]]\nname = \"contoso\"\naddresses = [\"{stranger}\"]\n\
             generation = \"ocs-2007\"\nnode = \"{wanted}\"\n"
        );
    });
    let is_named = || {
        let partners = world.pinfold.json("/v1/partners");
        let known = crate::world::find(&partners["partners"], "name", "contoso");
        (known["sessions"] == 1).then_some(())
    };
    wait_until(SOON, is_named).expect("its live session is its own");
    let (_, node) = Caller::served(world.address(), stranger).unwrap();
    assert_eq!(node, wanted);
    assert_eq!(caller.ask("still here").unwrap(), home);
}
