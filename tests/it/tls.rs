//! Real TLS of every version in use passes through untouched, and proves nodes alive.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use pinfold_loadtest::process::{Process, wait_until};

use crate::scripted::{Script, ScriptedNode, UNASKED};
use crate::wire::Wire;
use crate::world::{Directory, Pinfold, SOON, Setup, World};

/// Versions below 1.2 need it.
pub(crate) const ANY_CIPHER: &str = "ALL:@SECLEVEL=0";

/// `openssl` in `directory`, which holds a key and a certificate for each side.
pub(crate) fn openssl(directory: &Path, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(directory);
    command.args(arguments.split(' '));
    command
}

pub(crate) fn certify(directory: &Path) {
    for name in ["server", "client"] {
        let made = openssl(
            directory,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name}.test \
                 -keyout {name}.key -out {name}.pem"
            ),
        )
        .output()
        .expect("these tests need the program `openssl`");
        assert!(made.status.success(), "{made:?}");
    }
}

/// An OpenSSL server that shows the certificate `name` of `directory`, with these options beside.
pub(crate) fn s_server(directory: &Path, name: &str, options: &str) -> (Process, SocketAddr) {
    let arguments =
        format!("s_server -accept 127.0.0.1:0 -cert {name}.pem -key {name}.key {options}");
    let process = Process::spawn(&mut openssl(directory, &arguments)).unwrap();
    let line = process.wait_line(SOON, |line| line.starts_with("ACCEPT "));
    let line = line.unwrap_or_else(|| panic!("openssl: {}", process.output()));
    let address = line.trim().strip_prefix("ACCEPT ").unwrap();
    (process, address.parse().unwrap())
}

/// A server that speaks only `version`, asks for a certificate, and says lines backwards.
pub(crate) fn server(directory: &Path, version: &str) -> (Process, SocketAddr) {
    let options = format!("{version} -Verify 1 -cipher {ANY_CIPHER} -rev");
    s_server(directory, "server", &options)
}

fn client(directory: &Path, version: &str, address: SocketAddr) -> Command {
    openssl(
        directory,
        &format!(
            "s_client -connect {address} {version} -cipher {ANY_CIPHER} -cert client.pem \
             -key client.key -brief -ign_eof"
        ),
    )
}

/// A client with a certificate meets a server of `version` through Pinfold.
fn passes_through(version: &str, name: &str) {
    let directory = Directory::create();
    certify(directory.path());
    let (node, address) = server(directory.path(), version);
    let world = World::start_with(0, |setup| {
        setup.node("edge", address);
        setup.listeners[0].more = UNASKED.into();
    });
    let lines: Vec<String> = (0..300)
        .map(|number| format!("{number} {}", "0123456789".repeat(number % 40)))
        .collect();
    let said = lines.join("\n") + "\nCLOSE\n";
    fs::write(directory.path().join("said"), said).unwrap();
    let input = fs::File::open(directory.path().join("said")).unwrap();
    let output = fs::File::create(directory.path().join("heard")).unwrap();
    let complaints = fs::File::create(directory.path().join("complaints")).unwrap();
    let mut running = client(directory.path(), version, world.address())
        .stdin(input)
        .stdout(output)
        .stderr(complaints)
        .spawn()
        .unwrap();
    let ended = wait_until(SOON, || running.try_wait().unwrap());
    let _ = running.kill();
    let _ = running.wait();
    let read = |file| fs::read_to_string(directory.path().join(file)).unwrap();
    let (heard, complaints) = (read("heard"), read("complaints"));
    assert!(ended.is_some_and(|status| status.success()), "{complaints}");

    let backwards = |line: &String| line.chars().rev().collect::<String>();
    let expected: Vec<_> = lines.iter().map(backwards).collect();
    assert_eq!(heard.lines().collect::<Vec<_>>(), expected);
    let version = format!("Protocol version: {name}");
    assert!(
        complaints.lines().any(|line| line == version),
        "{complaints}"
    );
    let certificate = |line: &str| line == "Peer certificate: CN = client.test";
    let seen = node.wait_line(SOON, certificate);
    assert!(seen.is_some(), "{}", node.output());
    let negotiated = node.wait_line(SOON, |line| line == version);
    assert!(negotiated.is_some(), "{}", node.output());
}

#[test]
fn tls_1_0_with_a_client_certificate_passes_through() {
    passes_through("-tls1", "TLSv1");
}

#[test]
fn tls_1_1_with_a_client_certificate_passes_through() {
    passes_through("-tls1_1", "TLSv1.1");
}

#[test]
fn tls_1_2_with_a_client_certificate_passes_through() {
    passes_through("-tls1_2", "TLSv1.2");
}

#[test]
fn tls_1_3_with_a_client_certificate_passes_through() {
    passes_through("-tls1_3", "TLSv1.3");
}

/// The first record of a connection.
fn first_record(stream: &mut impl Read) -> Vec<u8> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).unwrap();
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).unwrap();
    record
}

#[test]
fn the_node_receives_the_client_hello_byte_for_byte() {
    let directory = Directory::create();
    certify(directory.path());
    let node = ScriptedNode::start(Script::Listen);
    let world = World::start_with(0, |setup| setup.scripted(&[&node], ""));
    for version in ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"] {
        let between = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = between.local_addr().unwrap();
        let mut command = client(directory.path(), version, address);
        let client = Process::spawn(&mut command).unwrap();
        let (mut from_client, _) = between.accept().unwrap();
        from_client.set_read_timeout(Some(SOON)).unwrap();
        let hello = first_record(&mut from_client);
        let mut wire = Wire::connect(world.address(), Ipv4Addr::LOCALHOST).unwrap();
        // In pieces, as a slow network would bring it.
        for piece in hello.chunks(100) {
            wire.0.write_all(piece).unwrap();
        }
        wire.finish();
        let told = node.wait_told(|told| told.bytes.len() >= hello.len() && told.bytes == hello);
        assert_eq!(told.bytes[0], 22, "{version}: a handshake record");
        drop(client);
    }
}

#[test]
fn a_hello_proves_servers_of_every_tls_version_alive() {
    let directory = Directory::create();
    certify(directory.path());
    let versions = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"];
    let nodes: Vec<_> = versions
        .iter()
        .map(|version| server(directory.path(), version))
        .collect();
    let world = World::start_with(0, |setup| {
        for (version, (_, address)) in versions.iter().zip(&nodes) {
            setup.node(&version[1..], *address);
        }
    });
    for version in versions {
        let node = world.pinfold.node(&version[1..]);
        let evidence = &node["services"][0]["evidence"];
        assert_eq!(evidence, "probe answered", "{version}: {node}");
    }
}

/// What the first service of a node shows.
fn certificate(world: &World, node: &str) -> serde_json::Value {
    world.pinfold.node(node)["services"][0]["certificate"].take()
}

#[test]
fn a_probe_tells_which_certificate_a_node_shows_and_whether_the_pool_shows_one() {
    let directories = [Directory::create(), Directory::create()];
    let [ours, other] = directories.each_ref().map(|directory| directory.path());
    certify(ours);
    certify(other);
    let nodes = [
        ("new", server(ours, "-tls1_2")),
        ("old", server(ours, "-tls1")),
        ("hidden", server(ours, "-tls1_3")),
    ];
    let mut world = World::start_with(0, |setup| {
        for (name, (_, address)) in &nodes {
            setup.node(name, *address);
        }
    });
    let wait_same = |world: &World, node: &str, same: bool| {
        let shown = wait_until(SOON, || {
            let shown = certificate(world, node);
            (shown["same"] == same).then_some(shown)
        });
        shown.unwrap_or_else(|| panic!("{node}: {}", world.pinfold.json("/v1/nodes")))
    };
    for node in ["new", "old"] {
        let shown = wait_same(&world, node, true);
        assert_eq!(shown["name"], "server.test", "{shown}");
        assert_eq!(shown["key"].as_str().unwrap().len(), 64);
    }
    assert!(certificate(&world, "hidden").is_null(), "TLS 1.3 hides it");
    let log = |world: &World, what: &str| {
        let has = || world.pinfold.process.output().contains(what).then_some(());
        assert!(wait_until(SOON, has).is_some(), "no {what}");
    };
    // These last two days.
    log(&world, "certificate-expiring");
    let sample =
        "pinfold_certificate_expiry_seconds{pool=\"edge\",node=\"new\",listener=\"federation\"}";
    assert!(world.pinfold.metric(sample).is_some_and(|end| end > 1.7e9));

    let (_process, address) = server(other, "-tls1_2");
    world.reload_with(|setup| setup.node("odd", address));
    wait_same(&world, "odd", false);
    wait_same(&world, "new", false);
    log(&world, "certificate-differs");
    world.reload_with(|setup| setup.remove_node("odd"));
    wait_same(&world, "new", true);
    log(&world, "certificate-agrees");
}

/// Pinfold before a node that no test waits for to be up.
fn before(node: &ScriptedNode) -> (Directory, Pinfold, Instant) {
    let mut setup = Setup::default();
    setup.node("odd", node.address());
    let directory = Directory::create();
    directory.write(&setup);
    let begun = Instant::now();
    let pinfold = Pinfold::start(&directory);
    let listening = || pinfold.get("/live").ok();
    assert!(wait_until(SOON, listening).is_some());
    (directory, pinfold, begun)
}

#[test]
fn a_node_that_answers_a_hello_with_garbage_is_down_for_its_wrong_answer() {
    let node = ScriptedNode::start(Script::Greet(b"220 mail.example ESMTP\r\n"));
    let (_directory, pinfold, _) = before(&node);
    pinfold.wait_health("odd", "down");
    let evidence = &pinfold.node("odd")["services"][0]["evidence"];
    assert_eq!(evidence, "probe answered wrongly");
}

#[test]
fn a_node_that_accepts_and_says_nothing_is_down_after_silence() {
    let node = ScriptedNode::start(Script::Listen);
    let (_directory, pinfold, begun) = before(&node);
    pinfold.wait_health("odd", "down");
    let silence = begun.elapsed();
    let evidence = &pinfold.node("odd")["services"][0]["evidence"];
    assert_eq!(evidence, "probe unanswered");
    assert!(silence.as_millis() >= 600, "condemned after {silence:?}");
}
