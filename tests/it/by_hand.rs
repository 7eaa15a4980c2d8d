//! Pins that an administrator makes, removes, takes away and brings.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::{Value, json};

use crate::world::{Caller, FABRIKAM, Pinfold, SOON, World, caller_address, find, pass};

/// `pinfold` with these words, against the world's daemon.
fn pinfold(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    let admin = format!("unix:{}", world.directory.admin().display());
    command.args(words).env("PINFOLD_ADMIN", admin);
    command.output().unwrap()
}

/// What it says, where it succeeds.
fn said(world: &World, words: &[&str]) -> String {
    let output = pinfold(world, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn put(world: &World, partner: &str, wish: &Value) -> (u16, Value) {
    let path = format!("/v1/pins/{partner}");
    let answer = world.pinfold.send("PUT", &path, wish).unwrap();
    (answer.status, answer.json().unwrap())
}

/// The node of three that is none of `others`.
fn other_than(others: &[&str]) -> &'static str {
    let mut nodes = ["edge1", "edge2", "edge3"].into_iter();
    nodes.find(|node| !others.contains(node)).unwrap()
}

/// The pin of "fabrikam" as it is listed.
fn pin(world: &World) -> Value {
    let pins = world.pinfold.json("/v1/pins");
    let mut pins = pins["pins"].as_array().unwrap().iter();
    let pin = pins.find(|pin| pin["subject"]["name"] == "fabrikam");
    pin.cloned().unwrap_or_default()
}

#[test]
fn a_partner_is_pinned_by_hand_and_its_sessions_stay_until_they_are_ended() {
    let mut world = World::start(3);
    let (mut first, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    let (mut stranger, at) = Caller::served(world.address(), caller_address(1)).unwrap();
    let to = other_than(&[&home]);
    let wish = json!({"node": to, "reason": "CHG 7"});
    let (status, answer) = put(&world, "fabrikam", &wish);
    assert_eq!(status, 200, "{answer}");
    let changed = &answer["changed"][0];
    assert_eq!(
        (&changed["before"], &changed["node"]),
        (&json!(home), &json!(to))
    );
    assert_eq!(
        (&changed["elsewhere"], &changed["ended"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(first.ask("still here").unwrap(), home);
    let (mut second, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, to);

    let wish = json!({"node": to, "now": true, "reason": "CHG 7"});
    let (_, answer) = put(&world, "fabrikam", &wish);
    assert_eq!(answer["changed"][0]["elsewhere"], 1, "{answer}");
    assert!(first.ends_within(SOON), "what is elsewhere is ended");
    assert_eq!(second.ask("still here").unwrap(), to);
    assert_eq!(stranger.ask("still here").unwrap(), at);
    world.pinfold.wait_ended("moved", 1);

    // It lasts, over reloads that prefer another node and over a kill.
    let preferred = other_than(&[to]);
    world.reload_with(|setup| setup.fabrikam = format!("node = \"{preferred}\""));
    assert_eq!(Caller::served(world.address(), FABRIKAM).unwrap().1, to);
    world.pinfold.process.signal(Signal::KILL).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    world.wait_all_up();
    let pin = pin(&world);
    assert_eq!(
        (&pin["node"], &pin["by"]),
        (&json!(to), &json!("by-hand")),
        "{pin}"
    );
    assert_eq!(pin["order"]["reason"], "CHG 7", "{pin}");
    assert!(
        pin["order"]["by"].as_str().unwrap().contains("uid"),
        "{pin}"
    );
    assert_eq!(Caller::served(world.address(), FABRIKAM).unwrap().1, to);
    let shown = said(&world, &["pins"]);
    assert!(
        shown.contains("CHG 7") && shown.contains("by-hand"),
        "{shown}"
    );
}

#[test]
fn a_wish_that_cannot_be_granted_says_why_and_what_to_do() {
    let world = World::start_with(2, |setup| {
        setup.rest = "[[partner]]\nname = \"cloud\"\naddresses = [\"127.0.4.0/24\"]\n\
                      generation = \"online\"\npin = \"source\"\n"
            .into();
    });
    let drained = world.pinfold.post("/v1/nodes/edge2/disable").unwrap();
    assert_eq!(drained.status, 200);
    let cases = [
        (
            "fabrikan",
            json!({"node": "edge1"}),
            404,
            "did you mean \"fabrikam\"?",
        ),
        (
            "fabrikam",
            json!({"node": "edge9"}),
            422,
            "it has edge1, edge2",
        ),
        (
            "fabrikam",
            json!({"node": "edge2"}),
            409,
            "pinfold resume edge2",
        ),
        (
            "cloud",
            json!({"node": "edge1"}),
            409,
            "set pin = \"partner\"",
        ),
        (
            "fabrikam",
            json!({"node": "edge1", "pool": "other"}),
            409,
            "pool \"other\"",
        ),
        ("fabrikam", json!({"nod": "edge1"}), 400, "nod"),
        (
            "fabrikam",
            json!({"node": "edge1", "reason": "a\nb"}),
            400,
            "one line",
        ),
        ("fabrikam", Value::Null, 400, ""),
    ];
    for (partner, wish, expected, text) in cases {
        let (status, answer) = put(&world, partner, &wish);
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, expected, "{partner} {wish}: {error}");
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(pin(&world), Value::Null, "nothing was changed");
    let output = pinfold(&world, &["pin", "fabrikam", "edge9"]);
    assert_eq!(output.status.code(), Some(64));
    let output = pinfold(&world, &["unpin", "fabrikam"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn what_is_unpinned_is_placed_anew_partners_as_well_as_addresses_and_prefixes() {
    let world = World::start(3);
    let (_partner, home) = Caller::served(world.address(), FABRIKAM).unwrap();
    let to = other_than(&[&home]);
    let text = said(&world, &["pin", "fabrikam", to, "--reason", "test"]);
    assert!(text.contains("1 session on other nodes stay"), "{text}");
    let text = said(&world, &["unpin", "fabrikam"]);
    assert!(text.contains(to), "{text}");
    assert_eq!(pin(&world), Value::Null);
    let (_, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, home, "as placement has it");

    for number in 0..4 {
        Caller::served(world.address(), caller_address(number)).unwrap();
    }
    let name = |number| caller_address(number).to_string();
    said(&world, &["unpin", &name(1)]);
    assert!(world.pinfold.pin(&name(1)).is_none() && world.pinfold.pin(&name(2)).is_some());
    said(&world, &["unpin", "127.1.0.0/16"]);
    assert!((0..4).all(|number| world.pinfold.pin(&name(number)).is_none()));
    assert!(world.pinfold.pin("fabrikam").is_some());
}

#[test]
fn a_failover_takes_a_pin_by_hand_along_and_remembers_where_it_was() {
    let mut world = World::start(3);
    let (status, _) = put(&world, "fabrikam", &json!({"node": "edge2"}));
    assert_eq!(status, 200);
    let (_caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, "edge2");
    world.edge("edge2").kill().unwrap();
    world.pinfold.wait_health("edge2", "down");
    let moved = wait_until(SOON, || (pin(&world)["node"] != "edge2").then_some(()));
    assert!(moved.is_some());
    let after = pin(&world);
    assert_eq!(after["home"], "edge2", "{after}");
    assert_eq!(after["order"], Value::Null, "{after}");
    let (_, answer) = put(&world, "fabrikam", &json!({"node": "edge2"}));
    assert_eq!(answer["changed"][0]["standing"], "down", "{answer}");
}

#[test]
fn no_session_is_ended_for_the_sake_of_a_node_that_is_down() {
    let mut world = World::start(2);
    let (mut caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    let other = if node == "edge1" { "edge2" } else { "edge1" };
    world.edge(other).kill().unwrap();
    world.pinfold.wait_health(other, "down");
    let before = wait_until(SOON, || (pin(&world) != Value::Null).then(|| pin(&world))).unwrap();
    let (status, answer) = put(&world, "fabrikam", &json!({"node": other, "now": true}));
    assert_eq!(status, 409, "{answer}");
    assert!(
        answer["error"].as_str().unwrap().contains("is down"),
        "{answer}"
    );
    assert_eq!(pin(&world)["node"], before["node"]);
    assert_eq!(caller.ask("still here").unwrap(), node);
}

#[test]
fn an_export_is_imported_wholly_or_not_at_all() {
    let mut world = World::start(3);
    put(
        &world,
        "fabrikam",
        &json!({"node": "edge2", "reason": "CHG 8"}),
    );
    for number in 0..5 {
        Caller::served(world.address(), caller_address(number)).unwrap();
    }
    let file = world.directory.path().join("pins.json");
    let name = file.to_str().unwrap();
    said(&world, &["pins", "export", name]);
    let before = world.pinfold.json("/v1/pins");
    said(&world, &["unpin", "0.0.0.0/0"]);
    said(&world, &["pin", "fabrikam", "edge1"]);

    let mut exported: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let good = exported.clone();
    exported["pins"][1]["node"] = json!("edge9");
    exported["pins"][2]["subject"]["name"] = json!("nobody");
    fs::write(&file, exported.to_string()).unwrap();
    let output = pinfold(&world, &["pins", "import", name]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(65), "{errors}");
    assert!(
        errors.contains("edge9") && errors.contains("nobody"),
        "{errors}"
    );
    assert_eq!(world.pinfold.json("/v1/pins")["addresses"], 0);
    exported["version"] = json!(2);
    let answer = world
        .pinfold
        .send("POST", "/v1/pins/import", &exported)
        .unwrap();
    assert!(answer.body.contains("version 2"), "{}", answer.body);

    for broken in ["", "{", "{\"version\": 1}"] {
        fs::write(&file, broken).unwrap();
        let output = pinfold(&world, &["pins", "import", name]);
        assert_eq!(output.status.code(), Some(65), "{broken}: {output:?}");
    }

    fs::write(&file, good.to_string()).unwrap();
    let text = said(&world, &["pins", "import", name, "--dry-run"]);
    assert!(
        text.starts_with("5 would be made, 1 would be moved"),
        "{text}"
    );
    assert_eq!(world.pinfold.json("/v1/pins")["addresses"], 0);
    said(&world, &["pins", "import", name]);
    world.pinfold.process.signal(Signal::KILL).unwrap();
    world.pinfold.process.wait_exit(SOON).expect("it ends");
    world.pinfold = Pinfold::start(&world.directory);
    world.pinfold.wait_ready();
    let after = world.pinfold.json("/v1/pins");
    for pin in before["pins"].as_array().unwrap() {
        let mut pins = after["pins"].as_array().unwrap().iter();
        let same = pins
            .find(|other| other["subject"] == pin["subject"])
            .unwrap();
        for field in [
            "node", "by", "order", "home", "ttl_ms", "affinity", "revision",
        ] {
            assert_eq!(same[field], pin[field], "{field} of {pin}");
        }
    }
    find(&after["pins"], "by", "by-hand");
}

#[test]
fn an_import_that_names_a_dead_node_strands_nobody_and_contradicts_no_ledger() {
    let mut world = World::start(2);
    let partner = world.fabrikam();
    let home = pin(&world)["node"].as_str().unwrap().to_owned();
    let file = world.directory.path().join("pins.json");
    let name = file.to_str().unwrap();
    said(&world, &["pins", "export", name]);
    world.edge(&home).kill().unwrap();
    let is_on_record = || {
        let told = world.pinfold.json("/v1/failovers?partner=fabrikam");
        let node = &told["failovers"][0]["partners"][0]["node"];
        node.as_str().map(ToOwned::to_owned)
    };
    let other = wait_until(SOON, is_on_record).expect("it is served by another node");

    let text = said(&world, &["pins", "import", name]);
    assert!(text.starts_with("0 made, 1 moved"), "{text}");
    let after = pin(&world);
    assert_eq!(after["node"], json!(other), "{after}");
    assert_eq!(after["home"], json!(home), "{after}");
    assert_eq!(after["by"], "failover", "{after}");

    // The node lives again: the pin says what the file says, and that this is so since now.
    world.edge(&home).restart().unwrap();
    world.pinfold.wait_health(&home, "up");
    said(&world, &["pins", "import", name]);
    let imported = pin(&world);
    assert_eq!(imported["node"], json!(home), "{imported}");
    assert_eq!(imported["home"], Value::Null, "{imported}");
    assert!(
        imported["since"].as_str() > after["since"].as_str(),
        "{imported}"
    );
    // The invariants are looked at once a second.
    pass(Duration::from_millis(2200));
    for rule in ["stranded-partner", "ledger-disagrees"] {
        let sample = format!("pinfold_invariant_violations{{rule=\"{rule}\"}}");
        assert_eq!(world.pinfold.metric(&sample), Some(0.0), "{rule}");
    }
    drop(partner);
}
