//! Starting and stopping, as a service manager sees it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::{Signal, wait_until};

use crate::world::{Caller, Directory, Notified, Pinfold, SOON, Setup, World, caller_address};

/// What a busy machine needs beyond any limit.
const GRACE: Duration = Duration::from_millis(1500);

#[test]
fn sigterm_ends_everything_within_stop_timeout_and_exits_0() {
    let mut world = World::start(2);
    let address = world.address();
    let (mut caller, _) = Caller::served(address, caller_address(1)).unwrap();
    let begun = Instant::now();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let closed = wait_until(SOON, || TcpStream::connect(address).is_err().then_some(()));
    assert!(closed.is_some(), "nobody is taken in any more");
    assert!(begun.elapsed() < GRACE, "the doors close at once");
    let status = world.pinfold.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    // stop_timeout is 2 s by default.
    assert!(
        begun.elapsed() < Duration::from_secs(2) + GRACE,
        "{:?}",
        begun.elapsed()
    );
    assert!(caller.ends_within(SOON));
}

#[test]
fn sigterm_without_sessions_ends_at_once() {
    let mut world = World::start(1);
    let begun = Instant::now();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let status = world.pinfold.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    assert!(
        !world.directory.admin().exists(),
        "the admin socket is gone"
    );
}

#[test]
fn a_second_sigterm_means_now() {
    let mut world = World::start_with(1, |setup| setup.server = "stop_timeout = \"60s\"".into());
    let (mut caller, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let said = world
        .pinfold
        .process
        .wait_line(SOON, |line| line.contains("stopping"));
    assert!(said.is_some());
    assert_eq!(caller.ask("still here").unwrap(), node);
    let begun = Instant::now();
    world.pinfold.process.signal(Signal::TERM).unwrap();
    let status = world.pinfold.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    assert!(caller.ends_within(SOON));
}

#[test]
fn the_service_manager_hears_of_every_turn() {
    let mut world = World::start(1);
    let directory = Directory::create();
    directory.write(&world.setup);
    let notified = Notified::listen(&directory);
    world.pinfold = Pinfold::start_with(&directory, |command| {
        command.env("NOTIFY_SOCKET", notified.path());
        command.env("WATCHDOG_USEC", "2000000");
    });
    assert_eq!(notified.next().trim(), "READY=1");
    world.pinfold.wait_ready();
    assert!(
        notified.signs_of_life(Duration::from_secs(1)) >= 2,
        "the watchdog is fed"
    );

    Setup::change_harmlessly(&mut world.setup);
    directory.write(&world.setup);
    world.pinfold.process.signal(Signal::HUP).unwrap();
    let reloading = notified.next();
    let mut lines = reloading.trim().lines();
    assert_eq!(lines.next(), Some("RELOADING=1"));
    let since = lines
        .next()
        .and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        since.is_some_and(|since| since.parse::<u64>().is_ok()),
        "{reloading}"
    );
    assert_eq!(notified.next().trim(), "READY=1");

    // Also when the reload is refused: it is over.
    directory.write_text("version = 1\nno_such_key = 1\n");
    world.pinfold.process.signal(Signal::HUP).unwrap();
    assert!(notified.next().starts_with("RELOADING=1"));
    assert_eq!(notified.next().trim(), "READY=1");

    world.pinfold.process.signal(Signal::TERM).unwrap();
    assert_eq!(notified.next().trim(), "STOPPING=1");
    let status = world.pinfold.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn readiness_waits_for_verdicts_but_not_for_dead_nodes() {
    let stage = crate::world::Stage::open();
    let dead = stage.edge("dead");
    stage.wait(dead.kill());
    let mut setup = Setup::default();
    setup.node("dead", dead.address());
    let directory = Directory::create();
    directory.write(&setup);
    let notified = Notified::listen(&directory);
    let pinfold = Pinfold::start_with(&directory, |command| {
        command.env("NOTIFY_SOCKET", notified.path());
    });
    assert_eq!(notified.next().trim(), "READY=1");
    let ready = pinfold.get("/ready").unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    stage.wait(dead.revive()).unwrap();
    pinfold.wait_ready();
}
