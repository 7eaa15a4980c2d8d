//! How much does it cost to choose the node of a session?
//!
//! Once per session, and once more for each dial that fails. A session costs the kernel some 200 µs,
//! so anything below a microsecond at three nodes is lost in it, and several microseconds would be
//! bad. Time should grow with the number of nodes and no faster, by some 50 ns for each that must be
//! hashed; the *pinned* way, which almost every partner takes, hashes none.
//!
//! Candidates come from a snapshot as in a worker, so that reading standings and counts is included.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::measurement::Measurement;
use criterion::{BenchmarkId, Criterion};
use pinfold::config::model::PinPrefix;
use pinfold::config::parse;
use pinfold::pool::placement::{PlacementKey, Subject};
use pinfold::pool::select::{Positions, Request, Standing, choose};
use pinfold::snapshot::{Listener, Registry};

mod cpu_time;

fn main() {
    let mut criterion = cpu_time::criterion();
    for nodes in [2, 3, 12] {
        place(&mut criterion, nodes);
    }
    criterion.final_summary();
}

fn place(criterion: &mut Criterion<impl Measurement + 'static>, nodes: u16) {
    let mut group = criterion.benchmark_group("place");
    let mut check = |name: &str, balance: &str, load: Load, subjects: &[Subject], pinned| {
        let listener = listener(nodes, balance, load);
        let key = PlacementKey::from_bytes([7; 16]);
        let mut turn = 0;
        group.bench_function(BenchmarkId::new(name, nodes), |bencher| {
            bencher.iter(|| {
                turn += 1;
                let request = Request {
                    key: &key,
                    subject: &subjects[turn % subjects.len()],
                    balance: listener.balance,
                    pinned,
                    turn: turn as u64,
                    tried: Positions::NONE,
                    full: Positions::NONE,
                };
                choose(listener.candidates(), black_box(&request))
            });
        });
    };
    let partners = partners();
    let clients = clients();
    check(
        "partner, pinned",
        "least-sessions",
        Load::Uneven,
        &partners,
        Some(1),
    );
    check(
        "partner, rendezvous",
        "least-sessions",
        Load::Uneven,
        &partners,
        None,
    );
    check(
        "client, source-hash",
        "source-hash",
        Load::Uneven,
        &clients,
        None,
    );
    check(
        "client, round-robin",
        "round-robin",
        Load::Uneven,
        &clients,
        None,
    );
    check(
        "client, least-sessions",
        "least-sessions",
        Load::Uneven,
        &clients,
        None,
    );
    check(
        "client, least-sessions, all alike",
        "least-sessions",
        Load::Even,
        &clients,
        None,
    );
    group.finish();
}

/// How sessions are spread; where nodes are alike, the hash decides after all.
#[derive(Clone, Copy)]
enum Load {
    Even,
    Uneven,
}

/// A listener whose nodes are all up, as two workers see it.
fn listener(nodes: u16, balance: &str, load: Load) -> Arc<Listener> {
    let mut text = format!("version = 1\n[[pool]]\nname = \"edge\"\nbalance = \"{balance}\"\n");
    for node in 1..=nodes {
        text +=
            &format!("[[pool.node]]\nname = \"edge{node:02}\"\naddress = \"127.0.0.1:{node}\"\n");
    }
    text += "[[listener]]\nname = \"federation\"\nbind = \"127.0.0.1:5061\"\npool = \"edge\"\n";
    let config = parse("bench.toml", &text).expect("a good file").config;
    let snapshot = Registry::new(2).build(&Arc::new(config));
    let listener = snapshot.listeners.into_iter().next();
    let listener = listener.expect("the file has one");
    for (position, seat) in (1..).zip(&listener.nodes) {
        seat.endpoint.set_standing(Standing::Takes);
        let sessions = match load {
            Load::Even => 100,
            Load::Uneven => 100 + position * 7 % 10,
        };
        seat.endpoint.slot(0).sessions.add(sessions);
        seat.endpoint.slot(1).sessions.add(sessions);
    }
    listener
}

/// Enough of them that the branch predictor cannot learn the answers.
const SUBJECTS: u32 = 1000;

fn partners() -> Vec<Subject> {
    (0..SUBJECTS)
        .map(|number| Subject::Partner(format!("partner{number:04}.example").into()))
        .collect()
}

fn clients() -> Vec<Subject> {
    let prefix = PinPrefix { v4: 32, v6: 64 };
    let address = |number| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + number));
    (0..SUBJECTS)
        .map(|number| Subject::of_client(address(number), prefix))
        .collect()
}
