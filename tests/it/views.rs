//! Addresses for reading: what they tell, to whom, and that they change and hold up nothing.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use pinfold_loadtest::http::{self, Response};
use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::laboratory::laboratory;
use crate::world::{Directory, Pinfold, SOON, Setup, World};

/// Whom `view_from` names in these tests, and whom it does not.
const NAMED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const REFUSED: &str = "pinfold_views_refused_total";

fn view_socket(directory: &Directory) -> PathBuf {
    directory.path().join("view").join("view.sock")
}

/// One node, and the addresses `view` beside the admin API's own.
fn start(view: impl FnOnce(&Directory) -> String) -> World {
    let mut world = World::start(1);
    let line = view(&world.directory);
    world.rewrite(|setup| setup.server = line);
    world.restart();
    world
}

fn both(directory: &Directory) -> String {
    let path = view_socket(directory);
    format!(
        "view = [\"unix:{}\", \"127.0.0.1:0\"]\nview_from = [\"{NAMED}\"]",
        path.display()
    )
}

/// A node that nobody plays, for tests that need none.
fn node_nowhere(server: &str) -> Setup {
    let mut setup = Setup::default();
    setup.node("edge1", SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    setup.server = server.into();
    setup
}

/// Where the view over TCP is.
fn tcp_view(world: &World) -> SocketAddr {
    let status = world.pinfold.json("/v1/status");
    let views = status["views"].as_array().unwrap();
    let mut addresses = views
        .iter()
        .filter_map(|view| view.as_str().unwrap().parse().ok());
    addresses.next().unwrap()
}

fn connect(address: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&address.into(), SOON)?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket.into())
}

/// The answer to `request` of somebody at `source`; `None` where the connection was closed without one.
fn ask(address: SocketAddr, source: Ipv4Addr, request: &str) -> Option<(u16, String)> {
    let mut stream = connect(address, source).unwrap();
    let head = "Host: lb1.contoso.com\r\nContent-Length: 0\r\n\r\n";
    // Who is closed at accept may learn of it here.
    let _ = write!(stream, "{request} HTTP/1.1\r\n{head}");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.get(9..12)?.parse().ok()?;
    Some((status, answer))
}

fn status(answer: io::Result<Response>) -> u16 {
    answer.unwrap().status
}

#[test]
fn a_unix_view_answers_every_get_and_changes_nothing() {
    let world = start(both);
    let view = view_socket(&world.directory);
    for path in [
        "/live",
        "/ready",
        "/ready/federation",
        "/metrics",
        "/v1/status",
        "/v1/nodes",
        "/v1/sessions",
        "/v1/partners",
        "/v1/pins",
        "/v1/failovers",
        "/v1/explain/fabrikam",
        "/v1/drill/edge1",
    ] {
        assert_eq!(status(http::get(&view, path)), 200, "{path}");
        let head = http::request(&view, "HEAD", path, "").unwrap();
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    for (method, path) in [
        ("POST", "/v1/nodes/edge1/drain"),
        ("POST", "/v1/nodes/edge1/disable"),
        ("POST", "/v1/nodes/edge1/maintain"),
        ("POST", "/v1/reload"),
        ("PUT", "/v1/pins/fabrikam"),
        ("DELETE", "/v1/pins/fabrikam"),
        ("POST", "/v1/pins/import"),
        ("OPTIONS", "/v1/status"),
    ] {
        let answer = http::request(&view, method, path, "{}").unwrap();
        assert_eq!(answer.status, 403, "{method} {path}");
        assert!(answer.body.contains("`admin`"), "{}", answer.body);
    }
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
    assert_eq!(world.pinfold.json("/v1/pins")["pins"], Value::Array(vec![]));
    let command = |word: &str| {
        let view = format!("unix:{}", view.display());
        world.pinfold(&[word, "--admin", &view])
    };
    assert!(command("status").status.success());
    let refused = command("reload");
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("for reading only"), "{said}");
}

#[test]
fn the_file_of_a_unix_view_has_the_group_of_its_directory() {
    let directory = Directory::create();
    let folder = directory.path().join("view");
    fs::create_dir(&folder).unwrap();
    // A group that nobody is in, where this process may give one away; its own otherwise.
    let _ = chown(&folder, None, Some(12_345));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o2750)).unwrap();
    directory.write(&node_nowhere(&both(&directory)));
    let mut pinfold = Pinfold::start(&directory);
    let view = view_socket(&directory);
    let file = wait_until(SOON, || {
        let is_open = http::get(&view, "/live").is_ok();
        is_open.then(|| fs::metadata(&view).unwrap())
    });
    let file = file.expect("the view opens");
    assert_eq!(file.mode() & 0o7777, 0o660);
    assert_eq!(file.gid(), fs::metadata(&folder).unwrap().gid());
    pinfold.process.signal(Signal::TERM).unwrap();
    assert!(pinfold.process.wait_exit(SOON).is_some());
    assert!(!view.exists(), "the stop takes its file away");
}

#[test]
fn over_tcp_a_view_tells_of_readiness_and_figures_and_of_nothing_else() {
    let world = start(both);
    let address = tcp_view(&world);
    let ask = |request: &str| ask(address, NAMED, request).unwrap();
    for path in ["/live", "/ready", "/ready/federation", "/metrics"] {
        assert_eq!(ask(&format!("GET {path}")).0, 200, "{path}");
        assert_eq!(ask(&format!("HEAD {path}")).0, 200, "{path}");
        assert_eq!(ask(&format!("POST {path}")).0, 403, "{path}");
    }
    for path in [
        "/",
        "/v1/status",
        "/v1/partners",
        "/v1/explain/fabrikam",
        "/live/../v1/status",
        "/ready/federation/v1/status",
        "//v1/status",
        "/%761/status",
    ] {
        let (status, answer) = ask(&format!("GET {path}"));
        assert_eq!(status, 403, "{path}: {answer}");
        assert!(!answer.contains("fabrikam\""), "{answer}");
    }
    assert_eq!(ask("POST /v1/nodes/edge1/drain").0, 403);
    assert_eq!(world.pinfold.node("edge1")["state"], "active");
}

#[test]
fn whom_view_from_does_not_name_is_closed_counted_and_told() {
    let world = start(both);
    let address = tcp_view(&world);
    for _ in 0..30 {
        assert_eq!(ask(address, STRANGER, "GET /live"), None);
    }
    assert_eq!(ask(address, NAMED, "GET /live").unwrap().0, 200);
    assert_eq!(world.pinfold.metric(REFUSED), Some(30.0));
    let output = world.pinfold.process.output();
    let told: Vec<_> = output
        .lines()
        .filter(|line| line.contains("view-refused"))
        .collect();
    // A burst in a while; thirty may fall into two of them.
    assert!((1..30).contains(&told.len()), "{told:#?}");
    assert!(told[0].contains(&STRANGER.to_string()), "{}", told[0]);
}

#[test]
fn without_view_from_only_this_machine_may_look_and_a_view_waits_for_its_address() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        let view = |lines: &str| {
            let setup = node_nowhere(lines);
            directory.write(&setup);
        };
        // The last one is on no interface yet.
        view("view = [\"127.0.0.1:9062\", \"198.51.100.1:9062\", \"198.51.100.77:9062\"]");
        let mut pinfold = laboratory.pinfold(&directory);
        pinfold
            .process
            .wait_line(SOON, |line| line.contains("serving"))
            .expect("it serves");
        let from = |name: &str, address: &str| {
            let command = format!("curl --silent --max-time 10 http://{address}:9062/live");
            laboratory.sh(name, &command).stdout == b"alive\n"
        };
        assert!(from("appliance", "127.0.0.1"));
        assert!(!from("client", "198.51.100.1"));
        assert_eq!(pinfold.metric(REFUSED), Some(1.0));
        laboratory.must("appliance", "ip addr add 198.51.100.77/24 dev outside");

        view(
            "view = [\"127.0.0.1:9062\", \"198.51.100.1:9062\", \"198.51.100.77:9062\"]\n\
             view_from = [\"198.51.100.200\"]",
        );
        pinfold.process.signal(Signal::HUP).unwrap();
        let reloaded = || (pinfold.revision() == 2).then_some(());
        assert!(wait_until(SOON, reloaded).is_some());
        assert!(from("client", "198.51.100.1"));
        assert!(from("client", "198.51.100.77"));
        assert!(!from("appliance", "127.0.0.1"), "it is not named");
    });
}

#[test]
fn each_listener_tells_whether_it_is_ready() {
    let mut world = World::start_with(1, |setup| {
        setup.listener("access", "access", "127.0.0.1:0");
        setup.listeners[1].more = "node_port = 1\n[listener.probe]\nkind = \"none\"".into();
    });
    let ready = |world: &World, path: &str| world.pinfold.get(path).unwrap();
    for path in ["/ready/federation", "/ready/access", "/ready?pool=edge"] {
        assert_eq!(ready(&world, path).status, 200, "{path}");
    }
    let unknown = ready(&world, "/ready/nonsense");
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.contains("there are access, federation"),
        "{}",
        unknown.body
    );
    let unknown = ready(&world, "/ready?pool=edgy");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("did you mean"), "{}", unknown.body);

    world.edge("edge1").kill().unwrap();
    let is_down = || (ready(&world, "/ready/federation").status == 503).then_some(());
    assert!(wait_until(SOON, is_down).is_some());
    let why = ready(&world, "/ready/federation").body;
    assert!(why.contains("no node of pool \"edge\""), "{why}");
    assert_eq!(ready(&world, "/ready/access").status, 200);
    assert_eq!(ready(&world, "/ready?pool=edge").status, 503);
    assert_eq!(ready(&world, "/ready").status, 503);
}

#[test]
fn a_reload_opens_and_closes_views_and_changes_who_may_use_them() {
    let mut world = start(both);
    let (address, view) = (tcp_view(&world), view_socket(&world.directory));
    let before = fs::metadata(&view).unwrap().ino();
    assert_eq!(ask(address, STRANGER, "GET /live"), None);

    let everybody = both(&world.directory).replace(&NAMED.to_string(), "127.0.0.0/8");
    world.reload_with(|setup| setup.server = everybody.clone());
    assert_eq!(ask(address, STRANGER, "GET /live").unwrap().0, 200);
    assert_eq!(tcp_view(&world), address, "an address that stays is kept");
    assert_eq!(fs::metadata(&view).unwrap().ino(), before);

    world.reload_with(|setup| setup.server = String::new());
    let is_gone = || (connect(address, NAMED).is_err() && !view.exists()).then_some(());
    assert!(wait_until(SOON, is_gone).is_some());
    assert_eq!(
        world.pinfold.json("/v1/status")["views"],
        Value::Array(vec![])
    );

    // A bad one changes nothing, and leaves nothing behind.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let both = format!("view = [\"unix:{}\", \"{}\"]", view.display(), taken.1);
    world.rewrite(|setup| setup.server = both);
    let revision = world.pinfold.revision();
    let output = world.pinfold(&["reload"]);
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!("cannot open view \"{}\"", taken.1)),
        "{said}"
    );
    assert_eq!(world.pinfold.revision(), revision);
    assert!(!view.exists(), "the socket that was bound first is gone");
}

#[test]
fn a_view_that_is_full_holds_up_neither_the_admin_api_nor_another_view() {
    let world = start(both);
    let (address, view) = (tcp_view(&world), view_socket(&world.directory));
    // More than there is room for, of those that say nothing and of those that never finish what they say.
    let mut held = Vec::new();
    for number in 0..60 {
        let mut stream = connect(address, NAMED).unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lo");
        }
        held.push(stream);
    }
    assert_eq!(status(world.pinfold.get("/live")), 200);
    assert_eq!(status(http::get(&view, "/live")), 200);
    assert_eq!(ask(address, NAMED, "GET /live").unwrap().0, 200);
    drop(held);

    let mut silent: Vec<_> = (0..60)
        .map(|_| UnixStream::connect(&view).unwrap())
        .collect();
    assert_eq!(status(world.pinfold.get("/live")), 200);
    assert_eq!(ask(address, NAMED, "GET /live").unwrap().0, 200);
    assert_eq!(status(http::get(&view, "/live")), 200);
    let first = &mut silent[0];
    first.set_nonblocking(true).unwrap();
    let gave_way = || {
        let said = first.read(&mut [0]);
        (!said.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)).then_some(())
    };
    assert!(wait_until(SOON, gave_way).is_some(), "the oldest gave way");
}

#[test]
fn a_view_in_a_folder_that_the_sandbox_hides_is_refused_and_a_restart_allows_it() {
    let mut world = World::start(1);
    let view = view_socket(&world.directory);
    world.rewrite(|setup| setup.server = format!("view = [\"unix:{}\"]", view.display()));
    let output = world.pinfold(&["reload"]);
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["cannot open view", "the sandbox is why", "restart pinfold"] {
        assert!(said.contains(word), "{said}");
    }
    world.restart();
    assert!(view.exists());
}
