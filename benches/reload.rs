//! How long is a reload from the changed file to the snapshot that is published, and does it grow with
//! the square of the file?
//!
//! A reload runs on the control thread while workers serve, so tens of milliseconds for 1,000
//! listeners disturb nobody; a second would be bad, because the admin API waits as long. Compare each
//! figure at 1,000 listeners with ten times the one at 100: much more than that is quadratic.
//!
//! The steps apart: *toml* is the parser of that crate alone, *load* is all of it (read, toml, walk,
//! check), *diff*, *build* is the next snapshot while the one before is still in use. Binding sockets,
//! handing them to workers, and finding and retiring what is gone belong to `control`, need the whole
//! process, and are not measured here.
//!
//! Files of two shapes: *ports*, where each listener has a port of its own and thus nodes that are
//! probed apart, and *vips*, where listeners differ in their address alone and share what is probed.

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId};
use pinfold::config::diff::diff;
use pinfold::config::model::Config;
use pinfold::config::{load, parse};
use pinfold::snapshot::Registry;
use toml::de::DeTable;

use self::cpu_time::CpuTime;

mod cpu_time;

#[derive(Clone, Copy)]
enum Shape {
    Ports,
    Vips,
}

fn main() {
    let mut criterion = cpu_time::criterion();
    for (name, shape) in [
        ("reload, ports", Shape::Ports),
        ("reload, vips", Shape::Vips),
    ] {
        let mut group = criterion.benchmark_group(name);
        for listeners in [100, 1000] {
            steps(&mut group, shape, listeners);
        }
        group.finish();
    }
    criterion.final_summary();
}

fn steps(group: &mut criterion::BenchmarkGroup<'_, CpuTime>, shape: Shape, listeners: u16) {
    let (before, after) = (text(shape, listeners, "10m"), text(shape, listeners, "11m"));
    group.bench_function(BenchmarkId::new("toml", listeners), |bencher| {
        bencher.iter(|| DeTable::parse(black_box(&after)).is_ok());
    });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{listeners}.toml"));
    fs::write(&path, &after).expect("the build directory can be written to");
    group.bench_function(BenchmarkId::new("load", listeners), |bencher| {
        bencher.iter_with_large_drop(|| load(black_box(&path)));
    });
    let configs = [&before, &after].map(|text| config(text));
    group.bench_function(BenchmarkId::new("diff", listeners), |bencher| {
        bencher.iter_with_large_drop(|| diff(black_box(&configs[0]), &configs[1]));
    });
    let mut registry = Registry::new(2);
    let mut in_force = registry.build(&configs[0]);
    let mut turns = configs.iter().cycle();
    group.bench_function(BenchmarkId::new("build", listeners), |bencher| {
        bencher.iter_batched(
            || turns.next().expect("a cycle does not end"),
            |config| std::mem::replace(&mut in_force, registry.build(config)),
            BatchSize::PerIteration,
        );
    });
}

fn config(text: &str) -> Arc<Config> {
    Arc::new(parse("bench.toml", text).expect("a good file").config)
}

/// A file with so many listeners, of which the last ends idle sessions after `idle`.
fn text(shape: Shape, listeners: u16, idle: &str) -> String {
    let mut text = String::from("version = 1\n[[pool]]\nname = \"edge\"\n");
    for node in 1..=3 {
        text += &format!("[[pool.node]]\nname = \"edge{node}\"\naddress = \"192.0.2.{node}\"\n");
    }
    for number in 0..listeners {
        let bind = match shape {
            Shape::Ports => format!("198.18.0.1:{}", 10_000 + number),
            Shape::Vips => format!("198.18.{}.{}:5061", number / 250, number % 250 + 1),
        };
        let written = write!(
            text,
            "[[listener]]\nname = \"listener{number:04}\"\nbind = \"{bind}\"\n\
             service = \"tcp\"\npool = \"edge\"\nmax_sessions = 1000\npin_ttl = \"30m\"\n"
        );
        written.expect("a string takes everything");
    }
    text + &format!("idle_timeout = \"{idle}\"\n")
}
