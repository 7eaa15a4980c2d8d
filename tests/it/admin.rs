//! The admin API: who may change what, and that nobody can hold it up.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::{EdgeProcess, Signal, wait_until};

use crate::measures::whole;
use crate::world::{
    Caller, Directory, FABRIKAM, Pinfold, SOON, Setup, World, caller_address, edge,
};

/// Pinfold whose admin API is on a loopback address, and the node behind it.
struct OverTcp {
    _pinfold: Pinfold,
    address: SocketAddr,
    _node: EdgeProcess,
    _directory: Directory,
}

impl OverTcp {
    fn start(token: Option<&str>) -> Self {
        let node = edge("edge1");
        let directory = Directory::create();
        let address = free_address();
        let mut setup = Setup::default();
        setup.node(node.name(), node.address());
        if let Some(token) = token {
            let file = directory.path().join("token");
            fs::write(&file, format!("{token}\n")).unwrap();
            setup.server = format!("admin_token_file = \"{}\"", file.display());
        }
        let unix = format!("unix:{}", directory.admin().display());
        let text = setup.text(&directory).replace(&unix, &address.to_string());
        directory.write_text(&text);
        let pinfold = Pinfold::start(&directory);
        let over_tcp = Self {
            _pinfold: pinfold,
            address,
            _node: node,
            _directory: directory,
        };
        let ready = || (over_tcp.ask("GET /ready", "").ok()?.0 == 200).then_some(());
        assert!(wait_until(SOON, ready).is_some());
        over_tcp
    }

    /// The answer to `request`, said with `Host` as it should be.
    fn ask(&self, request: &str, headers: &str) -> io::Result<(u16, String)> {
        let host = format!("Host: {}\r\n{headers}", self.address);
        self.ask_as(request, &host)
    }

    fn ask_as(&self, request: &str, headers: &str) -> io::Result<(u16, String)> {
        let stream = TcpStream::connect_timeout(&self.address, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        talk(stream, request, headers)
    }

    fn status(&self, request: &str, headers: &str) -> u16 {
        self.ask(request, headers).unwrap().0
    }
}

/// One that the system has just picked, where nobody else looks.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.8.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn talk(mut stream: impl Read + Write, request: &str, head: &str) -> io::Result<(u16, String)> {
    write!(
        stream,
        "{request} HTTP/1.1\r\n{head}Content-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {answer}")))?;
    Ok((status, answer))
}

const DRAIN: &str = "POST /v1/nodes/edge1/drain";

#[test]
fn changes_over_tcp_need_the_token() {
    let api = OverTcp::start(Some("s3cret"));
    assert_eq!(api.status(DRAIN, ""), 403);
    assert_eq!(api.status(DRAIN, "Authorization: Bearer wrong\r\n"), 403);
    assert_eq!(api.status("POST /v1/reload", ""), 403);
    let (_, nodes) = api.ask("GET /v1/nodes", "").unwrap();
    assert!(
        nodes.contains("\"state\":\"active\""),
        "nothing has changed: {nodes}"
    );
    assert_eq!(api.status(DRAIN, "Authorization: Bearer s3cret\r\n"), 200);
    let (_, nodes) = api.ask("GET /v1/nodes", "").unwrap();
    assert!(nodes.contains("\"state\":\"draining\""), "{nodes}");
    assert!(
        nodes.contains("token from 127.0.0.1"),
        "who asked is kept: {nodes}"
    );
}

#[test]
fn without_a_token_file_nothing_can_be_changed_over_tcp() {
    let api = OverTcp::start(None);
    for token in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer x\r\n",
    ] {
        assert_eq!(api.status(DRAIN, token), 403, "{token:?}");
    }
}

#[test]
fn requests_over_tcp_that_are_not_meant_for_us_are_refused() {
    let api = OverTcp::start(Some("s3cret"));
    let token = "Authorization: Bearer s3cret\r\n";
    for (head, expected) in [
        (format!("Host: {}\r\n", api.address), 200),
        (format!("Host: localhost:{}\r\n", api.address.port()), 200),
        (
            format!("Host: evil.example:{}\r\n", api.address.port()),
            403,
        ),
        ("Host: 127.0.8.1:1\r\n".into(), 403),
        (
            format!("Host: {0}\r\nOrigin: http://{0}\r\n", api.address),
            200,
        ),
        (
            format!("Host: {}\r\nOrigin: http://evil.example\r\n", api.address),
            403,
        ),
        (format!("Host: {}\r\nOrigin: null\r\n", api.address), 403),
    ] {
        let status = api.ask_as("GET /v1/status", &head).unwrap().0;
        assert_eq!(status, expected, "GET with {head}");
        let reload = api
            .ask_as("POST /v1/reload", &format!("{head}{token}"))
            .unwrap()
            .0;
        assert_eq!(reload, expected, "POST with {head}");
    }
}

#[test]
fn every_page_can_be_read_over_tcp_and_over_the_unix_socket() {
    let (api, world) = (OverTcp::start(None), World::start(1));
    for path in [
        "/live",
        "/ready",
        "/metrics",
        "/v1/status",
        "/v1/nodes",
        "/v1/sessions",
        "/v1/partners",
        "/v1/pins",
        "/v1/failovers",
    ] {
        assert_eq!(api.status(&format!("GET {path}"), ""), 200, "{path}");
        let answer = world.pinfold.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(!path.starts_with("/v1") || answer.json().unwrap().is_object());
    }
    assert_eq!(world.pinfold.get("/nothing").unwrap().status, 404);
    assert_eq!(world.pinfold.post("/v1/status").unwrap().status, 405);
}

#[test]
fn nodes_are_changed_over_the_unix_socket() {
    let world = World::start(2);
    for (verb, state) in [
        ("drain", "draining"),
        ("disable", "disabled"),
        ("resume", "active"),
    ] {
        let answer = world
            .pinfold
            .post(&format!("/v1/nodes/edge1/{verb}?reason=patch"));
        assert_eq!(answer.unwrap().status, 200);
        assert_eq!(world.pinfold.node("edge1")["state"], state);
    }
    assert_eq!(
        world.pinfold.post("/v1/nodes/nobody/drain").unwrap().status,
        404
    );
    let wrong = world.pinfold.post("/v1/nodes/edge1/drain?deadline=soon");
    assert_eq!(wrong.unwrap().status, 400);
}

#[test]
fn slow_and_oversized_requests_hold_nobody_up() {
    let world = World::start(1);
    let path = world.directory.admin();
    let (mut slow, begun) = (Vec::new(), Instant::now());
    // More than there are places for; each of them would keep its own for seconds.
    for number in 0..400 {
        let mut stream = UnixStream::connect(&path).unwrap();
        // One that was dismissed meanwhile is reset.
        let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: lo");
        slow.push(stream);
        if number % 100 == 99 {
            assert_eq!(world.pinfold.get("/live").unwrap().status, 200);
        }
    }
    let dismissed = slow.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        let asked = (&mut &**stream).read(&mut [0]);
        !asked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    assert!(
        dismissed.count() >= 300,
        "the newest ones keep their places"
    );
    // Three seconds for each four dozen, if nobody had to give way.
    let passed = begun.elapsed();
    assert!(passed < Duration::from_secs(15), "{passed:?}");
    drop(slow);

    let many: String = (0..500)
        .map(|number| format!("X-{number}: x\r\n"))
        .collect();
    let long = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(100_000));
    for head in [long, many] {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // Refused, or cut off before all of it was said.
        let status = talk(stream, "GET /v1/status", &head).map_or(431, |answer| answer.0);
        assert_eq!(status, 431);
    }
    let mut wordy = UnixStream::connect(&path).unwrap();
    let head = b"POST /v1/reload?plan=true HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n";
    wordy.write_all(head).unwrap();
    let _ = wordy.write_all(&[b'x'; 100_000]);
    assert_eq!(world.pinfold.get("/ready").unwrap().status, 200);
    assert_eq!(world.pinfold.metric("pinfold_panics_total"), Some(0.0));
}

#[test]
fn connections_that_say_nothing_give_way_even_when_they_take_every_place() {
    let world = World::start(1);
    let path = world.directory.admin();
    let silent: Vec<_> = (0..60)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    assert_eq!(world.pinfold.get("/live").unwrap().status, 200);
    drop(silent);
}

#[test]
fn ready_turns_to_503_when_every_node_is_down_and_back() {
    let mut world = World::start(2);
    for name in ["edge1", "edge2"] {
        world.edge(name).kill().unwrap();
    }
    let not_ready = || (world.pinfold.get("/ready").ok()?.status == 503).then_some(());
    assert!(wait_until(SOON, not_ready).is_some());
    let answer = world.pinfold.get("/ready").unwrap();
    assert!(
        answer.body.contains("no node of pool \"edge\" is up"),
        "{}",
        answer.body
    );
    assert_eq!(world.pinfold.get("/live").unwrap().status, 200);
    world.edge("edge1").restart().unwrap();
    world.pinfold.wait_ready();
}

#[test]
fn ready_turns_to_503_while_it_stops() {
    let mut world = World::start(1);
    let (mut caller, _) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let stopping = || (world.pinfold.get("/ready").ok()?.status == 503).then_some(());
    assert!(wait_until(SOON, stopping).is_some());
    caller.ask("still here").unwrap();
    assert!(
        world
            .pinfold
            .get("/ready")
            .unwrap()
            .body
            .contains("stopping")
    );
    let status = world.pinfold.process.wait_exit(SOON);
    assert!(status.is_some_and(|status| status.success()));
}

#[test]
fn the_metrics_hold_what_a_scripted_history_did() {
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "max_sessions_per_client = 1".into();
    });
    let address = world.address();
    let served = |number| Caller::served(address, caller_address(number)).unwrap().0;
    // Ten that leave in order, three that nodes close, two that nodes reset, one refused, two stay.
    drop((0..10).map(served).collect::<Vec<_>>());
    for (number, words) in [
        (10, "!close"),
        (11, "!close"),
        (12, "!close"),
        (13, "!reset"),
        (14, "!reset"),
    ] {
        let mut caller = served(number);
        caller.say(words).unwrap();
        assert!(caller.ends_within(SOON));
    }
    let _stay = [served(20), served(21)];
    assert!(Caller::served(address, caller_address(20)).is_err());
    let mut partner = Caller::served(address, FABRIKAM).unwrap().0;
    partner.ask("x").unwrap();

    let pinfold = &world.pinfold;
    for (outcome, count) in [
        ("client-closed", 10),
        ("node-closed", 3),
        ("node-reset", 2),
        ("refused-limit", 1),
    ] {
        pinfold.wait_ended(outcome, count);
    }
    let metric = |sample: &str| pinfold.metric(sample).map(whole);
    let active =
        "pinfold_sessions_active{listener=\"federation\",service=\"federation\",pool=\"edge\"}";
    assert_eq!(metric(active), Some(3));
    let bytes = |direction| {
        metric(&format!(
            "pinfold_bytes_total{{listener=\"federation\",direction=\"{direction}\"}}"
        ))
    };
    // Eighteen said "hello", five more "!close" or "!reset", the partner "x" too.
    assert_eq!(bytes("up"), Some(18 * 6 + 3 * 7 + 2 * 7 + 2));
    // "edge1 " stands before each answer.
    assert_eq!(bytes("down"), Some(18 * 12 + 8));
    assert_eq!(metric("pinfold_pins{kind=\"partner\"}"), Some(1));
    assert_eq!(metric("pinfold_pins{kind=\"address\"}"), Some(17));
    assert_eq!(
        metric("pinfold_node_up{pool=\"edge\",node=\"edge1\",listener=\"federation\"}"),
        Some(1)
    );
    assert_eq!(metric("pinfold_config_revision"), Some(pinfold.revision()));
    assert_eq!(metric("pinfold_panics_total"), Some(0));

    let text = world.pinfold.get("/metrics").unwrap().body;
    assert!(text.ends_with("# EOF\n"), "{text}");
    world.edge("edge1").kill().unwrap();
    world.edge("edge2").kill().unwrap();
    world.pinfold.wait_health("edge1", "down");
    let sample = "pinfold_node_up{pool=\"edge\",node=\"edge1\",listener=\"federation\"}";
    assert_eq!(world.pinfold.metric(sample), Some(0.0));
}
