//! Partners are known by the certificates of real handshakes; alerts and old versions are told.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Stdio};

use pinfold_loadtest::process::{Process, Signal, wait_until};

use crate::scripted::{Script, ScriptedNode};
use crate::tls::{ANY_CIPHER, certify, openssl, server};
use crate::wire::Wire;
use crate::world::{Directory, FABRIKAM, Pinfold, SOON, Setup, World};

/// The partner's certificate, as `certify` makes it.
const NAMED: &str = "certificate_names = [\"client.test\"]";
const CERTIFICATE: &str = "-cert client.pem -key client.key";

/// A world of two servers of `version`, whose sessions leave lines in the log.
struct Scene {
    world: World,
    directory: Directory,
    _nodes: Vec<Process>,
}

impl Scene {
    fn of(version: &str, differ: impl FnOnce(&mut Setup)) -> Self {
        let directory = Directory::create();
        certify(directory.path());
        let nodes: Vec<_> = (0..2).map(|_| server(directory.path(), version)).collect();
        let world = World::start_with(0, |setup| {
            for (number, (_, address)) in nodes.iter().enumerate() {
                setup.node(&format!("edge{}", number + 1), *address);
            }
            setup.pool = "balance = \"round-robin\"".into();
            setup.fabrikam = NAMED.into();
            setup.rest = "[log]\nsessions = \"all\"".into();
            differ(setup);
        });
        Self {
            world,
            directory,
            _nodes: nodes.into_iter().map(|(process, _)| process).collect(),
        }
    }

    /// A client at `source` shakes hands, says a word and goes: what it said, and the session's line in
    /// the log.
    fn call(&self, source: &str, arguments: &str) -> (String, String) {
        let before = self.endings(source).len();
        let said = speak(
            self.directory.path(),
            self.world.address(),
            source,
            arguments,
        );
        let line = wait_until(SOON, || self.endings(source).into_iter().nth(before));
        let line = line.unwrap_or_else(|| panic!("no session from {source} ends: {said}"));
        (said, line)
    }

    fn endings(&self, source: &str) -> Vec<String> {
        let client = format!("client={source}:");
        let log = self.world.pinfold.process.output();
        let lines = log.lines().filter(|line| line.contains("session-end"));
        let lines = lines.filter(|line| line.contains(&client));
        lines.map(ToOwned::to_owned).collect()
    }

    fn metric(&self, sample: &str) -> Option<f64> {
        self.world.pinfold.metric(sample)
    }
}

/// What `s_client` says of a short session.
pub(crate) fn speak(
    directory: &Path,
    address: SocketAddr,
    source: &str,
    arguments: &str,
) -> String {
    let name = format!("{source}-{}", fastrand::u32(..));
    std::fs::write(directory.join(&name), "word\nCLOSE\n").unwrap();
    let mut command = openssl(
        directory,
        &format!(
            "s_client -connect {address} -bind {source}:0 -cipher {ANY_CIPHER} -brief -ign_eof \
             {arguments}"
        ),
    );
    command.stdin(File::open(directory.join(&name)).unwrap());
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// An `s_client` that has said a word and stays until it is dropped.
pub(crate) struct Staying(Child);

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn stay(
    directory: &Path,
    address: SocketAddr,
    source: &str,
    arguments: &str,
) -> Staying {
    let name = directory.join(format!("{source}-staying"));
    std::fs::write(&name, "word\n").unwrap();
    let mut command = openssl(
        directory,
        &format!(
            "s_client -connect {address} -bind {source}:0 -cipher {ANY_CIPHER} -quiet -ign_eof \
             {arguments}"
        ),
    );
    command.stdin(File::open(name).unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Staying(command.spawn().unwrap())
}

/// The value of `key` in a line of the log; empty where it is not there.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let start = format!(" {key}=");
    let value = line.split_once(&*start).map_or("", |(_, rest)| rest);
    let value = value.split(' ').next().unwrap_or_default();
    value.trim_matches('"')
}

/// A partner whose address nobody configured is known by its certificate from its next session on,
/// keeps its node when it moves, and is still known when a session is resumed.
fn is_named_by_its_certificate(version: &str, label: &str) {
    let scene = Scene::of(version, |_| {});
    let arguments = format!("{version} {CERTIFICATE} -sess_out session.pem");
    let (said, first) = scene.call("127.0.0.40", &arguments);
    assert!(said.contains("drow"), "{said}");
    assert_eq!(field(&first, "tls"), label, "{first}");
    assert_eq!(field(&first, "certificate"), "client.test", "{first}");
    let home = field(&first, "node");
    assert_eq!(scene.world.pinfold.pin("fabrikam").as_deref(), Some(home));

    let resuming = format!("{version} {CERTIFICATE} -sess_in session.pem");
    let (said, resumed) = scene.call("127.0.0.40", &resuming);
    assert!(said.contains("drow"), "{said}");
    assert_eq!(field(&resumed, "partner"), "fabrikam", "{resumed}");
    assert_eq!(field(&resumed, "certificate"), "", "not resumed: {resumed}");
    assert_eq!(field(&resumed, "node"), home);

    // It moves. Its first session there is a stranger's; round-robin gives it the other node in two
    // tries at most.
    let moved = format!("{version} {CERTIFICATE}");
    let elsewhere = (41..45).find(|last| {
        let (_, line) = scene.call(&format!("127.0.0.{last}"), &moved);
        field(&line, "node") != home
    });
    let elsewhere = format!("127.0.0.{}", elsewhere.expect("round-robin changes nodes"));
    let (_, next) = scene.call(&elsewhere, &moved);
    assert_eq!(field(&next, "partner"), "fabrikam", "{next}");
    assert_eq!(field(&next, "node"), home, "{next}");

    let sample = format!(
        "pinfold_tls_sessions_total{{listener=\"federation\",partner=\"fabrikam\",version=\"{label}\"}}"
    );
    assert!(scene.metric(&sample).is_some_and(|count| count >= 4.0));
    let partners = scene.world.pinfold.json("/v1/partners");
    let tls = &partners["partners"][0]["tls"];
    assert_eq!(tls["offers"], label, "{partners}");
    assert_eq!(tls["certificate"], "client.test");
    let ja4 = tls["ja4"].as_str().unwrap();
    assert!(
        ja4.starts_with(&format!("t{}i", label.replace('.', ""))),
        "{ja4}"
    );
    assert_eq!(tls["negotiated"][0]["version"], label);
}

#[test]
fn a_partner_is_named_by_its_certificate_in_tls_1_0() {
    is_named_by_its_certificate("-tls1", "1.0");
}

#[test]
fn a_partner_is_named_by_its_certificate_in_tls_1_1() {
    is_named_by_its_certificate("-tls1_1", "1.1");
}

#[test]
fn a_partner_is_named_by_its_certificate_in_tls_1_2() {
    is_named_by_its_certificate("-tls1_2", "1.2");
}

#[test]
fn a_partner_that_was_named_by_its_certificate_is_known_after_a_stop_and_after_a_kill() {
    let mut scene = Scene::of("-tls1_2", |_| {});
    let (source, arguments) = ("127.0.0.40", format!("-tls1_2 {CERTIFICATE}"));
    let (_, first) = scene.call(source, &arguments);
    assert_eq!(field(&first, "certificate"), "client.test", "{first}");
    for signal in [Signal::TERM, Signal::KILL] {
        let world = &mut scene.world;
        world.pinfold.process.signal(signal).unwrap();
        world.pinfold.process.wait_exit(SOON).expect("it ends");
        world.pinfold = Pinfold::start(&world.directory);
        world.pinfold.wait_ready();
        assert_eq!(scene.metric("pinfold_learned_names"), Some(1.0));
        let (_, next) = scene.call(source, &arguments);
        assert_eq!(field(&next, "partner"), "fabrikam", "{next}");
    }
}

#[test]
fn tls_1_3_hides_the_certificate_and_the_address_stands_for_itself() {
    let scene = Scene::of("-tls1_3", |_| {});
    for _ in 0..2 {
        let (said, line) = scene.call("127.0.0.40", &format!("-tls1_3 {CERTIFICATE}"));
        assert!(said.contains("drow"), "{said}");
        assert_eq!(field(&line, "tls"), "1.3", "{line}");
        assert_eq!(field(&line, "partner"), "-", "{line}");
        assert_eq!(field(&line, "certificate"), "", "{line}");
    }
    assert_eq!(scene.world.pinfold.pin("fabrikam"), None);
    assert_eq!(scene.metric("pinfold_learned_names"), Some(0.0));
}

#[test]
fn what_was_learned_neither_lets_in_nor_lowers_what_is_asked() {
    let scene = Scene::of("-tls1", |setup| {
        setup.fabrikam = format!("{NAMED}\ntls_min = \"1.0\"");
    });
    let arguments = format!("-tls1 {CERTIFICATE}");
    scene.call("127.0.0.40", &arguments);
    let (_, known) = scene.call("127.0.0.40", &arguments);
    assert_eq!(field(&known, "partner"), "fabrikam");
    let mut scene = scene;
    let listener = |setup: &mut Setup, line: &str| setup.listeners[0].more = line.into();
    scene
        .world
        .reload_with(|setup| listener(setup, "allow = \"partners\""));
    let (_, refused) = scene.call("127.0.0.40", &arguments);
    assert_eq!(field(&refused, "outcome"), "refused-access", "{refused}");
    scene
        .world
        .reload_with(|setup| listener(setup, "tls_min = \"1.2\""));
    let (_, refused) = scene.call("127.0.0.40", &arguments);
    assert_eq!(field(&refused, "outcome"), "refused-tls", "{refused}");
    // Its configured address may.
    let (said, line) = scene.call("127.0.0.2", &arguments);
    assert!(said.contains("drow"), "{said} {line}");
}

#[test]
fn a_certificate_that_is_not_the_configured_partners_is_told() {
    let scene = Scene::of("-tls1_2", |setup| {
        setup.fabrikam = "edge = \"sip.fabrikam.com\"".into();
        setup.rest.push_str("\n[resolve]\nnames = false\n");
    });
    let (_, line) = scene.call("127.0.0.2", &format!("-tls1_2 {CERTIFICATE}"));
    assert_eq!(
        field(&line, "partner"),
        "fabrikam",
        "addresses go first: {line}"
    );
    let log = scene.world.pinfold.process.output();
    let event = log.lines().find(|line| line.contains("name-disagrees"));
    let event = event.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(field(event, "certificate"), "client.test");
    let sample = "pinfold_name_disagreements_total{listener=\"federation\",partner=\"fabrikam\"}";
    assert_eq!(scene.metric(sample), Some(1.0));
}

#[test]
fn alerts_are_counted_for_the_partner_whose_handshakes_they_end() {
    let scene = Scene::of("-tls1_2", |_| {});
    let client = "-tls1_2 -verify_return_error -cert client.pem -key client.key";
    let ended = [
        (client, "client", "unknown_ca", 1.0),
        ("-tls1_2", "node", "handshake_failure", 1.0),
        ("-tls1_2", "node", "handshake_failure", 2.0),
    ];
    for (arguments, side, alert, count) in ended {
        let (_, line) = scene.call("127.0.0.2", arguments);
        assert_eq!(
            field(&line, "outcome"),
            format!("tls-alert-{side}"),
            "{line}"
        );
        assert_eq!(field(&line, "partner"), "fabrikam", "{line}");
        let sample = format!(
            "pinfold_tls_alerts_total{{listener=\"federation\",partner=\"fabrikam\",side=\"{side}\",alert=\"{alert}\"}}"
        );
        assert_eq!(scene.metric(&sample), Some(count), "{sample}");
    }
    // Those of strangers are counted apart.
    let (_, line) = scene.call("127.0.0.40", "-tls1_2");
    assert_eq!(field(&line, "outcome"), "tls-alert-node", "{line}");
    let told = wait_until(SOON, || {
        let told = scene.world.pinfold.json("/v1/explain/fabrikam");
        (told["attempts"]["bad"] == 3).then_some(told)
    });
    let told = told.expect("each is remembered");
    let troubles = told["attempts"]["troubles"].as_array().unwrap().iter();
    let troubles: Vec<_> = troubles
        .map(|each| {
            (
                each["alert"].as_str().unwrap(),
                each["times"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [("node: handshake_failure", 2), ("client: unknown_ca", 1)];
    assert_eq!(troubles, expected, "{told}");
}

#[test]
fn an_alert_that_ends_a_handshake_names_its_side() {
    let scene = Scene::of("-tls1_2", |_| {});
    for (arguments, outcome, side, alert) in [
        (
            "-tls1_2 -verify_return_error -cert client.pem -key client.key",
            "tls-alert-client",
            "client",
            "unknown_ca",
        ),
        (
            "-tls1 -cert client.pem -key client.key",
            "tls-alert-node",
            "node",
            "protocol_version",
        ),
        ("-tls1_2", "tls-alert-node", "node", "handshake_failure"),
    ] {
        let (said, line) = scene.call("127.0.0.40", arguments);
        assert_eq!(field(&line, "outcome"), outcome, "{line} {said}");
        assert_eq!(field(&line, "alert"), alert, "{line}");
        assert_eq!(field(&line, "blame"), side, "{line}");
        let sample = format!(
            "pinfold_tls_alerts_total{{listener=\"federation\",partner=\"\",side=\"{side}\",alert=\"{alert}\"}}"
        );
        assert_eq!(scene.metric(&sample), Some(1.0), "{sample}");
    }
    // Nobody holds them against the nodes.
    for node in ["edge1", "edge2"] {
        scene.world.pinfold.wait_health(node, "up");
    }
}

#[test]
fn a_hello_that_offers_too_little_is_refused_by_an_alert_or_counted() {
    let mut scene = Scene::of("-tls1", |setup| {
        setup.fabrikam = format!("{NAMED}\ntls_min = \"1.0\"");
        setup.listeners[0].more = "tls_min = \"1.2\"".into();
    });
    let (said, line) = scene.call("127.0.0.40", "-tls1");
    assert!(said.contains("alert protocol version"), "{said}");
    assert_eq!(field(&line, "outcome"), "refused-tls", "{line}");
    assert_eq!(field(&line, "node"), "-", "{line}");
    let (said, _) = scene.call("127.0.0.2", &format!("-tls1 {CERTIFICATE}"));
    assert!(said.contains("drow"), "{said}");

    scene.world.reload_with(|setup| {
        setup.listeners[0].more = "tls_min = \"1.2\"\ntls_min_mode = \"observe\"".into();
    });
    let (said, _) = scene.call("127.0.0.40", &format!("-tls1 {CERTIFICATE}"));
    assert!(said.contains("drow"), "{said}");
    let sample = "pinfold_tls_would_refuse_total{listener=\"federation\",partner=\"\"}";
    assert_eq!(scene.metric(sample), Some(1.0));
}

/// What Windows Server 2003 says: TLS 1.0, RC4 first, no extensions.
fn hello_of_ocs_2007() -> Vec<u8> {
    let suites = [0, 4, 0, 5, 0, 10, 0, 9];
    let body = [&[3, 1][..], &[7; 32], &[0, 0, 8], &suites, &[1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[test]
fn strangers_with_the_hello_of_ocs_2007_are_placed_and_moved_like_partners_unless_that_is_off() {
    let mut world = World::start(3);
    let arrive = |world: &World, number: u8| {
        let source = Ipv4Addr::new(127, 0, 9, number);
        let mut wire = Wire::connect(world.address(), source).unwrap();
        wire.send(&hello_of_ocs_2007()).unwrap();
        wire.receive(1).unwrap();
        let pinned = wait_until(SOON, || world.pinfold.pin(&source.to_string()));
        (wire, pinned.unwrap())
    };
    // Nobody spreads them: the same address goes to the same node, whatever the others have.
    let sessions: Vec<_> = (0..12).map(|number| arrive(&world, number)).collect();
    let homes: Vec<_> = sessions.iter().map(|(_, node)| node.clone()).collect();
    let pins = world.pinfold.json("/v1/pins");
    let all = pins["pins"].as_array().unwrap();
    assert!(all.iter().all(|pin| pin["looks_legacy"] == true), "{pins}");
    let plain = world.pinfold(&["explain", "127.0.9.1"]);
    let told = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(told.contains("looks like OCS 2007"), "{told}");

    let dead = homes[0].clone();
    world.edge(&dead).kill().unwrap();
    world.pinfold.wait_health(&dead, "down");
    for (number, home) in (0..).zip(&homes) {
        let name = format!("127.0.9.{number}");
        let has_moved = || world.pinfold.pin(&name).filter(|node| *node != dead);
        let node = wait_until(SOON, has_moved).expect("its pin is not dropped");
        assert!(*home == dead || node == *home, "{name}");
    }
    drop(sessions);

    world.reload_with(|setup| setup.listeners[0].more = "unknown_legacy = false".into());
    let (_wire, _) = arrive(&world, 99);
    let pins = world.pinfold.json("/v1/pins");
    let mut all = pins["pins"].as_array().unwrap().iter();
    let pin = all.find(|pin| pin["subject"]["name"] == "127.0.9.99");
    assert_eq!(pin.unwrap()["looks_legacy"], false, "{pins}");
}

#[test]
fn a_partner_whose_table_says_otherwise_is_shown_for_what_it_looks_like() {
    let world = World::start_with(1, |setup| {
        setup.fabrikam = "legacy = false".into();
    });
    let mut wire = Wire::connect(world.address(), FABRIKAM).unwrap();
    wire.send(&hello_of_ocs_2007()).unwrap();
    wire.receive(1).unwrap();
    drop(wire);
    let looks = wait_until(SOON, || {
        let partners = world.pinfold.json("/v1/partners");
        let looks = partners["partners"][0]["looks_like"].as_str()?.to_owned();
        (looks != "unknown").then_some(looks)
    });
    assert_eq!(looks.as_deref(), Some("ocs-era"));
    let told = world.pinfold(&["explain", "fabrikam"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("LOOKS LIKE  ocs-era: its hello offers TLS 1.0"),
        "{told}"
    );
    assert!(told.contains("ask fabrikam what it runs"), "{told}");
}

#[test]
fn a_hello_too_large_to_be_read_is_no_way_around() {
    let node = ScriptedNode::start(Script::Listen);
    let world = World::start_with(0, |setup| {
        setup.scripted(&[&node], "tls_min = \"1.2\"");
    });
    // It says that it has 20,000 bytes, and offers TLS 1.0.
    let large = [&[22, 3, 1, 0x40, 0, 1, 0, 0x4e, 0x20, 3, 1][..], &[0; 600]].concat();
    // It breaks off where it should say what it offers.
    let broken = [22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 1];
    for hello in [&large[..], &broken] {
        let mut wire = Wire::connect(world.address(), Ipv4Addr::LOCALHOST).unwrap();
        wire.0.write_all(hello).unwrap();
        let mut alert = [0; 7];
        wire.0.read_exact(&mut alert).unwrap();
        assert_eq!(alert, [21, 3, 1, 0, 2, 2, 70]);
    }
    // What is no TLS is not judged.
    let mut wire = Wire::connect(world.address(), Ipv4Addr::LOCALHOST).unwrap();
    wire.0.write_all(b"OPTIONS sip:x\r\n").unwrap();
    assert_eq!(
        node.wait_told(|told| told.bytes.len() >= 15).bytes,
        b"OPTIONS sip:x\r\n"
    );
}

#[test]
fn who_still_uses_tls_1_0_is_known_after_a_kill() {
    let mut scene = Scene::of("-tls1", |_| {});
    let (said, _) = scene.call(&FABRIKAM.to_string(), &format!("-tls1 {CERTIFICATE}"));
    assert!(said.contains("drow"), "{said}");
    let spoken = |world: &World| world.pinfold.json("/v1/partners")["partners"][0]["tls"].clone();
    let before = wait_until(SOON, || {
        let spoken = spoken(&scene.world);
        (spoken["offers"] == "1.0" && spoken["certificate"] == "client.test").then_some(spoken)
    });
    let before = before.unwrap_or_else(|| panic!("{}", spoken(&scene.world)));
    // A kill may take what is younger than two seconds.
    crate::world::pass(std::time::Duration::from_millis(2800));
    scene.world.pinfold.process.signal(Signal::KILL).unwrap();
    scene.world.pinfold.process.wait_exit(SOON).unwrap();
    scene.world.pinfold = Pinfold::start(&scene.world.directory);
    scene.world.pinfold.wait_ready();
    assert_eq!(spoken(&scene.world), before);
    let screen = scene.world.pinfold(&["partners", "--tls"]);
    let screen = String::from_utf8(screen.stdout).unwrap();
    let row = screen.lines().find(|line| line.starts_with("fabrikam"));
    assert!(row.is_some_and(|row| row.contains("1.0 ×1")), "{screen}");
    assert!(screen.contains("would be cut off: fabrikam."), "{screen}");
}

#[test]
fn a_session_is_its_partners_as_soon_as_a_certificate_says_so_and_so_are_others_from_there() {
    let directory = Directory::create();
    certify(directory.path());
    let (_node, address) = server(directory.path(), "-tls1_2");
    let world = World::start_with(1, |setup| {
        setup.node("edge2", address);
        setup.pool = "balance = \"round-robin\"".into();
        setup.listeners[0].more = "pin = \"none\"".into();
        setup.fabrikam = NAMED.into();
    });
    let from = Ipv4Addr::new(127, 0, 0, 40);
    // In turns: one node takes plain lines, the other one shakes hands.
    let plain = wait_until(SOON, || {
        crate::world::Caller::served(world.address(), from).ok()
    });
    let (mut plain, _) = plain.expect("a node takes plain lines");
    let sessions = || world.pinfold.json("/v1/partners")["partners"][0]["sessions"].clone();
    assert_eq!(sessions(), 0);
    let arguments = format!("-tls1_2 {CERTIFICATE}");
    let taught = wait_until(SOON, || {
        let said = speak(directory.path(), world.address(), "127.0.0.40", &arguments);
        said.contains("drow").then_some(())
    });
    assert!(taught.is_some());
    let named = wait_until(SOON, || (sessions() == 1).then_some(()));
    assert!(named.is_some(), "{}", sessions());
    assert_eq!(plain.ask("still here").unwrap(), "edge1");
}

#[test]
fn the_very_session_that_shows_a_partners_certificate_lives_under_the_partners_pin() {
    let scene = Scene::of("-tls1_2", |_| {});
    let directory = scene.directory.path();
    std::fs::write(directory.join("word"), "word\n").unwrap();
    let address = scene.world.address();
    let mut command = openssl(
        directory,
        &format!(
            "s_client -connect {address} -bind 127.0.0.40:0 -cipher {ANY_CIPHER} -brief -ign_eof -tls1_2 {CERTIFICATE}"
        ),
    );
    command.stdin(File::open(directory.join("word")).unwrap());
    let mut client = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partner = || scene.world.pinfold.json("/v1/partners")["partners"][0].clone();
    let has = |sessions: u64| {
        wait_until(SOON, || {
            let partner = partner();
            let is_held = partner["pins"][0]["sessions"] == sessions;
            (partner["sessions"] == sessions && is_held).then_some(())
        })
    };
    let held = has(1);
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(held.is_some(), "{}", partner());
    assert!(has(0).is_some(), "{}", partner());
}
