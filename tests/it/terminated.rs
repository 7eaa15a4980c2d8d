//! TLS that ends at Pinfold: versions, names, client certificates, resumption, nodes behind TLS, and certificates that
//! change.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use pinfold_loadtest::process::{Signal, wait_until};
use pinfold_loadtest::tls::{TlsVersion, client_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::http::browser::Browser;
use crate::scripted::{Script, ScriptedNode};
use crate::tls::{certify, openssl, s_server};
use crate::world::{Directory, SOON, World};

/// Lines of a listener that ends TLS by the certificate `name` of `directory`.
pub(crate) fn terminating(directory: &Path, name: &str) -> String {
    let pair = pair(directory, name);
    format!(
        "mode = \"terminate\"\nprobe = {{ kind = \"tcp\" }}\n[listener.tls]\ncertificates = [{pair}]\n"
    )
}

pub(crate) fn pair(directory: &Path, name: &str) -> String {
    let directory = directory.display();
    format!("{{ chain = \"{directory}/{name}.pem\", key = \"{directory}/{name}.key\" }}")
}

/// Makes a certificate `name` for `names`, signed by the authority "ca" of `directory`, which is made where there is
/// none.
pub(crate) fn issue(directory: &Path, name: &str, names: &[&str]) {
    let run = |arguments: &str| {
        let done = openssl(directory, arguments).output();
        let done = done.expect("these tests need the program `openssl`");
        assert!(done.status.success(), "{arguments}: {done:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    if !directory.join("ca.pem").exists() {
        let whose = directory.file_name().unwrap().to_string_lossy();
        run(&format!(
            "req -x509 {key} -days 2 -subj /CN={whose} -keyout ca.key -out ca.pem"
        ));
    }
    let alternatives: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let extension = format!("subjectAltName={}\n", alternatives.join(","));
    fs::write(directory.join("extension"), extension).unwrap();
    run(&format!(
        "req {key} -subj /CN={} -keyout {name}.key -out {name}.csr",
        names[0]
    ));
    run(&format!(
        "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extension -out {name}.pem"
    ));
}

/// What one `openssl s_client` heard and what it told of the connection.
#[derive(Debug)]
struct Told {
    heard: String,
    told: String,
}

/// Says `lines` to `address` and reads the answers, until as many have come or the connection is over.
fn say(directory: &Path, address: SocketAddr, arguments: &str, lines: &[&str]) -> Told {
    let mut command = openssl(
        directory,
        &format!("s_client -connect {address} {arguments}"),
    );
    let (heard, told) = (directory.join("heard"), directory.join("told"));
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&heard).unwrap())
        .stderr(fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let mut input = running.stdin.take().unwrap();
    // One that is refused may be gone before it is spoken to.
    let _ = input.write_all((lines.join("\n") + "\n").as_bytes());
    let read = |path| fs::read_to_string(path).unwrap();
    let ended = wait_until(SOON, || {
        let has_all = lines
            .iter()
            .all(|line| read(&heard).contains(&format!(" {line}\n")));
        let status = running.try_wait().unwrap();
        (has_all || status.is_some()).then_some(())
    });
    drop(input);
    let status = wait_until(SOON, || running.try_wait().unwrap());
    let _ = running.kill();
    let _ = running.wait();
    assert!(ended.is_some() && status.is_some(), "{}", read(&told));
    Told {
        heard: read(&heard),
        told: read(&told),
    }
}

/// A pool of one node that is spoken to in clear, behind a listener that ends TLS.
fn in_clear(directory: &Path, more: &str) -> World {
    let more = terminating(directory, "server") + more;
    World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    })
}

#[test]
fn both_versions_of_tls_end_here_and_the_node_hears_plain_text() {
    let directory = Directory::create();
    certify(directory.path());
    let world = in_clear(directory.path(), "");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments = format!("-brief {version}");
        let Told { heard, told } = say(
            directory.path(),
            world.address(),
            &arguments,
            &["one", "two"],
        );
        assert_eq!(heard, "edge1 one\nedge1 two\n", "{told}");
        assert!(
            told.contains(&format!("Protocol version: {name}")),
            "{told}"
        );
    }
    let has = |version: &str| {
        let text = world.pinfold.get("/metrics").unwrap().body;
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("pinfold_tls_sessions_total"));
        lines.any(|line| line.contains(&format!("version=\"{version}\"")))
    };
    assert!(has("1.2") && has("1.3"));
}

#[test]
fn what_is_older_than_the_least_is_told_so_and_said_with_a_remedy() {
    let directory = Directory::create();
    certify(directory.path());
    let world = in_clear(directory.path(), "min_version = \"1.3\"\n");
    for version in ["-tls1_2", "-tls1_1"] {
        let arguments = format!("{version} -cipher ALL:@SECLEVEL=0");
        let Told { heard, told } = say(directory.path(), world.address(), &arguments, &["one"]);
        assert!(
            told.contains("alert protocol version"),
            "{version}: {told}{heard}"
        );
    }
    let log = || {
        world
            .pinfold
            .process
            .output()
            .contains("tls-refused")
            .then_some(())
    };
    assert!(wait_until(SOON, log).is_some());
    let refused = "pinfold_sessions_total{listener=\"federation\",outcome=\"refused-tls\"}";
    assert_eq!(world.pinfold.metric(refused), Some(2.0));
    assert!(
        world
            .pinfold
            .process
            .output()
            .contains("pass its TLS through")
    );
}

#[test]
fn the_certificate_is_the_one_of_the_name_that_is_asked_for() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    issue(path, "web", &["web.contoso.com", "*.apps.contoso.com"]);
    let mut more = terminating(path, "server");
    let both = format!(
        "certificates = [{}, {}]",
        pair(path, "server"),
        pair(path, "web")
    );
    more = more.replace(&format!("certificates = [{}]", pair(path, "server")), &both);
    let world = World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    let shown = |name: &str| {
        let arguments = format!("-brief {name}");
        let Told { heard, told } = say(path, world.address(), &arguments, &["one"]);
        assert_eq!(heard, "edge1 one\n", "{told}");
        let line = told
            .lines()
            .find(|line| line.starts_with("Peer certificate:"));
        line.unwrap_or_default()
            .rsplit("CN = ")
            .next()
            .unwrap()
            .to_owned()
    };
    for (asked, certificate) in [
        ("-servername web.contoso.com", "web.contoso.com"),
        ("-servername WEB.Contoso.com", "web.contoso.com"),
        ("-servername a.apps.contoso.com", "web.contoso.com"),
        ("-servername a.b.apps.contoso.com", "sip.contoso.com"),
        ("-servername sip.contoso.com", "sip.contoso.com"),
        ("-servername nobody.example", "sip.contoso.com"),
        ("-noservername", "sip.contoso.com"),
    ] {
        assert_eq!(shown(asked), certificate, "{asked}");
    }
}

#[test]
fn a_client_must_show_a_good_certificate_and_is_known_by_it() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    issue(path, "partner", &["sip.adatum.com"]);
    // Nobody here vouches for this one.
    let elsewhere = Directory::create();
    issue(elsewhere.path(), "stranger", &["sip.stranger.com"]);
    for file in ["stranger.pem", "stranger.key"] {
        fs::copy(elsewhere.path().join(file), path.join(file)).unwrap();
    }
    let ca = format!(
        "client_auth = \"require\"\nclient_ca = \"{}/ca.pem\"\n",
        path.display()
    );
    let more = format!("pin = \"partner\"\n{}{ca}", terminating(path, "server"));
    let world = World::start_with(2, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
        setup.fabrikam_addresses = vec!["192.0.2.1/32".into()];
        setup.rest = "[[partner]]\nname = \"adatum\"\nedge = \"sip.adatum.com\"\n\
                      addresses = [\"192.0.2.7\"]\ngeneration = \"lync-2010\"\npin = \"partner\"\n\
                      [resolve]\nnames = false\n"
            .into();
    });
    let Told { told, .. } = say(path, world.address(), "-tls1_2", &["one"]);
    assert!(told.contains("alert"), "no certificate: {told}");
    let Told { told, .. } = say(
        path,
        world.address(),
        "-tls1_2 -cert stranger.pem -key stranger.key",
        &["one"],
    );
    assert!(told.contains("alert unknown ca"), "{told}");
    let remedy = || {
        let output = world.pinfold.process.output();
        (output.contains("add whoever issued the certificate")
            && output.contains("the client has no certificate"))
        .then_some(())
    };
    assert!(wait_until(SOON, remedy).is_some());
    // TLS 1.3 hides the certificate from whoever passes it through; here it ends.
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = format!("{version} -brief -cert partner.pem -key partner.key");
        let Told { heard, told } = say(path, world.address(), &arguments, &["one"]);
        let node = heard.split(' ').next().unwrap_or_default().to_owned();
        assert!(heard.ends_with(" one\n"), "{heard}{told}");
        assert_eq!(world.pinfold.pin("adatum"), Some(node), "pinned by name");
    }
}

#[test]
fn a_session_is_taken_up_again_also_after_a_reload_and_not_where_that_is_off() {
    let directory = Directory::create();
    let path = directory.path();
    certify(path);
    let mut world = in_clear(path, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let first = say(
            path,
            world.address(),
            &format!("{version} -sess_out kept"),
            &["one"],
        );
        assert!(first.heard.contains("New, TLSv1"), "{}", first.heard);
        world.reload_harmlessly(1);
        let second = say(
            path,
            world.address(),
            &format!("{version} -sess_in kept"),
            &["two"],
        );
        assert!(
            second.heard.contains("Reused, TLSv1"),
            "{version}: {}",
            second.heard
        );
    }
    world.reload_with(|setup| setup.listeners[0].more += "tickets = false\n");
    let third = say(path, world.address(), "-tls1_3 -sess_in kept", &["three"]);
    assert!(third.heard.contains("New, TLSv1"), "{}", third.heard);
}

/// A client that checks nobody.
fn connect(address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    connect_by(TlsVersion::V1_3, address)
}

fn connect_by(
    version: TlsVersion,
    address: SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let config = client_config(version).unwrap();
    let name = ServerName::try_from("sip.contoso.com").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// Says `line` and hears what comes back.
fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&b'\n') {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
        heard.extend(byte);
    }
    String::from_utf8(heard).unwrap().trim_end().to_owned()
}

/// The certificate that a new client is shown.
fn shown(address: SocketAddr) -> Vec<u8> {
    let mut stream = connect(address);
    ask(&mut stream, "hello");
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_renewed_certificate_is_in_force_after_sighup_and_live_sessions_stay() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    let mut world = in_clear(path, "");
    let mut live = connect(world.address());
    assert_eq!(ask(&mut live, "before"), "edge1 before");
    let before = shown(world.address());
    let revision = world.pinfold.revision();
    issue(path, "server", &["sip.contoso.com"]);
    assert_eq!(shown(world.address()), before, "not before SIGHUP");
    world.pinfold.process.signal(Signal::HUP).unwrap();
    let renewed = || (shown(world.address()) != before).then_some(());
    assert!(wait_until(SOON, renewed).is_some());
    assert_eq!(world.pinfold.revision(), revision + 1);
    assert_eq!(ask(&mut live, "after"), "edge1 after");
    // A key that belongs to another certificate changes nothing, and is named.
    let now = shown(world.address());
    issue(path, "other", &["sip.contoso.com"]);
    fs::copy(path.join("other.key"), path.join("server.key")).unwrap();
    world.pinfold.process.signal(Signal::HUP).unwrap();
    let told = || {
        world
            .pinfold
            .process
            .output()
            .contains("does not belong to the first certificate of")
            .then_some(())
    };
    assert!(wait_until(SOON, told).is_some());
    assert_eq!(shown(world.address()), now);
    // These last two days.
    let warned = || {
        world
            .pinfold
            .process
            .output()
            .contains("certificate-expiring")
            .then_some(())
    };
    assert!(wait_until(SOON, warned).is_some());
    let sample = "pinfold_certificate_expiry_seconds{listener=\"federation\",certificate=\"sip.contoso.com\"}";
    assert!(world.pinfold.metric(sample).is_some_and(|end| end > 1.7e9));
}

#[test]
fn certificates_that_change_under_load_drop_nobody() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    let mut world = in_clear(path, "");
    let address = world.address();
    let mut live: Vec<_> = (0..8).map(|_| connect(address)).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let mut served = 0;
                while !is_over.load(SeqCst) {
                    let mut stream = connect(address);
                    assert_eq!(ask(&mut stream, "new"), "edge1 new");
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut seen = Vec::new();
    for round in 0..10 {
        issue(path, "server", &["sip.contoso.com"]);
        let revision = world.pinfold.revision();
        world.pinfold.process.signal(Signal::HUP).unwrap();
        let in_force = || (world.pinfold.revision() > revision).then_some(());
        assert!(wait_until(SOON, in_force).is_some());
        seen.push(shown(address));
        for stream in &mut live {
            let line = format!("round {round}");
            assert_eq!(ask(stream, &line), format!("edge1 {line}"));
        }
    }
    is_over.store(true, SeqCst);
    for caller in callers {
        assert!(caller.join().unwrap() > 10);
    }
    seen.dedup();
    assert_eq!(seen.len(), 10, "each was in force");
}

#[test]
fn a_node_is_spoken_to_in_tls_and_must_be_who_it_should_be() {
    let directory = Directory::create();
    let path = directory.path();
    issue(path, "server", &["sip.contoso.com"]);
    issue(path, "node", &["edge.contoso.net"]);
    let (node, address) = s_server(
        path,
        "node",
        "-Verify 1 -CAfile ca.pem -verify_return_error -rev",
    );
    let here = path.display().to_string();
    let nodes = |name: &str| {
        format!(
            "[listener.node_tls]\nmode = \"verify\"\nca = \"{here}/ca.pem\"\nserver_name = \"{name}\"\n\
             certificate = {}\n",
            pair(path, "server")
        )
    };
    let more = terminating(path, "server") + &nodes("edge.contoso.net");
    let mut world = World::start_with(0, |setup| {
        setup.node("web1", address);
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    let mut client = connect(world.address());
    assert_eq!(ask(&mut client, "stressed"), "desserts");
    let certificate = |line: &str| line.contains("sip.contoso.com");
    assert!(
        node.wait_line(SOON, certificate).is_some(),
        "{}",
        node.output()
    );
    // That server serves one at a time.
    drop(client);
    // By another name it is not believed: its clients are not served, and it is not dead.
    let more = terminating(path, "server") + &nodes("other.contoso.net");
    world.reload_with(|setup| setup.listeners[0].more = more);
    let mut client = connect(world.address());
    client.write_all(b"stressed\n").unwrap();
    assert!(client.read(&mut [0; 1]).map_or(true, |count| count == 0));
    drop(client);
    let told = || {
        let output = world.pinfold.process.output();
        (output.contains("node-tls-failed")
            && output.contains("write a name that is in the certificate"))
        .then_some(())
    };
    assert!(wait_until(SOON, told).is_some());
    world.pinfold.wait_health("web1", "up");
    // Whom nobody needs to vouch for is believed.
    let more =
        terminating(path, "server") + "[listener.node_tls]\nmode = \"insecure\"\ncertificate = ";
    let more = more + &pair(path, "server");
    world.reload_with(|setup| setup.listeners[0].more = more);
    let mut client = connect(world.address());
    assert_eq!(ask(&mut client, "stressed"), "desserts");
}

/// An echo behind TLS twice over: the outer service speaks TLS to its clients and to its node, which is the inner one.
struct Around {
    inner: World,
    outer: World,
    _echo: ScriptedNode,
}

fn around(path: &Path, server: &str) -> Around {
    issue(path, "server", &["sip.contoso.com"]);
    let echo = ScriptedNode::start(Script::Echo);
    let behind = |node: SocketAddr, more: &str| {
        World::start_with(0, |setup| {
            setup.node("node", node);
            setup.server += server;
            setup.listeners[0].service = "tcp".into();
            setup.listeners[0].more = terminating(path, "server") + more;
        })
    };
    let inner = behind(echo.address(), "");
    let outer = behind(
        inner.address(),
        "[listener.node_tls]\nmode = \"insecure\"\n",
    );
    Around {
        inner,
        outer,
        _echo: echo,
    }
}

fn noise(length: u32) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect()
}

/// Says `expected` and hears it again, as far as buffers allow everything before it reads anything: whoever holds too much
/// stalls it. Then a farewell passes through both ends, and the node's own comes back.
fn is_echoed(mut stream: StreamOwned<ClientConnection, TcpStream>, expected: &[u8]) {
    let socket = stream.sock.try_clone().unwrap();
    let mut heard = Vec::new();
    let mut rest = expected;
    socket.set_nonblocking(true).unwrap();
    let done = wait_until(SOON * 6, || {
        while !rest.is_empty() {
            match stream.write(&rest[..rest.len().min(16 * 1024)]) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut part = [0; 64 * 1024];
        match stream.read(&mut part) {
            Ok(count) => heard.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        (heard.len() == expected.len()).then_some(())
    });
    let (count, of) = (heard.len(), expected.len());
    assert!(done.is_some(), "{count} of {of} bytes");
    assert!(heard == *expected);
    socket.set_nonblocking(false).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn every_byte_arrives_both_ways_through_tls_on_both_sides_also_to_a_slow_reader() {
    let directory = Directory::create();
    let around = around(directory.path(), "");
    is_echoed(connect(around.outer.address()), &noise(6 << 20));
}

/// How many connections the kernel of this machine has taken over so far, one way counted.
fn taken_over() -> Option<u64> {
    let told = fs::read_to_string("/proc/net/tls_stat").ok()?;
    let line = told.lines().find(|line| line.starts_with("TlsTxSw"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[test]
fn bulk_is_gone_on_with_by_the_kernel_where_it_takes_it_and_it_is_said_what_it_takes() {
    let directory = Directory::create();
    let path = directory.path();
    let around = around(path, "");
    let status = around.outer.pinfold.json("/v1/status");
    let told = status["kernel_tls"].as_array().unwrap();
    let takes = |version: &str| {
        let mut told = told.iter();
        let found = told.find(|each| each["version"] == version).unwrap();
        found["refusal"].is_null()
    };
    let must = std::env::var("PINFOLD_KERNEL_TLS").unwrap_or_default();
    if takes("1.2") {
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let before = taken_over().unwrap();
            is_echoed(connect_by(version, around.outer.address()), &noise(6 << 20));
            let more = taken_over().unwrap() - before;
            // TLS 1.3 is spoken between the two services, and what cannot be spliced at both ends stays as it is.
            let expected = if takes("1.3") { 3 } else { 0 };
            assert_eq!(more, expected, "{version:?}");
        }
        // A peer that is not of this library.
        let before = taken_over().unwrap();
        let sent = noise(2 << 20);
        fs::write(path.join("sent"), &sent).unwrap();
        let heard = path.join("heard");
        let arguments = format!(
            "s_client -connect {} -tls1_2 -quiet",
            around.inner.address()
        );
        let mut running = openssl(path, &arguments)
            .stdin(fs::File::open(path.join("sent")).unwrap())
            .stdout(fs::File::create(&heard).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let has_all = wait_until(SOON * 6, || {
            let length = fs::metadata(&heard).unwrap().len();
            (length == sent.len() as u64).then_some(())
        });
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(has_all.is_some() && fs::read(&heard).unwrap() == sent);
        assert_eq!(taken_over().unwrap() - before, 1);
    } else {
        eprintln!("not by this kernel: {told:?}");
        assert_eq!(must, "", "this kernel was to take connections over");
    }
    assert!(takes("1.3") || must != "1.3");
}

#[test]
fn nothing_is_given_to_the_kernel_where_that_is_not_wanted() {
    let directory = Directory::create();
    let around = around(directory.path(), "\nkernel_tls = false");
    let status = around.outer.pinfold.json("/v1/status");
    assert_eq!(status["kernel_tls"], serde_json::json!([]));
    let before = taken_over();
    is_echoed(connect(around.outer.address()), &noise(2 << 20));
    assert_eq!(taken_over(), before);
}

#[test]
fn a_client_that_says_nothing_or_no_tls_is_ended_and_nobody_waits_for_it() {
    let directory = Directory::create();
    certify(directory.path());
    let more = format!(
        "first_bytes_timeout = \"500ms\"\n{}",
        terminating(directory.path(), "server")
    );
    let world = World::start_with(1, |setup| {
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    let ends = |said: &[u8]| {
        let mut stream = TcpStream::connect(world.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(said).unwrap();
        // An alert may come first.
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard);
        assert!(
            end.is_ok()
                || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
        assert!(heard.len() < 100, "{heard:?}");
    };
    ends(b"");
    ends(b"GET / HTTP/1.1\r\n\r\n");
    ends(&[22, 3, 1, 0, 200, 1]);
    ends(&[0x80, 0x2e, 1, 3, 1]);
    let mut client = connect(world.address());
    assert_eq!(ask(&mut client, "one"), "edge1 one");
}

#[test]
fn a_node_that_accepts_and_dies_is_replaced_without_the_client_noticing() {
    let directory = Directory::create();
    certify(directory.path());
    let silent = ScriptedNode::start(Script::FinishFirst(b""));
    let more = format!(
        "replay = true\npin = \"none\"\n{}",
        terminating(directory.path(), "server")
    );
    let world = World::start_with(1, |setup| {
        setup.pool = "balance = \"round-robin\"".into();
        setup.node("silent", silent.address());
        // Each has its turn, however soon a client is gone.
        setup.pool = "balance = \"round-robin\"".into();
        setup.listeners[0].service = "tcp".into();
        setup.listeners[0].more = more;
    });
    for number in 0..10 {
        let mut client = connect(world.address());
        assert_eq!(
            ask(&mut client, &format!("{number}")),
            format!("edge1 {number}")
        );
    }
    assert!(
        world
            .pinfold
            .metric("pinfold_replays_total{listener=\"federation\"}")
            >= Some(1.0)
    );
}

#[test]
fn each_node_is_shown_the_tickets_that_it_has_given_also_where_all_have_one_name() {
    let directory = Directory::create();
    let path = directory.path();
    certify(path);
    let nodes = [(); 2].map(|()| s_server(path, "server", "-www"));
    let world = World::start_with(0, |setup| {
        for (number, (_, address)) in (1..).zip(&nodes) {
            setup.node(&format!("web{number}"), *address);
        }
        setup.pool = "balance = \"round-robin\"".into();
        setup.listeners[0].service = "https".into();
        let ends = terminating(path, "server");
        setup.listeners[0].more = format!(
            "protocol = \"http\"\n{ends}[listener.node_tls]\nmode = \"insecure\"\n\
             server_name = \"pool.contoso.net\"\n"
        );
    });
    let mut known = Vec::new();
    for _ in 0..8 {
        let mut browser = Browser::connect(world.address());
        let answer = browser.get("/", "").unwrap();
        let node = answer.cookie().unwrap();
        let is_known = known.contains(&node);
        let mut page = String::new();
        while !page.contains(", Cipher is") {
            page.push(char::from(browser.hear(1).unwrap()[0]));
        }
        let shown = ["New, TLSv1.3", "Reused, TLSv1.3"][usize::from(is_known)];
        assert!(page.contains(shown), "{shown}: {page}");
        known.push(node);
    }
    known.sort();
    known.dedup();
    assert_eq!(known.len(), 2, "both were asked");
}
