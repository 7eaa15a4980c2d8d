//! What does the pump cost: per small message, per MiB of bulk, and when is splicing cheaper than
//! copying?
//!
//! Real connections over loopback. Only what a worker does is timed, by the clock of its thread: the
//! peers send before and take delivery after. Loopback delivers within the call that sends, so a write
//! includes the receiving side's share of the kernel; on a network card that share falls elsewhere.
//! So ratios count. A connection may splice at half its usual speed, or a third, from its first byte to
//! its last, and why is not known: of several runs the lowest figure counts.
//!
//! - *message*: `pump, alone` is one message in one session, with the wait for it; `pump, 16 sessions`
//!   is one message in each, found by one wait; `bare` is a read and a write, without any runtime. The
//!   pump in 16 sessions beyond 1.5 times `bare` would be bad.
//! - *bulk*: the whole pump by splice and by copy, and bare splicing by size of the pipe. Splicing
//!   should cost half of copying, or the second way of the pump is not worth its code. `PIPE_SIZE` in
//!   `relay::pump` should be the smallest pipe beyond which nothing is gained.
//! - *promotion*: so many bytes wait and are moved, once by each way. The size from which splicing is
//!   cheaper is what `BUFFER_SIZE` (a read that fills it promotes) and `SMALL_READ` (eight below it
//!   demote) are chosen by; between them the pump keeps the way it has. It should not lie above
//!   `BUFFER_SIZE`.

use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use pinfold::relay::pump::Gear;
use pinfold::sys::pipe::Pipe;

use self::cpu_time::CpuTime;
use self::peers::Peers;
use self::relayed::Relay;
use self::rounds::{in_rounds, spent};

mod cpu_time;
#[path = "pump/peers.rs"]
mod peers;
#[path = "pump/relayed.rs"]
mod relayed;
mod rounds;

fn main() {
    let mut criterion = cpu_time::criterion();
    messages(&mut criterion);
    bulk(&mut criterion);
    promotion(&mut criterion);
    criterion.final_summary();
}

/// Sessions that are busy at once; with their sockets they still fit the processor's caches.
const SESSIONS: usize = 16;
const MEMORY: usize = 64 << 20;

fn messages(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("message");
    for size in [100, 1 << 10, 4 << 10, 16 << 10] {
        for (name, sessions) in [("pump, alone", 1), ("pump, 16 sessions", SESSIONS)] {
            let relay = Relay::new(Gear::new(MEMORY, 0), sessions);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_custom(|iterations| {
                    in_rounds(iterations, sessions, || {
                        send(relay.peers(), size);
                        let time = spent(|| relay.run_until(sessions * size));
                        receive(relay.peers(), size);
                        time
                    })
                });
            });
        }
        bare(&mut group, "bare", size, |peers, buffer| peers.copy(buffer));
    }
    group.finish();
}

/// Times one way of moving `size` bytes that wait, in each of several pairs of connections.
fn bare(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    name: &str,
    size: usize,
    mut way: impl FnMut(&Peers, &mut [u8]) -> usize,
) {
    let all: Vec<Peers> = (0..SESSIONS).map(|_| Peers::connect()).collect();
    let mut buffer = vec![0; COPY_BUFFER];
    let mut move_all = |peers| {
        let mut left = size;
        while left > 0 {
            left -= way(peers, &mut buffer);
        }
    };
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter_custom(|iterations| {
            in_rounds(iterations, SESSIONS, || {
                send(&all, size);
                let time = spent(|| all.iter().for_each(&mut move_all));
                receive(&all, size);
                time
            })
        });
    });
}

/// As in `relay::pump`.
const COPY_BUFFER: usize = 64 << 10;
const PIPE_SIZE: usize = 512 << 10;

fn send(all: &[Peers], size: usize) {
    for peers in all {
        let arrives = (0..ATTEMPTS_MAX).any(|_| peers.send(size) == size);
        assert!(arrives, "sockets have no room for {size} bytes");
    }
}

fn receive(all: &[Peers], size: usize) {
    for peers in all {
        let mut left = size;
        let arrives = (0..ATTEMPTS_MAX).any(|_| {
            left -= peers.receive();
            left == 0
        });
        assert!(arrives, "{left} of {size} bytes are lost");
    }
}

/// Together they outlast a retransmission.
const ATTEMPTS_MAX: usize = 100;

fn bulk(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("bulk, per MiB");
    for (name, pipes) in [("pump, splice", 1), ("pump, copy", 0)] {
        let relay = Relay::new(Gear::new(MEMORY, pipes), 1);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| stream(count, &relay.peers()[0], || relay.run_a_turn()));
        });
    }
    let mut buffer = vec![0; COPY_BUFFER];
    let peers = Peers::connect();
    group.bench_function("bare, copy", |bencher| {
        bencher.iter_custom(|count| stream(count, &peers, || while peers.copy(&mut buffer) > 0 {}));
    });
    for size in [64 << 10, 256 << 10, 512 << 10, 1 << 20] {
        let pipe = Pipe::new(size).expect("descriptors are left");
        assert!(
            pipe.size() >= size,
            "the system grants no pipes of {size} bytes"
        );
        let peers = Peers::connect();
        group.bench_function(BenchmarkId::new("bare, splice", size), |bencher| {
            bencher.iter_custom(|count| stream(count, &peers, || while peers.splice(&pipe) > 0 {}));
        });
    }
    group.finish();
}

/// Time that `turn`, which moves what waits, takes for so many MiB.
fn stream(mebibytes: u64, peers: &Peers, mut turn: impl FnMut()) -> Duration {
    const MIB: usize = 1 << 20;
    let (mut received, mut time) = (0.0, Duration::ZERO);
    while received < mebibytes as f64 {
        peers.send(MIB);
        time += spent(&mut turn);
        received += peers.receive() as f64 / MIB as f64;
    }
    time.mul_f64(mebibytes as f64 / received)
}

fn promotion(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("promotion");
    let pipe = Pipe::new(PIPE_SIZE).expect("descriptors are left");
    for size in [1, 4, 8, 16, 32, 64, 128, 256].map(|kibibytes| kibibytes << 10) {
        bare(&mut group, "copy", size, |peers, buffer| peers.copy(buffer));
        bare(&mut group, "splice", size, |peers, _| peers.splice(&pipe));
    }
    group.finish();
}
