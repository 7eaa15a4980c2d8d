//! Partners whose names pass from one to another in a hurry, while they come and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, FABRIKAM, SOON, World, find};

const CONTOSO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const NAMES: [&str; 4] = ["fabrikam", "contoso", "litware", "adatum"];

/// Gives names to whoever calls from the two addresses.
fn name(world: &World, at_fabrikam: &str, at_contoso: &str) {
    let text = world.setup.text(&world.directory);
    let text = text.replace("\"fabrikam\"", &format!("\"{at_fabrikam}\""));
    let text = text.replace("\"second\"", &format!("\"{at_contoso}\""));
    world.directory.write_text(&text);
    let answer = world.pinfold.post("/v1/reload").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Waits until a partner has so many sessions.
fn has(world: &World, name: &str, count: u64) {
    let sessions = || {
        let partners = world.pinfold.json("/v1/partners");
        find(&partners["partners"], "name", name)["sessions"].as_u64()
    };
    let settles = wait_until(SOON, || (sessions() == Some(count)).then_some(()));
    assert!(settles.is_some(), "{name}: {:?}, not {count}", sessions());
}

/// Sessions from one address that last for no word, or for a few.
fn churn(address: SocketAddr, from: Ipv4Addr, stop: &AtomicBool, served: &AtomicUsize) {
    while !stop.load(Relaxed) {
        let Ok((mut caller, _)) = Caller::served(address, from) else {
            continue;
        };
        served.fetch_add(1, Relaxed);
        for _ in 0..fastrand::u8(0..3) {
            let _ = caller.ask("again");
        }
    }
}

#[test]
fn partners_whose_names_change_in_a_hurry_are_counted_right() {
    let world = World::start_with(2, |setup| {
        setup.server = "workers = 8\n".into();
        setup.rest = format!("[[partner]]\nname = \"second\"\naddresses = [\"{CONTOSO}/32\"]\n");
    });
    name(&world, NAMES[0], NAMES[1]);
    let address = world.address();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let churning = [FABRIKAM, CONTOSO, FABRIKAM, CONTOSO].map(|from| {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        thread::spawn(move || churn(address, from, &stop, &served))
    });
    let call = |from| Caller::served(address, from).unwrap().0;
    let callers = [FABRIKAM; 7].into_iter().chain([CONTOSO; 4]);
    let mut callers: Vec<_> = callers.map(call).collect();
    let (mut one, mut other) = (NAMES[0], NAMES[1]);
    for _ in 0..200 {
        let before = (one, other);
        (one, other) = (other, one);
        while fastrand::bool() || (one, other) == before || one == other {
            one = NAMES[fastrand::usize(..NAMES.len())];
        }
        name(&world, one, other);
        let caller = fastrand::usize(..callers.len());
        callers[caller].ask("still here").unwrap();
    }
    stop.store(true, Relaxed);
    for each in churning {
        each.join().unwrap();
    }
    assert!(served.load(Relaxed) > 100);
    has(&world, one, 7);
    has(&world, other, 4);
    for caller in &mut callers {
        caller.ask("still here").unwrap();
    }
    drop(callers);
    // Nor has anything stuck to a name that was given up meanwhile.
    for (one, other) in [(NAMES[0], NAMES[1]), (NAMES[2], NAMES[3])] {
        name(&world, one, other);
        has(&world, one, 0);
        has(&world, other, 0);
        let _caller = call(FABRIKAM);
        has(&world, one, 1);
        has(&world, other, 0);
    }
    let output = world.pinfold.process.output();
    assert!(!output.contains("panicked"), "{output}");
}
