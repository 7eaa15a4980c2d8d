//! A reload forgets nothing, and a bad one changes nothing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold_loadtest::background;
use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::Value;

use crate::world::{Caller, SOON, Setup, World, caller_address, quiet};

const FAILURES: &str = "pinfold_reload_failures_total";

/// What a reload must not change when it fails.
fn in_force(world: &World) -> (Value, Value) {
    let status = world.pinfold.json("/v1/status");
    let listeners = status["listeners"].as_array().unwrap().iter();
    let bound = listeners.map(|each| {
        (
            each["name"].clone(),
            each["bound"].clone(),
            each["sessions"].clone(),
        )
    });
    (
        status["revision"].clone(),
        bound
            .flat_map(|(name, bound, sessions)| [name, bound, sessions])
            .collect(),
    )
}

/// Reloads with SIGHUP until the reload has been refused.
fn reload_in_vain(world: &mut World) {
    let before = world.pinfold.metric(FAILURES).unwrap();
    world.pinfold.process.signal(Signal::HUP).unwrap();
    let refused = || (world.pinfold.metric(FAILURES)? > before).then_some(());
    assert!(wait_until(SOON, refused).is_some(), "the reload is refused");
}

#[test]
fn a_reload_with_a_mistake_changes_nothing_and_says_where_it_is() {
    let mut world = World::start(2);
    let (mut caller, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    let before = in_force(&world);
    let text = world.setup.text(&world.directory);
    let line = text
        .lines()
        .position(|line| line.starts_with("generation"))
        .unwrap()
        + 1;
    let text = text.replace("generation", "generatoin");
    world.directory.write_text(&text);
    reload_in_vain(&mut world);

    assert_eq!(in_force(&world), before);
    assert_eq!(caller.ask("still here").unwrap(), node);
    let config = world.directory.config();
    let place = format!("{}:{line}:1", config.display());
    let said = world
        .pinfold
        .process
        .wait_line(SOON, |line| line.contains(&place));
    assert!(said.is_some(), "the log names {place}");
    let status = world.pinfold.json("/v1/status");
    let failure = status["last_reload_failure"].as_str().unwrap();
    assert!(failure.contains("generatoin"), "{failure}");

    world.reload_with(Setup::change_harmlessly);
    let status = world.pinfold.json("/v1/status");
    assert_eq!(status["last_reload_failure"], Value::Null);
    assert_eq!(caller.ask("still here").unwrap(), node);
}

#[test]
fn a_reload_that_cannot_listen_changes_nothing_and_names_the_address() {
    let mut world = World::start(2);
    let (mut caller, node) = Caller::served(world.address(), caller_address(1)).unwrap();
    let before = in_force(&world);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    world.rewrite(|setup| {
        setup.remove_node(&node);
        setup.listener("first", "tcp", "127.0.0.1:0");
        setup.listener("second", "tcp", &address.to_string());
    });
    reload_in_vain(&mut world);
    assert_eq!(in_force(&world), before);
    assert_eq!(caller.ask("still here").unwrap(), node);
    assert_eq!(world.pinfold.node(&node)["state"], "active");
    let place = format!("cannot listen on {address} (listener \"second\")");
    let said = world
        .pinfold
        .process
        .wait_line(SOON, |line| line.contains(&place));
    assert!(said.is_some(), "the log says: {place}");
}

#[test]
fn an_unchanged_file_changes_not_even_the_revision() {
    let world = World::start(1);
    let before = world.pinfold.revision();
    let answer = world.pinfold.post("/v1/reload").unwrap();
    assert_eq!(
        (answer.status, answer.json().unwrap()["changed"].as_bool()),
        (200, Some(false))
    );
    assert_eq!(world.pinfold.revision(), before);
}

/// Clients that connect, ask twice and leave, again and again, each from its own address.
struct Churn {
    rest: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Churn {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (rest, stop, served) = (Arc::default(), Arc::default(), Arc::default());
        let threads = (0..clients).map(|number| {
            let (rest, stop, served) = (Arc::clone(&rest), Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || churn(address, 500 + number, [&rest, &stop], &served))
        });
        let threads = threads.collect();
        Self {
            rest,
            stop,
            served,
            threads,
        }
    }

    /// What went wrong.
    fn end(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        self.rest.store(false, Relaxed);
        let threads = self.threads.into_iter();
        threads.flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn churn(
    address: SocketAddr,
    number: usize,
    [rest, stop]: [&AtomicBool; 2],
    served: &AtomicUsize,
) -> Vec<String> {
    let (mut wrongs, mut home) = (Vec::new(), None::<String>);
    while !stop.load(Relaxed) {
        if rest.load(Relaxed) {
            thread::yield_now();
            let _ = wait_until(Duration::from_millis(20), || None::<()>);
            continue;
        }
        let visit = Caller::served(address, caller_address(number));
        match visit.and_then(|(mut caller, node)| Ok((node, caller.ask("again")?))) {
            Ok((first, second)) => {
                let home = home.get_or_insert_with(|| first.clone());
                if first != second || first != *home {
                    wrongs.push(format!("pinned to {home}, served by {first} and {second}"));
                }
            }
            Err(error) => wrongs.push(error.to_string()),
        }
        served.fetch_add(1, Relaxed);
    }
    wrongs
}

/// Descriptors and anonymous memory (in KiB) of the balancer while only kept sessions stand.
fn footprint(world: &World, churn: &Churn, kept: u64) -> (usize, u64) {
    churn.rest.store(true, Relaxed);
    let at_rest = || {
        let status = world.pinfold.json("/v1/status");
        let listeners = status["listeners"].as_array()?.iter();
        let sessions: u64 = listeners.filter_map(|each| each["sessions"].as_u64()).sum();
        (sessions == kept).then_some(())
    };
    assert!(
        wait_until(SOON, at_rest).is_some(),
        "only {kept} sessions stand"
    );
    let pid = world.pinfold.process.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let memory = memory.trim().trim_end_matches(" kB").parse().unwrap();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    churn.rest.store(false, Relaxed);
    (descriptors, memory)
}

/// A second listener comes and goes, and something changes that concerns nobody.
fn alternate(setup: &mut Setup) {
    setup.change_harmlessly();
    if setup
        .listeners
        .pop_if(|listener| listener.name == "second")
        .is_none()
    {
        setup.listener("second", "tcp", "127.0.0.1:0");
    }
}

#[test]
fn a_thousand_reloads_under_load_lose_no_connection_and_leak_nothing() {
    let _quiet = quiet();
    let mut world = World::start(3);
    let partner = world.fabrikam();
    let mut plan = background::Plan::new(world.address(), 30);
    plan.interval = Duration::from_millis(100);
    let kept = world.stage.background(plan);
    let stand = kept.wait_for(SOON, |stats| stats.standing() == 30);
    world.stage.wait(stand).unwrap();
    let churn = Churn::start(world.address(), 3);
    let reload = |world: &mut World, count: usize| {
        for _ in 0..count {
            world.reload_with(alternate);
        }
    };
    reload(&mut world, 200);
    let (descriptors, memory) = footprint(&world, &churn, 31);
    reload(&mut world, 800);
    let (descriptors_after, memory_after) = footprint(&world, &churn, 31);

    let served = churn.served.load(Relaxed);
    let wrongs = churn.end();
    let (count, first) = (wrongs.len(), wrongs.first());
    assert!(count == 0, "{count} of {served} visits: {first:?}");
    assert!(served > 500, "only {served} visits");
    let stats = partner.stats();
    assert_eq!((stats.connections, stats.gaps_total), (1, 0), "{stats:?}");
    let stats = kept.stats();
    assert!(stats.disturbed.is_empty(), "{stats:?}");
    // A probe under way and an answer of the admin API have a descriptor each.
    assert!(
        descriptors_after <= descriptors + 6,
        "{descriptors} then {descriptors_after}"
    );
    assert!(
        memory_after <= memory + 3 * 1024,
        "{memory} KiB then {memory_after}"
    );
}
