//! Bulk both ways at once arrives byte for byte, with memory to spare and without.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use pinfold_loadtest::process::wait_until;

use crate::scripted::UNASKED;
use crate::wire::Wire;
use crate::world::{SOON, World, caller_address};

const BLOCK: usize = 64 * 1024;
const BLOCKS: usize = 1024;
const NODE_SAYS: u64 = 1;
const CLIENT_SAYS: u64 = 2;

/// Writes 64 MiB that `seed` makes, and finishes.
fn write_all(mut stream: &TcpStream, seed: u64) -> io::Result<()> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut block = vec![0; BLOCK];
    for _ in 0..BLOCKS {
        dice.fill(&mut block);
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)
}

/// Reads to the end, and holds it against what `seed` makes.
fn read_all(mut stream: &TcpStream, seed: u64) -> io::Result<()> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut expected, mut block) = (vec![0; BLOCK], vec![0; BLOCK]);
    for number in 0..BLOCKS {
        dice.fill(&mut expected);
        stream.read_exact(&mut block)?;
        if block != expected {
            return Err(io::Error::other(format!("block {number} differs")));
        }
    }
    match stream.read(&mut block)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than was sent")),
    }
}

/// Writes what one seed makes and at the same time reads what the other makes.
fn exchange(stream: &TcpStream, says: u64, hears: u64) -> io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    thread::scope(|scope| {
        let written = scope.spawn(|| write_all(stream, says));
        read_all(stream, hears)?;
        written.join().unwrap()
    })
}

/// A node, and how many clients it has exchanged everything with.
fn node() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let done = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&done);
    // Ends with the test's process: it waits for clients and holds nothing else.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                if exchange(&stream, NODE_SAYS, CLIENT_SAYS).is_ok() {
                    count.fetch_add(1, SeqCst);
                }
            });
        }
    });
    (address, done)
}

/// Exchanges everything beside so many clients that say something and never read.
fn both_ways(server: &str, stuck: usize) {
    let (address, done) = node();
    let world = World::start_with(0, |setup| {
        setup.server = server.into();
        setup.node("n1", address);
        setup.listeners[0].more = UNASKED.into();
    });
    let stuck: Vec<_> = (0..stuck)
        .map(|number| {
            let small = |socket: &socket2::Socket| socket.set_recv_buffer_size(4096);
            let source = caller_address(number);
            let mut wire = Wire::connect_with(world.address(), source, small).unwrap();
            wire.send(b"?").unwrap();
            wire
        })
        .collect();
    for wire in &stuck {
        wire.0.peek(&mut [0]).unwrap();
    }
    let wire = Wire::connect(world.address(), Ipv4Addr::LOCALHOST).unwrap();
    exchange(&wire.0, CLIENT_SAYS, NODE_SAYS).expect("the client hears what the node says");
    let heard = wait_until(SOON, || (done.load(SeqCst) == 1).then_some(()));
    assert!(heard.is_some(), "the node hears what the client says");
    let sample = "pinfold_bytes_total{listener=\"federation\",direction=\"up\"}";
    #[expect(clippy::cast_precision_loss, reason = "64 MiB fit a double")]
    let all = (BLOCK * BLOCKS + stuck.len()) as f64;
    assert_eq!(world.pinfold.metric(sample), Some(all));
}

#[test]
fn bulk_both_ways_at_once_arrives_byte_for_byte() {
    both_ways("", 0);
}

#[test]
fn bulk_both_ways_at_once_arrives_byte_for_byte_when_slow_readers_hold_all_memory() {
    // Less cannot be configured.
    both_ways("buffer_memory = \"1MiB\"", 60);
}
