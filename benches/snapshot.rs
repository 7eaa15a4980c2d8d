//! What does it cost a worker to see which configuration is in force?
//!
//! Once per session. Through `arc_swap::Cache`, as workers do it, an unchanged snapshot should cost a
//! nanosecond or two, well below `load_full`, which counts on a line that all cores share; if the two
//! come close, the cache is not worth its lines. The first look after a publish may cost a hundred
//! nanoseconds: it comes once per reload and worker. Beside a thread that publishes without pause,
//! which no reload does, figures show that nobody waits for anybody.
//!
//! Only the reading thread's time is counted.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use pinfold::config::parse;
use pinfold::snapshot::{Registry, Snapshot};

use self::rounds::{in_rounds, spent};

mod cpu_time;
mod rounds;

/// Readers that look one after the other at what was published: a clock is too slow for one.
const READERS: usize = 256;

fn main() {
    let mut criterion = cpu_time::criterion();
    let [first, second] = snapshots();
    let swap = Arc::new(ArcSwap::new(Arc::clone(&first)));
    let mut cache = Cache::new(Arc::clone(&swap));
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function("cache, unchanged", |bencher| {
        bencher.iter(|| black_box(cache.load()).revision);
    });
    group.bench_function("load_full, unchanged", |bencher| {
        bencher.iter(|| black_box(swap.load_full()).revision);
    });
    let mut caches: Vec<_> = (0..READERS)
        .map(|_| Cache::new(Arc::clone(&swap)))
        .collect();
    let mut turn = 0;
    group.bench_function("cache, just published", |bencher| {
        bencher.iter_custom(|iterations| {
            in_rounds(iterations, READERS, || {
                turn += 1;
                swap.store(Arc::clone([&first, &second][turn % 2]));
                spent(|| {
                    caches.iter_mut().for_each(|cache| {
                        black_box(cache.load());
                    })
                })
            })
        });
    });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                swap.store(Arc::clone(&first));
                swap.store(Arc::clone(&second));
            }
        });
        group.bench_function("cache, beside a publisher", |bencher| {
            bencher.iter(|| black_box(cache.load()).revision);
        });
        group.bench_function("load_full, beside a publisher", |bencher| {
            bencher.iter(|| black_box(swap.load_full()).revision);
        });
        is_over.store(true, Relaxed);
    });
    group.finish();
    criterion.final_summary();
}

/// Two that differ.
fn snapshots() -> [Arc<Snapshot>; 2] {
    let text = "version = 1\n[[pool]]\nname = \"edge\"\n\
                [[pool.node]]\nname = \"edge1\"\naddress = \"127.0.0.1\"\n\
                [[listener]]\nname = \"federation\"\nbind = \"127.0.0.1:5061\"\npool = \"edge\"\n\
                node_port = 15061\n";
    let config = Arc::new(parse("bench.toml", text).expect("a good file").config);
    let mut registry = Registry::new(2);
    [(); 2].map(|()| Arc::new(registry.build(&config)))
}
