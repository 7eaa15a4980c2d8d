//! Clients and nodes that say too much, or read nothing: memory stays bounded, and nothing is lost.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use super::node::SipNode;
use super::phone::Phone;
use super::{counted, read_answer, request, world_of};
use crate::tls::certify;
use crate::world::{Directory, FABRIKAM, SOON, World};

/// Says `count` pieces while their receiver does not read, and then lets it. How much Pinfold's memory had grown by
/// then, in KiB.
fn hold_up<T>(
    world: &World,
    mut say: impl FnMut() + Send,
    receive: impl FnOnce() -> T,
) -> (u64, T) {
    let said = AtomicUsize::new(0);
    let resident = world.pinfold.resident();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..PIECES {
                say();
                said.fetch_add(1, SeqCst);
            }
        });
        let mut last = (0, Instant::now());
        let is_held = wait_until(SOON * 6, || {
            let count = said.load(SeqCst);
            if count != last.0 {
                last = (count, Instant::now());
            }
            (count < PIECES && last.1.elapsed() > STILL).then_some(())
        });
        let grown = world.pinfold.resident().saturating_sub(resident);
        let received = receive();
        assert!(is_held.is_some(), "all was taken from who sent it");
        (grown, received)
    })
}

/// So many MiB: more than the system keeps between two sockets, twice.
const PIECES: usize = 64;
/// Whoever gets on with nothing for so long is held up.
const STILL: Duration = Duration::from_millis(500);
/// What a session may take beside what is counted in `buffer_memory`, in KiB.
const GROWTH_MAX: u64 = 8 * 1024;

fn world_with_little_memory(directory: &Directory, node: &SipNode) -> World {
    certify(directory.path());
    world_of(directory.path(), &[node], |setup| {
        setup.server = "buffer_memory = \"1MiB\"".into();
    })
}

#[test]
fn a_node_that_reads_nothing_holds_its_client_up_and_nothing_is_lost() {
    let directory = Directory::create();
    let node = SipNode::start("edge1");
    let world = world_with_little_memory(&directory, &node);
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 1).0, 200);
    node.read(false);
    let all = request("MESSAGE", 4, "fabrikam.com", &"z".repeat(1 << 20));
    let (grown, ()) = hold_up(&world, || phone.say(&all), || node.read(true));
    assert!(grown < GROWTH_MAX, "{grown}");
    for _ in 0..PIECES {
        assert_eq!(read_answer(&phone.hear().unwrap()).0, 200);
    }
    let heard = node.heard().concat();
    let begin = request("OPTIONS", 1, "fabrikam.com", "").len();
    assert!(heard[begin..] == all.repeat(PIECES).into_bytes());
}

#[test]
fn a_client_that_reads_nothing_holds_its_node_up_and_nothing_is_lost() {
    let directory = Directory::create();
    let node = SipNode::start("edge1");
    let world = world_with_little_memory(&directory, &node);
    let mut phone = Phone::connect(world.address(), FABRIKAM);
    assert_eq!(phone.ask("OPTIONS", 1).0, 200);
    let all = request("MESSAGE", 4, "contoso.com", &"z".repeat(1 << 20));
    let receive = || (0..PIECES).all(|_| phone.hear().unwrap() == all);
    let (grown, is_whole) = hold_up(&world, || node.say(all.as_bytes()), receive);
    assert!(grown < GROWTH_MAX, "{grown}");
    assert!(is_whole);
    assert_eq!(phone.ask("OPTIONS", 5).0, 200);
}

#[test]
fn what_is_not_answered_counts_in_the_memory_of_slow_readers_and_is_forgotten_beyond_it() {
    let directory = Directory::create();
    let node = SipNode::start("edge1");
    let world = world_with_little_memory(&directory, &node);
    node.answer(false);
    let resident = world.pinfold.resident();
    let phones: Vec<_> = (0..100_u32)
        .map(|at| {
            let mut phone = Phone::connect(world.address(), FABRIKAM);
            // What each is answered if its node dies has all of this.
            let long = format!("/TLS edge{at};x={};", "v".repeat(2500));
            let all = (1..=90).map(|number| request("INFO", number, "fabrikam.com", ""));
            phone.say(
                all.map(|text| text.replace("/TLS edge", &long))
                    .collect::<String>(),
            );
            phone
        })
        .collect();
    let said = || {
        let infos = ["method=\"INFO\"", "\"up\""];
        counted(&world, "pinfold_sip_requests_total", &infos)
    };
    let all_said = || (said() == 90 * phones.len() as u64).then_some(());
    assert!(wait_until(SOON * 6, all_said).is_some());
    let grown = world.pinfold.resident().saturating_sub(resident);
    assert!(grown < 12 * 1024, "{grown} KiB");
}
