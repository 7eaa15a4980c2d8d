//! How connections end: the last byte and the end arrive, in whatever order sides finish.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use pinfold_loadtest::process::wait_until;

use crate::scripted::UNASKED;
use crate::wire::{Ended, Wire};
use crate::world::{SOON, World, caller_address};

/// What lies in the kernel's buffers when nobody reads: less than these hold.
const UNREAD: usize = 512 * 1024;

/// A node in the test's own hands, and Pinfold before it.
struct Bare {
    node: TcpListener,
    world: World,
}

impl Bare {
    fn start(more: &str) -> Self {
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let world = World::start_with(0, |setup| {
            setup.node("n1", node.local_addr().unwrap());
            setup.listeners[0].more = format!("{more}{UNASKED}");
        });
        Self { node, world }
    }

    /// A session on which both sides have said a byte: client, node.
    fn session(&self, number: usize) -> (Wire, Wire) {
        let mut client = Wire::connect(self.world.address(), caller_address(number)).unwrap();
        client.send(b"?").unwrap();
        let stream = self.node.accept().unwrap().0;
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let mut node = Wire(stream);
        assert_eq!(node.receive(1).unwrap(), b"?");
        node.send(b"!").unwrap();
        assert_eq!(client.receive(1).unwrap(), b"!");
        (client, node)
    }

    fn wait_no_sessions(&self) {
        let gone = wait_until(SOON, || {
            let active = self.world.pinfold.metric("pinfold_sessions_active");
            (active == Some(0.0)).then_some(())
        });
        assert!(gone.is_some(), "the session ends");
    }
}

fn hears_all(wire: &mut Wire, bytes: &[u8]) {
    let (heard, ended) = wire.until_ended(SOON).expect("it ends");
    assert!(heard == bytes, "{} of {} bytes", heard.len(), bytes.len());
    assert_eq!(ended, Ended::Closed);
}

fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; UNREAD];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes
}

#[test]
fn what_nobody_has_read_when_the_last_side_finishes_still_arrives_with_its_end() {
    let bare = Bare::start("");
    let bytes = bytes();
    for number in 0..4 {
        let (mut client, mut node) = bare.session(number);
        let is_client_first = number % 2 == 0;
        let (first, last) = if is_client_first {
            (&mut client, &mut node)
        } else {
            (&mut node, &mut client)
        };
        first.finish();
        hears_all(last, b"");
        last.send(&bytes).unwrap();
        last.finish();
        // Pinfold has let go of both before anybody reads.
        bare.wait_no_sessions();
        hears_all(first, &bytes);
    }
}

#[test]
fn both_sides_that_finish_at_once_hear_everything_that_was_on_its_way() {
    let bare = Bare::start("");
    let bytes = bytes();
    for number in 0..20 {
        let (mut client, mut node) = bare.session(number);
        thread::scope(|scope| {
            for wire in [&client, &node] {
                scope.spawn(|| {
                    (&wire.0).write_all(&bytes).unwrap();
                    wire.finish();
                });
            }
        });
        hears_all(&mut client, &bytes);
        hears_all(&mut node, &bytes);
    }
    bare.wait_no_sessions();
}

#[test]
fn short_sessions_leave_nothing_behind() {
    let bare = Bare::start("");
    let node = bare.node.try_clone().unwrap();
    thread::spawn(move || {
        for (number, stream) in node.incoming().flatten().enumerate() {
            serve_briefly(stream, number);
        }
    });
    let brief = |number: usize| {
        let mut client = Wire::connect(bare.world.address(), caller_address(number % 50)).unwrap();
        client.send(b"hello").unwrap();
        if number % 5 == 4 {
            return client.reset();
        }
        if number % 5 == 3 {
            client.finish();
        }
        let _ = client.ended();
    };
    (0..100).for_each(brief);
    bare.wait_no_sessions();
    let before = descriptors(&bare.world);
    (0..1000).for_each(brief);
    bare.wait_no_sessions();
    let left = wait_until(SOON, || (descriptors(&bare.world) <= before).then_some(()));
    assert!(left.is_some(), "{} were {before}", descriptors(&bare.world));
    let pins = bare.world.pinfold.json("/v1/pins");
    for pin in pins["pins"].as_array().unwrap() {
        assert_eq!(pin["sessions"], 0, "{pin}");
    }
}

/// Ends in each way there is.
fn serve_briefly(mut stream: TcpStream, number: usize) {
    let _ = stream.set_read_timeout(Some(SOON));
    match number % 3 {
        0 => {
            let _ = stream.read(&mut [0; 16]);
            let _ = stream.write_all(b"bye");
        }
        1 => {
            let _ = stream.write_all(b"bye");
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 16]);
        }
        _ => {
            let _ = stream.write_all(b"bye");
            Wire(stream).reset();
        }
    }
}

fn descriptors(world: &World) -> usize {
    let path = format!("/proc/{}/fd", world.pinfold.process.pid());
    std::fs::read_dir(path).unwrap().count()
}
