//! `pinfold vrrp-check`: what keepalived goes by when it moves the VIPs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pinfold_loadtest::process::{Signal, wait_until};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::world::{Caller, Directory, FABRIKAM, SOON, World};

/// What keepalived allows, with what a busy machine takes to start a process.
const IN_TIME: Duration = Duration::from_millis(1500);

fn check(admin: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
    let command = command.arg("vrrp-check").args(arguments);
    let Output {
        status,
        stdout,
        stderr,
    } = command.env("PINFOLD_ADMIN", admin).output().unwrap();
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    let said = [stdout, stderr].map(|said| String::from_utf8(said).unwrap());
    assert_eq!(said.concat().lines().count(), 1, "{said:?}");
    (status.code(), said.concat())
}

fn at(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Two listeners of one pool, of which only the second one is served whatever the nodes do, and one of another.
fn world() -> World {
    World::start_with(1, |setup| {
        setup.listener("access", "access", "127.0.0.1:0");
        setup.listeners[1].more = "node_port = 1\n[listener.probe]\nkind = \"none\"".into();
        setup.rest = "[[pool]]\nname = \"other\"\n[[pool.node]]\nname = \"other1\"\naddress = \"127.0.0.1\"\n\
             [[listener]]\nname = \"other\"\nbind = \"127.0.0.1:0\"\nservice = \"tcp\"\nnode_port = 1\n\
             pool = \"other\"\n[listener.probe]\nkind = \"none\"\n"
            .into();
        setup.server = "view = [\"127.0.0.1:0\"]".into();
    })
}

#[test]
fn it_is_ready_while_every_listener_that_counts_has_a_node() {
    let mut world = world();
    let admin = at(&world.directory.admin());
    let status = world.pinfold.json("/v1/status");
    let view = status["views"][0].as_str().unwrap().to_owned();
    assert_eq!(check(&admin, &[]), (Some(0), "ready\n".into()));
    let (code, said) = check(&admin, &["--listener", "nonsense"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there are access, federation"), "{said}");

    world.edge("edge1").kill().unwrap();
    let turned = || (check(&admin, &[]).0 == Some(1)).then_some(());
    assert!(wait_until(SOON, turned).is_some());
    for admin in [&admin, &view] {
        let not_ready = |arguments: &[&str]| {
            let (code, said) = check(admin, arguments);
            assert_eq!(code, Some(1), "{arguments:?}: {said}");
            assert!(
                said.starts_with("not ready: no node of pool \"edge\" is up for federation"),
                "{said}"
            );
        };
        not_ready(&[]);
        not_ready(&["--pool", "edge"]);
        not_ready(&["--listener", "access", "--listener", "federation"]);
        not_ready(&["--pool", "other", "--listener", "federation"]);
        for arguments in [
            &["--listener", "access"][..],
            &["--pool", "other"],
            &["--pool", "other", "--listener", "access"],
        ] {
            assert_eq!(check(admin, arguments).0, Some(0), "{arguments:?}");
        }
    }
    world.edge("edge1").restart().unwrap();
    world.pinfold.wait_ready();
    assert_eq!(check(&admin, &[]).0, Some(0));
}

#[test]
fn without_a_daemon_it_exits_with_69_and_with_a_stuck_one_it_still_answers_in_time() {
    let mut world = World::start(1);
    let admin = at(&world.directory.admin());
    let nobody = at(&world.directory.path().join("nobody"));
    assert_eq!(check(&nobody, &[]).0, Some(69));
    world.pinfold.process.signal(Signal::STOP).unwrap();
    let (code, said) = check(&admin, &["--pool", "edge", "--listener", "federation"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("does not answer within 0.8 s"), "{said}");
    world.pinfold.process.signal(Signal::CONT).unwrap();
    let (_caller, _) = Caller::served(world.address(), FABRIKAM).unwrap();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let stopping = || (check(&admin, &[]) != (Some(0), "ready\n".into())).then_some(());
    assert!(wait_until(SOON, stopping).is_some());
    world.pinfold.process.wait_exit(SOON);
    assert_eq!(check(&admin, &[]).0, Some(69));
}

#[test]
fn a_socket_whose_queue_is_full_is_a_stuck_daemon() {
    let directory = Directory::create();
    let path = directory.path().join("full");
    let address = SockAddr::unix(&path).unwrap();
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&address).unwrap();
    listener.listen(1).unwrap();
    // Nobody accepts.
    let connected = || {
        let socket = socket();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&address).is_ok().then_some(socket)
    };
    let waiting: Vec<_> = (0..100).map_while(|_| connected()).collect();
    assert!(waiting.len() < 100, "the queue has no end");
    let (code, said) = check(&at(&path), &[]);
    assert_eq!(code, Some(1), "{said}");
}
