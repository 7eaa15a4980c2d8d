//! Whatever clients do, Pinfold lives, serves the others, and keeps nothing of it.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use crate::wire::Wire;
use crate::world::{Caller, SOON, World, caller_address};

const WITNESS: Ipv4Addr = Ipv4Addr::new(127, 0, 6, 1);
/// How soon a session is served beside an ordeal.
const PROMPT: Duration = Duration::from_secs(2);

/// A session that stands through an ordeal, and is served promptly all the while.
struct Witness {
    caller: Caller,
    address: SocketAddr,
}

impl Witness {
    fn of(world: &World) -> Self {
        let address = world.address();
        let (caller, _) = Caller::served(address, WITNESS).unwrap();
        Self { caller, address }
    }

    /// The old session is undisturbed, and a new one is served.
    fn testifies(&mut self) {
        let begun = Instant::now();
        self.caller.ask("still here").unwrap();
        let (mut other, _) = Caller::served(self.address, WITNESS).unwrap();
        other.ask("new here").unwrap();
        let took = begun.elapsed();
        assert!(took < PROMPT, "served after {took:?}");
    }
}

/// Nodes are up through it all: none is condemned for what clients do.
fn assert_nodes_up(world: &World) {
    for (name, _) in &world.setup.nodes {
        // A reset is a doubt, which the next probe settles.
        world.pinfold.wait_health(name, "up");
    }
    let failovers = world.pinfold.json("/v1/failovers");
    assert_eq!(failovers["failovers"].as_array().unwrap().len(), 0);
}

#[test]
fn garbage_of_any_length_and_any_end_disturbs_nobody() {
    let world = World::start_with(2, |setup| {
        let mut proxied = crate::world::Listener::new("proxied", "federation");
        let node_port = setup.nodes[0]
            .1
            .rsplit([':', '"'])
            .nth(1)
            .unwrap()
            .to_owned();
        proxied.more = format!(
            "node_port = {node_port}\nproxy_protocol = \"accept\"\n\
             proxy_protocol_from = [\"127.0.0.0/8\"]"
        );
        setup.listeners.push(proxied);
    });
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    let addresses = [world.address(), world.pinfold.address("proxied")];
    let mut dice = fastrand::Rng::with_seed(7);
    for number in 0..400 {
        let address = addresses[number % 2];
        let mut wire = Wire::connect(address, caller_address(number)).unwrap();
        let mut bytes = vec![0; dice.usize(1..40_000)];
        dice.fill(&mut bytes);
        // Half of it begins like something that is understood.
        let begins: &[&[u8]] = &[
            b"",
            b"\x16\x03\x01\x40\x00",
            b"PROXY ",
            b"\r\n\r\n\0\r\nQUIT\n",
        ];
        let begin = begins[dice.usize(..begins.len())];
        bytes.splice(..begin.len().min(bytes.len()), begin.iter().copied());
        let _ = wire.send(&bytes);
        match dice.u8(..3) {
            0 => wire.reset(),
            1 => wire.finish(),
            _ => drop(wire),
        }
        if number % 100 == 0 {
            witness.testifies();
        }
    }
    witness.testifies();
    drop(witness);
    assert_nodes_up(&world);
    world.assert_unharmed(before);
}

#[test]
fn two_thousand_silent_connections_hold_nobody_up() {
    let world = World::start(2);
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    let address = world.address();
    let silent: Vec<_> = (0..2000)
        .map(|number| Wire::connect(address, caller_address(number)).unwrap())
        .collect();
    witness.testifies();
    // Deferred as their accept is, the kernel hands them over in the end.
    let all = || (world.pinfold.sessions() > 2000).then_some(());
    assert!(
        wait_until(SOON, all).is_some(),
        "{}",
        world.pinfold.sessions()
    );
    witness.testifies();
    drop((silent, witness));
    assert_nodes_up(&world);
    world.assert_unharmed(before);
}

#[test]
fn five_thousand_clients_that_connect_and_leave_at_once_leave_nothing_behind() {
    let world = World::start(2);
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    let address = world.address();
    for number in 0..5000 {
        let wire = Wire::connect(address, caller_address(number % 1000)).unwrap();
        if number % 2 == 0 {
            wire.reset();
        }
        if number % 1000 == 0 {
            witness.testifies();
        }
    }
    witness.testifies();
    drop(witness);
    assert_nodes_up(&world);
    world.assert_unharmed(before);
}

#[test]
fn resets_in_the_middle_of_transfers_disturb_nobody() {
    let world = World::start(2);
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    let address = world.address();
    for round in 0..10 {
        let mut wires: Vec<_> = (0..20)
            .map(|number| Wire::connect(address, caller_address(number)).unwrap())
            .collect();
        for wire in &mut wires {
            wire.send(b"!bytes 4000000\n").unwrap();
        }
        for (number, wire) in wires.iter_mut().enumerate() {
            let wanted = 1 + number * 20_000 * (round % 3);
            wire.receive(wanted).unwrap();
        }
        wires.into_iter().for_each(Wire::reset);
        witness.testifies();
    }
    drop(witness);
    assert_nodes_up(&world);
    world.assert_unharmed(before);
}

#[test]
fn slow_readers_hold_no_more_than_buffer_memory_and_hold_nobody_up() {
    const READERS: usize = 80;
    const BUDGET_KIB: u64 = 2048;
    /// What everything else of eighty sessions may take.
    const REST_KIB: u64 = 10 * 1024;
    let world = World::start_with(2, |setup| {
        setup.server = format!("buffer_memory = \"{BUDGET_KIB}KiB\"");
    });
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    witness.testifies();
    let resident = world.pinfold.resident();
    let address = world.address();
    let mut readers: Vec<_> = (0..READERS)
        .map(|number| {
            let small = |socket: &socket2::Socket| socket.set_recv_buffer_size(4096);
            let mut wire = Wire::connect_with(address, caller_address(number), small).unwrap();
            wire.send(b"!bytes 3000000\n").unwrap();
            wire
        })
        .collect();
    let stuck = || {
        // Closed windows: nothing moves any more.
        let bytes = world.pinfold.json("/v1/sessions")["listeners"][0]["bytes_down"].clone();
        let _ = wait_until(Duration::from_millis(200), || None::<()>);
        let later = &world.pinfold.json("/v1/sessions")["listeners"][0]["bytes_down"];
        (bytes == *later).then_some(())
    };
    assert!(wait_until(SOON, stuck).is_some());
    witness.testifies();
    let grown = world.pinfold.resident().saturating_sub(resident);
    assert!(
        grown < BUDGET_KIB + REST_KIB,
        "{grown} KiB for {READERS} readers"
    );

    // And when they read again, nothing is missing.
    for reader in readers.iter_mut().take(10) {
        let mut left = 3_000_000;
        let mut block = [0; 64 * 1024];
        while left > 0 {
            let count = reader.0.read(&mut block).unwrap();
            assert!(count > 0 && block[..count].iter().all(|byte| *byte == b'.'));
            left -= count;
        }
    }
    witness.testifies();
    drop((readers, witness));
    assert_nodes_up(&world);
    world.assert_unharmed(before);
}

#[test]
fn four_clients_that_flood_at_once_are_borne() {
    let world = World::start(2);
    let before = world.pinfold.descriptors();
    let mut witness = Witness::of(&world);
    let address = world.address();
    let floods: Vec<_> = (0..4)
        .map(|flood| {
            thread::spawn(move || {
                for number in 0..400 {
                    let source = caller_address(flood * 1000 + number);
                    let Ok((mut caller, _)) = Caller::served(address, source) else {
                        return false;
                    };
                    let _ = caller.say(if number % 2 == 0 { "!reset" } else { "!close" });
                }
                true
            })
        })
        .collect();
    while !floods.iter().all(thread::JoinHandle::is_finished) {
        witness.testifies();
    }
    for flood in floods {
        assert!(flood.join().unwrap(), "a client of a flood was not served");
    }
    drop(witness);
    world.assert_unharmed(before);
}

#[test]
fn clients_whose_node_does_not_answer_hold_no_more_than_buffer_memory() {
    const CLIENTS: usize = 1200;
    const BUDGET_KIB: u64 = 1024;
    /// Each says so much first: all but the end of one record.
    const WORDS: usize = 16 * 1024;
    let world = World::start_with(1, |setup| {
        setup.server = format!("buffer_memory = \"{BUDGET_KIB}KiB\"");
    });
    let before = world.pinfold.descriptors();
    let resident = world.pinfold.resident();
    let address = world.address();
    let mut words = vec![22, 3, 1, 0x40, 0];
    words.resize(WORDS, 1);
    let heard = |clients: usize| {
        let sessions = world.pinfold.json("/v1/sessions");
        let bytes = sessions["listeners"][0]["bytes_up"].as_u64();
        (bytes == Some((clients * WORDS) as u64)).then_some(())
    };
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        // A few at a time: what they hold until they are dialled for is not what is asked here.
        for _ in 0..50 {
            let source = caller_address(clients.len());
            let mut wire = Wire::connect(address, source).unwrap();
            wire.send(&words).unwrap();
            clients.push(wire);
        }
        assert!(wait_until(SOON, || heard(clients.len())).is_some());
    }
    let grown = world.pinfold.resident().saturating_sub(resident);
    // What a session needs besides.
    let rest = 5 * CLIENTS as u64;
    assert!(
        grown < BUDGET_KIB + rest,
        "{grown} KiB for {CLIENTS} clients"
    );
    drop(clients);
    world.assert_unharmed(before);
}
