//! What does remembering cost: the pin table at 100,000 entries, with one thread and with two?
//!
//! A session looks its pin up, and holds it until it ends; a newcomer also makes one. Look-up, hold
//! and insertion should each stay below a microsecond (a table this large lives outside the caches);
//! bad would be an eviction or a refusal at the cap that costs many times an insertion, because then
//! a flood of addresses costs more than it would without a cap. With two threads the time of *both* is
//! counted: the same figure as with one means that they do not meet; twice the figure means that
//! shards do not help.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion};
use pinfold::clock::Moment;
use pinfold::config::model::PinPrefix;
use pinfold::pool::pins::{Lease, NewPin, PinKey, PinScope, PinTable, Pinned, PinnedBy};
use pinfold::pool::placement::Subject;

use self::cpu_time::CpuTime;
use self::rounds::{in_rounds, spent};

mod cpu_time;
mod rounds;

/// Pins in the table; the default of `max_pins`.
const ENTRIES: u32 = 100_000;
/// Operations between two readings of the clock.
const ROUND: u32 = 1000;
const NOW: Moment = Moment::from_micros(1_000_000);

fn main() {
    let mut criterion = cpu_time::criterion();
    one_thread(&mut criterion);
    kept(&mut criterion);
    at_the_cap(&mut criterion);
    two_threads(&mut criterion);
    criterion.final_summary();
}

fn one_thread(criterion: &mut Criterion<CpuTime>) {
    let table = filled(2 * ENTRIES as usize);
    let mut group = criterion.benchmark_group("pins");
    let keys = keys(0..ENTRIES);
    let mut turn = 0;
    group.bench_function("look up", |bencher| {
        bencher.iter(|| table.look_up(next(&keys, &mut turn), NOW));
    });
    group.bench_function("hold and release", |bencher| {
        bencher.iter(|| hold(&table, next(&keys, &mut turn)));
    });
    let nodes = [Arc::from("edge1"), Arc::from("edge2")];
    group.bench_function("move to another node", |bencher| {
        bencher.iter(|| {
            let key = next(&keys, &mut turn);
            table.move_to(key, &nodes[turn / keys.len() % 2], PinnedBy::ByHand, NOW)
        });
    });
    group.bench_function("insert", |bencher| {
        bencher.iter_custom(|iterations| {
            in_rounds(iterations, ROUND as usize, || {
                let strangers = strangers(&mut turn);
                let time = spent(|| {
                    for key in &strangers {
                        assert_eq!(table.pin(key, new_pin(), NOW), Pinned::New);
                    }
                });
                assert!(strangers.iter().all(|key| table.forget(key)));
                time
            })
        });
    });
    group.finish();
}

/// The same where pins outlive the process: the store takes what has changed now and then, on a thread of
/// its own, whose time is not counted.
fn kept(criterion: &mut Criterion<CpuTime>) {
    let table = filled(2 * ENTRIES as usize);
    table.keep_changes(|| {});
    let _ = table.record_all(NOW);
    let mut group = criterion.benchmark_group("pins, kept");
    let keys = keys(0..ENTRIES);
    let mut turn = 0;
    group.bench_function("hold and release", |bencher| {
        bencher.iter(|| hold(&table, next(&keys, &mut turn)));
    });
    assert!(
        table.take_changes().keys.is_empty(),
        "using a pin again is no change"
    );
    group.bench_function("insert", |bencher| {
        bencher.iter_custom(|iterations| {
            in_rounds(iterations, ROUND as usize, || {
                let strangers = strangers(&mut turn);
                let time = spent(|| {
                    for key in &strangers {
                        assert_eq!(table.pin(key, new_pin(), NOW), Pinned::New);
                    }
                });
                assert!(strangers.iter().all(|key| table.forget(key)));
                let _ = table.take_changes();
                time
            })
        });
    });
    group.finish();
}

fn at_the_cap(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("pins at the cap");
    let table = filled(ENTRIES as usize);
    let mut turn = 0;
    newcomers(
        &mut group,
        "insert and evict",
        &table,
        &mut turn,
        &Pinned::New,
    );
    let table = filled(ENTRIES as usize);
    let leases: Vec<Lease> = keys(0..ENTRIES)
        .iter()
        .filter_map(|key| table.lease(key, NOW))
        .collect();
    newcomers(
        &mut group,
        "refuse, all in use",
        &table,
        &mut turn,
        &Pinned::Full,
    );
    group.finish();
    for lease in leases {
        table.release(lease, NOW);
    }
}

fn newcomers(
    group: &mut BenchmarkGroup<'_, CpuTime>,
    name: &str,
    table: &PinTable,
    turn: &mut usize,
    expected: &Pinned,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            in_rounds(iterations, ROUND as usize, || {
                let strangers = strangers(turn);
                spent(|| {
                    for key in &strangers {
                        assert_eq!(table.pin(key, new_pin(), NOW), *expected);
                    }
                })
            })
        });
    });
}

fn two_threads(criterion: &mut Criterion<CpuTime>) {
    let table = filled(2 * ENTRIES as usize);
    let mut group = criterion.benchmark_group("pins, two threads");
    let keys = keys(0..ENTRIES);
    beside(&mut group, "look up", &keys, |key| {
        black_box(table.look_up(key, NOW));
    });
    beside(&mut group, "hold and release", &keys, |key| {
        hold(&table, key)
    });
    group.finish();
}

/// Does `work` in two threads at once, each on its half of the `keys`.
fn beside(
    group: &mut BenchmarkGroup<'_, impl Measurement<Value = Duration>>,
    name: &str,
    keys: &[PinKey],
    work: impl Fn(&PinKey) + Sync,
) {
    let (odd, even) = keys.split_at(keys.len() / 2);
    let each = |keys: &[PinKey], count: u64| {
        spent(|| {
            (0..count)
                .zip(keys.iter().cycle())
                .for_each(|(_, key)| work(key))
        })
    };
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let count = iterations.div_ceil(2);
            std::thread::scope(|scope| {
                let other = scope.spawn(|| each(odd, count));
                let own = each(even, count);
                own + other.join().expect("the work does not panic")
            })
        });
    });
}

fn hold(table: &PinTable, key: &PinKey) {
    let lease = table.lease(key, NOW).expect("it is pinned");
    table.release(lease, NOW);
}

/// A table with room for `max` pins and [`ENTRIES`] in it.
fn filled(max: usize) -> PinTable {
    let table = PinTable::new(max);
    for key in keys(0..ENTRIES) {
        assert_eq!(table.pin(&key, new_pin(), NOW), Pinned::New);
    }
    table
}

fn new_pin() -> NewPin {
    thread_local! {
        static NODE: Arc<str> = Arc::from("edge1");
    }
    NewPin {
        node: NODE.with(Arc::clone),
        by: PinnedBy::Placed,
        revision: 1,
        ttl: Duration::from_secs(3600),
        looks_legacy: false,
    }
}

/// Keys of clients, in an order that no cache knows.
fn keys(numbers: std::ops::Range<u32>) -> Vec<PinKey> {
    let scope = Arc::new(PinScope {
        pool: Arc::from("edge"),
        affinity: Arc::from("federation"),
    });
    let prefix = PinPrefix { v4: 32, v6: 64 };
    let key = |number: u32| PinKey {
        scope: Arc::clone(&scope),
        // Odd, so that no two numbers meet.
        subject: Subject::of_client(
            IpAddr::V4(Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b1))),
            prefix,
        ),
    };
    numbers.map(key).collect()
}

/// Keys that were never in the table.
fn strangers(turn: &mut usize) -> Vec<PinKey> {
    *turn += 1;
    let start = ENTRIES + u32::try_from(*turn).unwrap_or(0) * ROUND;
    keys(start..start + ROUND)
}

fn next<'k>(keys: &'k [PinKey], turn: &mut usize) -> &'k PinKey {
    *turn += 1;
    &keys[*turn % keys.len()]
}
