//! What do the first bytes of a session cost: PROXY headers, who the client is, its handshake, and a
//! probe's hello?
//!
//! Once per session, or per probe. Up to a microsecond each is lost beside the system calls of a
//! session. Bad would be: a look-up among 1,000 partners that costs much more than one among 10, or a
//! header that comes byte by byte and costs more than its length times the whole one (then a client
//! could spend our time with few bytes).

use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use criterion::measurement::Measurement;
use criterion::{BenchmarkId, Criterion};
use pinfold::config::parse;
use pinfold::inspect::{proxy, tls};
use pinfold::partner::table::PartnerTable;

mod cpu_time;

fn main() {
    let mut criterion = cpu_time::criterion();
    proxy_header(&mut criterion);
    for count in [10, 1000] {
        who_is_it(&mut criterion, count);
    }
    handshake(&mut criterion);
    probe(&mut criterion);
    criterion.final_summary();
}

fn proxy_header(criterion: &mut Criterion<impl Measurement + 'static>) {
    let v4 = |last, port| SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), port));
    let v6 =
        |last, port| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, last), port));
    let headers = [
        ("v1, IPv4", proxy::version_1(v4(1, 40000), v4(2, 5061))),
        ("v1, IPv6", proxy::version_1(v6(1, 40000), v6(2, 5061))),
        ("v2, IPv4", proxy::version_2(v4(1, 40000), v4(2, 5061))),
        ("v2, IPv6", proxy::version_2(v6(1, 40000), v6(2, 5061))),
    ];
    let mut group = criterion.benchmark_group("proxy");
    for (name, header) in &headers {
        group.bench_function(format!("{name}, whole"), |bencher| {
            bencher.iter(|| proxy::parse(black_box(header)));
        });
        // A session looks again at all it has whenever more has come.
        group.bench_function(format!("{name}, byte by byte"), |bencher| {
            bencher.iter(|| {
                for length in 1..=header.len() {
                    black_box(proxy::parse(black_box(&header[..length])));
                }
            });
        });
    }
    group.finish();
}

fn who_is_it(criterion: &mut Criterion<impl Measurement + 'static>, count: u32) {
    let table = partners(count);
    let mut group = criterion.benchmark_group("partner");
    let mut check = |name: &str, address: &dyn Fn(u32) -> IpAddr, is_known: bool| {
        let addresses: Vec<IpAddr> = (0..1000).map(|number| address(number % count)).collect();
        assert!(
            addresses
                .iter()
                .all(|each| table.find(*each).is_some() == is_known)
        );
        let mut turn = 0;
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            bencher.iter(|| {
                turn += 1;
                table
                    .find(black_box(addresses[turn % addresses.len()]))
                    .is_some()
            });
        });
    };
    check(
        "known, IPv4",
        &|number| Ipv4Addr::from_bits(v4_network(number) + 5).into(),
        true,
    );
    check(
        "known, IPv6",
        &|number| Ipv6Addr::from_bits(v6_network(number) + 5).into(),
        true,
    );
    check(
        "unknown",
        &|number| Ipv4Addr::from_bits(v4_network(number) + 12).into(),
        false,
    );
    group.finish();
}

/// Partners with a prefix of either family, one inside another's, so that the longest must be found.
fn partners(count: u32) -> PartnerTable {
    let mut text = String::from(
        "version = 1\n[[pool]]\nname = \"edge\"\n\
         [[pool.node]]\nname = \"edge1\"\naddress = \"127.0.0.1\"\n",
    );
    for number in 0..count {
        let v4 = Ipv4Addr::from_bits(v4_network(number));
        let v6 = Ipv6Addr::from_bits(v6_network(number));
        let written = write!(
            text,
            "[[partner]]\nname = \"partner{number:04}.example\"\n\
             addresses = [\"{v4}/29\", \"{v6}/64\", \"{v6}/48\"]\n"
        );
        written.expect("a string takes everything");
    }
    let config = parse("bench.toml", &text).expect("a good file").config;
    PartnerTable::new(&config.partners)
}

/// Sixteen addresses apart, spread over 100.64.0.0/10; a partner has the lower eight of them.
const fn v4_network(number: u32) -> u32 {
    0x6440_0000 + ((number.wrapping_mul(0x9e3b) % 0x4_0000) << 4)
}

const fn v6_network(number: u32) -> u128 {
    (0x2001_0db8_0000 + number as u128) << 80
}

/// A recorded handshake, in the pieces that a relay read.
fn recorded(name: &str) -> Vec<(tls::Side, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/");
    let text = std::fs::read_to_string(format!("{folder}{name}.hex")).expect("it is committed");
    let line = |line: &str| {
        let (side, digits) = line.split_once(' ').expect("a side and digits");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        let bytes = (0..digits.len()).step_by(2).map(byte).collect();
        let side = match side {
            ">" => tls::Side::Client,
            _ => tls::Side::Node,
        };
        (side, bytes)
    };
    text.lines().map(line).collect()
}

fn watch(pieces: &[(tls::Side, Vec<u8>)]) -> tls::Facts {
    let mut handshake = Box::new(tls::Handshake::new());
    for (side, bytes) in pieces {
        handshake.feed(*side, black_box(bytes));
    }
    handshake.into_facts()
}

fn handshake(criterion: &mut Criterion<impl Measurement + 'static>) {
    let mut group = criterion.benchmark_group("handshake");
    let whole = recorded("tls1.2");
    let hello = &whole[0].1;
    group.bench_function("hello alone", |bencher| {
        bencher.iter(|| tls::ClientHello::parse(black_box(&hello[9..])).map(|hello| hello.era()));
    });
    let parsed = tls::ClientHello::parse(&hello[9..]).expect("a real hello");
    group.bench_function("JA4", |bencher| bencher.iter(|| black_box(&parsed).ja4()));
    for name in ["tls1.0", "tls1.2", "tls1.2-resumed", "tls1.3"] {
        let pieces = recorded(name);
        group.bench_function(name, |bencher| bencher.iter(|| watch(&pieces)));
    }
    let bytes = |(side, bytes): &(tls::Side, Vec<u8>)| {
        let side = *side;
        let single = move |byte: &u8| (side, vec![*byte]);
        bytes.iter().map(single).collect::<Vec<_>>()
    };
    let single: Vec<_> = whole.iter().flat_map(bytes).collect();
    group.bench_function("tls1.2, byte by byte", |bencher| {
        bencher.iter(|| watch(&single))
    });
    group.finish();
}

fn probe(criterion: &mut Criterion<impl Measurement + 'static>) {
    let mut group = criterion.benchmark_group("probe");
    group.bench_function("hello", |bencher| {
        bencher.iter(|| tls::client_hello(black_box([7; 32])));
    });
    group.bench_function("answer", |bencher| {
        bencher.iter(|| tls::answer(black_box(&[22, 3, 3, 0, 90, 2])));
    });
    group.finish();
}
