//! Listeners that come, go, and change hands.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, Directory, Pinfold, SOON, World, caller_address, find, lonely_address};

/// Whether nobody listens there. A listener without a node accepts and resets, perhaps before the
/// caller has looked: that is no refusal.
fn refuses(address: SocketAddr) -> bool {
    let call = TcpStream::connect_timeout(&address, SOON);
    call.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_listener_that_a_reload_adds_serves_and_one_that_it_removes_is_closed() {
    let mut world = World::start(2);
    let (mut old, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    world.reload_with(|setup| setup.listener("second", "tcp", "127.0.0.1:0"));
    let second = world.pinfold.address("second");
    let (mut caller, served_by) = Caller::served(second, caller_address(2)).unwrap();

    world.reload_with(|setup| drop(setup.listeners.pop()));
    let closed = wait_until(SOON, || refuses(second).then_some(()));
    assert!(closed.is_some(), "the port of a removed listener is closed");
    assert_eq!(caller.ask("still here").unwrap(), served_by);
    assert_eq!(old.ask("still here").unwrap(), node);
}

#[test]
fn an_address_that_changes_hands_between_listeners_refuses_nobody() {
    let address = SocketAddr::from((lonely_address(), 5061));
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].bind = address.to_string();
        setup.listener("other", "tcp", "127.0.0.1:0");
    });
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients = (0..3).map(|number| {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        thread::spawn(move || {
            let mut wrongs = Vec::new();
            while !stop.load(Relaxed) {
                if let Err(error) = Caller::served(address, caller_address(number)) {
                    wrongs.push(error.to_string());
                }
                served.fetch_add(1, Relaxed);
            }
            wrongs
        })
    });
    let clients: Vec<_> = clients.collect();
    for round in 0..150 {
        // Now another name at the same address, now the same names with addresses exchanged.
        world.reload_with(|setup| setup.listeners[0].name = format!("front{}", round % 3));
    }
    stop.store(true, Relaxed);
    let wrongs: Vec<_> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    let served = served.load(Relaxed);
    let (count, first) = (wrongs.len(), wrongs.first());
    assert!(count == 0, "{count} of {served}: {first:?}");
    assert!(served > 150, "only {served} visits");
}

#[test]
fn addresses_that_two_listeners_exchange_keep_their_queues_and_change_their_masters() {
    let bind = [5061, 5062].map(|port| SocketAddr::from((lonely_address(), port)));
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].bind = bind[0].to_string();
        setup.listener("other", "tcp", &bind[1].to_string());
    });
    for round in 0..6 {
        world.reload_with(|setup| {
            setup.listeners[0].bind = bind[(round + 1) % 2].to_string();
            setup.listeners[1].bind = bind[round % 2].to_string();
        });
        for (name, address) in [
            ("federation", bind[(round + 1) % 2]),
            ("other", bind[round % 2]),
        ] {
            assert_eq!(world.pinfold.address(name), address);
            let (_caller, _) = Caller::served(address, caller_address(round)).unwrap();
            let counted = || {
                let status = world.pinfold.json("/v1/status");
                (find(&status["listeners"], "name", name)["sessions"] == 1).then_some(())
            };
            assert!(wait_until(SOON, counted).is_some(), "{name} at {address}");
        }
    }
}

#[test]
fn a_listener_that_refuses_without_a_node_closes_and_opens_again() {
    let mut world = World::start_with(2, |setup| {
        setup.listeners[0].more = "when_no_node = \"refuse\"".into();
        setup.listener("dialling", "tcp", "127.0.0.1:0");
    });
    let address = world.address();
    let dialling = world.pinfold.address("dialling");
    let is_open = |world: &World, name| {
        let status = world.pinfold.json("/v1/status");
        find(&status["listeners"], "name", name)["open"]
            .as_bool()
            .unwrap()
    };
    for edge in &mut world.edges {
        edge.kill().unwrap();
    }
    let closed = wait_until(SOON, || (!is_open(&world, "federation")).then_some(()));
    assert!(closed.is_some(), "it closes");
    assert!(wait_until(SOON, || refuses(address).then_some(())).is_some());
    assert!(is_open(&world, "dialling") && !refuses(dialling));

    world.edge("edge2").restart().unwrap();
    let opened = wait_until(SOON, || is_open(&world, "federation").then_some(()));
    assert!(opened.is_some(), "it opens again");
    let (_, node) = Caller::served(address, caller_address(1)).unwrap();
    assert_eq!(node, "edge2");
    assert_eq!(world.address(), address, "on the same port");
}

#[test]
fn a_second_instance_on_the_same_address_is_refused_in_one_line() {
    let address = SocketAddr::from((lonely_address(), 5061));
    let world = World::start_with(1, |setup| setup.listeners[0].bind = address.to_string());
    let directory = Directory::create();
    directory.write(&world.setup);
    let mut second = Pinfold::start(&directory);
    let status = second.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(71));
    let output = second
        .process
        .wait_line(SOON, |line| line.starts_with("pinfold: "));
    let line = output.expect("one line for people");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(line.contains("\"federation\""), "{line}");
    let (_, node) = Caller::served(address, caller_address(1)).unwrap();
    assert_eq!(node, "edge1");
}

#[test]
fn a_second_instance_on_the_same_state_directory_is_refused() {
    let world = World::start(1);
    let directory = Directory::create();
    let (theirs, ours) = (directory.state(), world.directory.state());
    let text = world.setup.text(&directory);
    let text = text.replace(&theirs.display().to_string(), &ours.display().to_string());
    directory.write_text(&text);
    let mut second = Pinfold::start(&directory);
    let status = second.process.wait_exit(SOON).expect("it ends");
    assert_eq!(status.code(), Some(69));
    let line = second
        .process
        .wait_line(SOON, |line| line.starts_with("pinfold: "))
        .unwrap();
    assert!(line.contains(&ours.display().to_string()), "{line}");
}

#[test]
fn a_client_that_is_silent_is_let_go_and_others_do_not_wait_for_it() {
    let world = World::start_with(1, |setup| {
        setup.listeners[0].more = "first_bytes_timeout = \"1s\"".into();
    });
    let mut silent = Caller::connect(world.address(), Ipv4Addr::new(127, 0, 7, 7)).unwrap();
    for number in 0..20 {
        Caller::served(world.address(), caller_address(number)).unwrap();
    }
    assert!(silent.ends_within(Duration::from_secs(5)));
}
