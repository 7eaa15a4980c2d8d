//! `pinfold explain`: who it is, where it goes and why, how it fared, and whose doing that is.

use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::{Value, json};

use crate::names::server::Server;
use crate::recognition::{speak, stay};
use crate::scripted::UNASKED;
use crate::tls::{certify, server};
use crate::world::{Caller, Directory, FABRIKAM, SOON, World, caller_address, find};

/// What it says on the terminal, and exits with.
fn explained(world: &World, words: &[&str]) -> (String, i32) {
    let output = world.pinfold(&[&["explain"], words].concat());
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(text).unwrap(),
        output.status.code().unwrap(),
    )
}

fn asked(world: &World, subject: &str) -> Value {
    world.pinfold.json(&format!("/v1/explain/{subject}"))
}

#[test]
fn a_partner_that_a_failover_moved_is_explained_with_the_times_of_the_ledger() {
    let mut world = World::start_with(3, |setup| setup.fabrikam = "failback = \"idle\"".into());
    let partner = world.fabrikam();
    let home = world.pinfold.pin("fabrikam").unwrap();
    world.edge(&home).kill().unwrap();
    let served = wait_until(SOON, || {
        let told = asked(&world, "fabrikam");
        let is_there = told["places"][0]["sessions"][0]["served"] == 1;
        (told["cut_off"]["gap"]["node"].is_string() && is_there).then_some(told)
    });
    let told = served.expect("it is served again, and the ledger knows");
    let place = &told["places"][0];
    let now = place["node"].as_str().unwrap();
    assert_ne!(now, home);
    assert_eq!(told["cut_off"]["node"], json!(home), "{told}");
    assert_eq!(place["pin"]["home"], json!(home), "{told}");
    assert_eq!(place["back"]["node"], json!(home), "{told}");
    assert_eq!(place["sessions"][0]["node"], json!(now), "{told}");
    assert_eq!(
        find(&place["candidates"], "node", &home)["standing"],
        "down"
    );
    let (text, code) = explained(&world, &["fabrikam"]);
    assert_eq!(code, 0, "{text}");
    for expected in [
        "ocs-2007",
        "CONTACT",
        "CUT OFF     for",
        "BACK?",
        &format!("WHY {now}"),
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    drop(partner);
}

#[test]
fn an_address_that_never_came_is_told_where_it_would_go_and_then_goes_there() {
    let world = World::start(3);
    for number in 0..8 {
        let address = caller_address(number);
        let told = asked(&world, &address.to_string());
        assert_eq!(told["partner"], Value::Null, "{told}");
        let place = &told["places"][0];
        assert_eq!(
            (&place["access"], &place["pin"]),
            (&json!("granted"), &Value::Null),
            "{told}"
        );
        // Nobody else is there: the fewest sessions are everywhere, and the key decides.
        let (_caller, node) = Caller::served(world.address(), address).unwrap();
        assert_eq!(place["node"], json!(node), "{told}");
        let ended = wait_until(SOON, || {
            drop(asked(&world, &address.to_string()));
            (world.pinfold.json("/v1/sessions")["listeners"][0]["sessions"] == 1).then_some(())
        });
        assert!(ended.is_some(), "asking makes no session");
        drop(_caller);
        let none =
            || (world.pinfold.json("/v1/sessions")["listeners"][0]["sessions"] == 0).then_some(());
        assert!(wait_until(SOON, none).is_some());
        assert_eq!(
            asked(&world, &address.to_string())["places"][0]["pin"]["node"],
            json!(node)
        );
    }
    // A partner that never came: by name and by address alike.
    let by_name = asked(&world, "fabrikam")["places"][0]["node"].clone();
    let by_address = asked(&world, &FABRIKAM.to_string());
    assert_eq!(by_address["partner"]["name"], "fabrikam");
    assert_eq!(by_address["known_by"][0]["source"], "addresses");
    assert_eq!(by_address["places"][0]["node"], by_name);
    assert!(
        world.pinfold.pin("fabrikam").is_none(),
        "asking pins nobody"
    );
    let (_caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(by_name, json!(node));
}

#[test]
fn who_is_refused_reads_why_and_what_to_write_to_let_it_in() {
    let world = World::start_with(2, |setup| {
        setup.listeners[0].more = "allow = \"partners\"".into();
    });
    let stranger = caller_address(0);
    for _ in 0..3 {
        assert!(Caller::served(world.address(), stranger).is_err());
    }
    let name = stranger.to_string();
    let told = wait_until(SOON, || {
        let told = asked(&world, &name);
        (told["attempts"]["bad"] == 3).then_some(told)
    });
    let told = told.expect("three attempts are remembered");
    let trouble = &told["attempts"]["troubles"][0];
    assert_eq!(
        (&trouble["times"], &trouble["outcome"]),
        (&json!(3), &json!("refused-access"))
    );
    let (text, _) = explained(&world, &[&name]);
    assert!(
        text.contains("REFUSED     federation: allow = \"partners\""),
        "{text}"
    );
    assert!(
        text.contains(&format!("add \"{name}\" to addresses")),
        "{text}"
    );

    let (text, code) = explained(&world, &["fabrikan"]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("did you mean \"fabrikam\"?"), "{text}");
    let (text, code) = explained(&world, &["fabrikam", "--listener", "xmpp"]);
    assert_eq!(code, 64, "{text}");
    let (text, _) = explained(&world, &["fabrikam"]);
    assert!(
        text.contains("not heard of") && text.contains("_sipfederationtls._tcp"),
        "{text}"
    );
}

#[test]
fn a_partner_that_fails_where_another_is_normal_is_told_from_a_node_that_fails() {
    let directory = Directory::create();
    certify(directory.path());
    // It asks for a certificate, and ends the handshake of whoever has none.
    let (_node, address) = server(directory.path(), "-tls1_2");
    let world = World::start_with(0, |setup| {
        setup.node("edge1", address);
        // It serves one at a time, and nobody who stays is to keep a probe from it.
        setup.listeners[0].more = UNASKED.into();
        setup.rest = "[[partner]]\nname = \"woodgrove\"\naddresses = [\"127.0.0.5\"]\n\
                      generation = \"ocs-2007\"\n"
            .into();
    });
    let call =
        |source: &str, arguments: &str| speak(directory.path(), world.address(), source, arguments);
    let with = "-tls1_2 -cert client.pem -key client.key";
    let said = call("127.0.0.5", with);
    assert!(said.contains("drow"), "{said}");
    call("127.0.0.2", "-tls1_2");
    call("127.0.0.2", "-tls1_2");
    let told = wait_until(SOON, || {
        let told = asked(&world, "fabrikam");
        (told["attempts"]["bad"] == 2 && asked(&world, "woodgrove")["attempts"]["good"] == 1)
            .then_some(told)
    });
    let told = told.expect("all of it is remembered");
    assert_eq!(told["verdict"]["verdict"], "partner", "{told}");
    let trouble = &told["attempts"]["troubles"][0];
    assert_eq!(trouble["alert"], "node: handshake_failure", "{told}");
    assert!(
        trouble["meaning"]
            .as_str()
            .unwrap()
            .contains("got no certificate from fabrikam"),
        "{told}"
    );
    assert_eq!(asked(&world, "woodgrove")["verdict"]["verdict"], "neither");
    let status = world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(
        status.contains("FAILING fabrikam on federation"),
        "{status}"
    );
    let said = world
        .pinfold
        .process
        .wait_line(SOON, |line| line.contains("us-or-them"));
    assert!(said.is_some_and(|line| line.contains("fabrikam")));
    let (text, _) = explained(&world, &["fabrikam"]);
    assert!(
        text.contains("US OR THEM  them on federation: fabrikam failed 2 times on edge1"),
        "{text}"
    );
    // Served since, in a session that lasts: nobody is accused any more.
    let staying = stay(directory.path(), world.address(), "127.0.0.2", with);
    let is_over = || {
        let told = asked(&world, "fabrikam");
        let is_there = told["places"][0]["sessions"][0]["served"] == 1;
        (is_there && told["verdict"]["verdict"] == "neither").then_some(())
    };
    let told = || asked(&world, "fabrikam");
    assert!(wait_until(SOON, is_over).is_some(), "{}", told());
    let status = world.pinfold.json("/v1/status")["attention"].to_string();
    assert!(!status.contains("FAILING fabrikam"), "{status}");
    drop(staying);
}

#[test]
fn an_address_that_a_partners_name_points_at_is_told_for_a_partner_that_has_moved() {
    let mut server = Server::start();
    server.host("sip.fabrikam.test", &[FABRIKAM]);
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "allow = \"partners\"".into();
        setup.fabrikam = "edge = [\"sip.fabrikam.test\"]".into();
        setup.rest = format!("[resolve]\nservers = [\"{}\"]\n", server.address());
    });
    let moved = caller_address(7);
    server.host("sip.fabrikam.test", &[moved]);
    let name = moved.to_string();
    let told = wait_until(SOON, || {
        let _ = world.pinfold.process.signal(Signal::HUP);
        let told = asked(&world, &name);
        (told["partner"]["name"] == "fabrikam").then_some(told)
    });
    let told = told.expect("DNS is asked again at a reload");
    assert_eq!(told["known_by"][0]["source"], "dns", "{told}");
    assert_eq!(told["places"][0]["access"], "not-allowed", "{told}");
    let (text, _) = explained(&world, &[&name]);
    assert!(text.contains("fabrikam by DNS alone"), "{text}");
    let remedy = format!("addresses = [\"{FABRIKAM}/32\", \"{name}\"] in the table of fabrikam");
    assert!(text.contains(&remedy), "{text}");
    world.reload_with(|setup| setup.fabrikam_addresses.push(name.clone()));
    let told = asked(&world, &name);
    assert_eq!(told["places"][0]["access"], "granted", "{told}");
}

#[test]
fn a_capture_names_both_legs_of_a_partner_and_is_a_script() {
    let world = World::start(2);
    let partner = world.fabrikam();
    let output = world.pinfold(&["capture", "fabrikam", "--minutes", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().unwrap();
    let home = world.pinfold.pin("fabrikam").unwrap();
    let node = world.edges.iter().find(|edge| edge.name() == home).unwrap();
    let other = world.edges.iter().find(|edge| edge.name() != home).unwrap();
    assert!(line.starts_with("timeout 120 tcpdump "), "{text}");
    assert!(line.contains(" -w fabrikam.pcap "), "{text}");
    assert!(line.contains("and (host 127.0.0.2))"), "{text}");
    for (port, is_there) in [
        (world.address().port(), true),
        (node.address().port(), true),
        (other.address().port(), false),
    ] {
        let term = format!("host 127.0.0.1 and tcp port {port}");
        assert_eq!(line.contains(&term), is_there, "{term}: {text}");
    }
    world.stage.wait(partner.stop());
    let unknown = world.pinfold(&["capture", "fabrikan"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean"));
}
