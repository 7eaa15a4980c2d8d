//! How long who is waited for, and that an end passes both ways.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;
use socket2::{Domain, Socket, Type};

use crate::scripted::{Script, ScriptedNode, UNASKED};
use crate::wire::{Ended, Wire};
use crate::world::{Caller, FABRIKAM, SOON, World, edge};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);

fn world(node: &ScriptedNode, more: &str) -> World {
    World::start_with(0, |setup| setup.scripted(&[node], more))
}

#[test]
fn a_silent_client_is_ended_after_first_bytes_timeout_and_reaches_no_node() {
    let node = ScriptedNode::start(Script::Echo);
    let world = world(&node, "first_bytes_timeout = \"300ms\"\n");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    assert!(wire.ended().is_some());
    world.pinfold.wait_ended("first-bytes-timeout", 1);
    assert!(node.told().is_empty());
}

#[test]
fn an_idle_session_is_reset_on_both_sides_after_idle_timeout() {
    let node = ScriptedNode::start(Script::Echo);
    let world = world(&node, "idle_timeout = \"1s\"\n");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    // As long as bytes pass it is not idle, whatever its age.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2_100) {
        assert!(wire.echoes(b"busy"));
        assert!(wire.until_ended(Duration::from_millis(50)).is_none());
    }
    assert_eq!(wire.ended(), Some(Ended::Reset));
    let told = node.wait_told(|told| told.ended.is_some());
    assert_eq!(told.ended, Some(Ended::Reset));
    world.pinfold.wait_ended("idle", 1);
}

#[test]
fn an_idle_session_lives_where_idle_timeout_is_off() {
    let node = ScriptedNode::start(Script::Echo);
    let more =
        "idle_timeout = \"off\"\nconnect_timeout = \"100ms\"\nfirst_bytes_timeout = \"200ms\"\n";
    let world = world(&node, more);
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    assert!(wire.echoes(b"hello"));
    assert!(wire.until_ended(Duration::from_millis(700)).is_none());
    assert!(wire.echoes(b"still here"));
}

#[test]
fn a_node_still_answers_a_client_that_has_finished() {
    let node = ScriptedNode::start(Script::AnswerAtTheEnd(b"heard it all"));
    let world = world(&node, "");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    wire.send(b"one").unwrap();
    wire.send(b"two").unwrap();
    wire.finish();
    let (answer, ended) = wire.until_ended(SOON).unwrap();
    assert_eq!((&*answer, ended), (&b"heard it all"[..], Ended::Closed));
    assert_eq!(node.told()[0].bytes, b"onetwo");
    world.pinfold.wait_ended("client-closed", 1);
}

#[test]
fn a_client_still_speaks_to_a_node_that_has_finished() {
    let node = ScriptedNode::start(Script::FinishFirst(b"bye"));
    let world = world(&node, "");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    wire.send(b"one").unwrap();
    let (answer, ended) = wire.until_ended(SOON).unwrap();
    assert_eq!((&*answer, ended), (&b"bye"[..], Ended::Closed));
    wire.send(b"two").unwrap();
    wire.finish();
    let told = node.wait_told(|told| told.ended.is_some());
    assert_eq!(
        (&*told.bytes, told.ended),
        (&b"onetwo"[..], Some(Ended::Closed))
    );
    world.pinfold.wait_ended("node-closed", 1);
}

#[test]
fn a_session_half_finished_is_ended_after_fin_timeout() {
    let node = ScriptedNode::start(Script::Nothing);
    let world = world(&node, "fin_timeout = \"300ms\"\n");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    wire.send(b"one").unwrap();
    wire.finish();
    assert_eq!(wire.ended(), Some(Ended::Reset));
    world.pinfold.wait_ended("client-closed", 1);
}

/// A node that has stopped accepting: once its queue is full, its kernel answers no more.
pub(crate) struct Full {
    listener: Socket,
    pub(crate) address: SocketAddr,
    waiting: Vec<Socket>,
}

impl Full {
    pub(crate) fn open() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        Self {
            listener,
            address,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn fill(&mut self) {
        for _ in 0..8 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let limit = Duration::from_millis(100);
            let is_full = socket.connect_timeout(&self.address.into(), limit).is_err();
            self.waiting.push(socket);
            if is_full {
                return;
            }
        }
        panic!("the queue does not fill");
    }
}

#[test]
fn a_node_that_does_not_answer_a_dial_is_passed_over_and_keeps_its_pin() {
    let mut full = Full::open();
    let sound = edge("sound");
    let world = World::start_with(0, |setup| {
        setup.node("full", full.address);
        setup.node("sound", sound.address());
        setup.fabrikam = "node = \"full\"".into();
        setup.listeners[0].more = format!("connect_timeout = \"200ms\"{UNASKED}");
    });
    let mut first = Wire::connect(world.address(), FABRIKAM).unwrap();
    first.send(b"hello\n").unwrap();
    let accepted = full.listener.accept().unwrap().0;
    accepted.send(b"welcome").unwrap();
    assert_eq!(first.receive(7).unwrap(), b"welcome");
    let pinned = wait_until(SOON, || world.pinfold.pin("fabrikam"));
    assert_eq!(pinned.as_deref(), Some("full"));

    full.fill();
    let (mut caller, node) = Caller::served(world.address(), FABRIKAM).unwrap();
    assert_eq!(node, "sound");
    assert_eq!(caller.ask("again").unwrap(), "sound");
    assert_eq!(world.pinfold.pin("fabrikam").as_deref(), Some("full"));
    assert!(
        first.until_ended(Duration::from_millis(50)).is_none(),
        "its session lives"
    );
}

#[test]
fn a_session_that_lasts_is_kept_alive_towards_its_node_too() {
    let node = ScriptedNode::start(Script::Echo);
    let world = world(&node, "keepalive = \"45s\"\nuser_timeout = \"off\"\n");
    let mut wire = Wire::connect(world.address(), CLIENT).unwrap();
    assert!(wire.echoes(b"hello"));
    let kept = wait_until(SOON, || kept_alive_towards(node.address()).then_some(()));
    assert!(kept.is_some(), "no keepalive timer runs");
    assert!(wire.echoes(b"and goes on"));
}

#[test]
fn a_session_that_lasts_is_kept_alive_towards_the_node_that_replaced_a_silent_one_too() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, node) = (
        silent.local_addr().unwrap(),
        ScriptedNode::start(Script::Echo),
    );
    let world = World::start_with(0, |setup| {
        setup.node("silent", address);
        setup.node("sound", node.address());
        setup.fabrikam = "node = \"silent\"".into();
        let more = "keepalive = \"45s\"\nuser_timeout = \"off\"\nconnect_timeout = \"200ms\"";
        setup.listeners[0].more = format!("{more}{UNASKED}");
    });
    let mut wire = Wire::connect(world.address(), FABRIKAM).unwrap();
    wire.send(b"hello").unwrap();
    let dialled = silent.accept().unwrap().0;
    let kept = || kept_alive_towards(address).then_some(());
    assert!(wait_until(SOON, kept).is_some(), "it lasts");
    Wire(dialled).reset();
    assert_eq!(wire.receive(5).unwrap(), b"hello");
    let kept = || kept_alive_towards(node.address()).then_some(());
    assert!(wait_until(SOON, kept).is_some(), "no keepalive timer runs");
}

/// Whether the kernel runs a keepalive timer (proc(5), `/proc/net/tcp`, timer 2) on an established
/// connection to `node`.
fn kept_alive_towards(node: SocketAddr) -> bool {
    let remote = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()),
        node.port()
    );
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        fields.get(2) == Some(&remote.as_str())
            && fields.get(3) == Some(&"01")
            && fields.get(5).is_some_and(|timer| timer.starts_with("02:"))
    })
}
