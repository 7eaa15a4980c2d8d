use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::parse;

fn config(text: &str) -> Config {
    match parse("pinfold.toml", text) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The script of `tests/data/host-rules/{name}.toml`, held against the one beside it.
fn check(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/host-rules");
    let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
    let printed = script(&config(&text), 3);
    let beside = folder.join(format!("{name}.sh"));
    if std::env::var_os("PINFOLD_BLESS").is_some() {
        std::fs::write(&beside, &printed).unwrap();
    }
    assert_eq!(printed, std::fs::read_to_string(beside).unwrap(), "{name}");
    printed
}

#[test]
fn a_gateway_of_two_arms_is_printed_whole() {
    let printed = check("gateway");
    assert!(printed.contains("# [server] workers = 2."), "{printed}");
}

#[test]
fn one_arm_and_ipv6_are_printed_whole() {
    let printed = check("one-arm");
    assert!(!printed.contains("hook forward"), "{printed}");
    assert!(printed.contains("and 3 cores on this machine"), "{printed}");
}

#[test]
fn a_configuration_that_needs_nothing_takes_away_what_another_needed() {
    let text = include_str!("../../../packaging/pinfold.toml");
    let printed = script(&config(text), 2);
    assert!(printed.ends_with(&removal()), "{printed}");
    assert!(
        printed.lines().next().unwrap().starts_with("# "),
        "{printed}"
    );
}

#[test]
fn whatever_is_in_force_is_taken_away() {
    let removal = removal();
    for (switch, note) in [FORWARDING_V4, FORWARDING_V6] {
        assert!(
            removal.contains(switch) && removal.contains(note),
            "{removal}"
        );
    }
    assert!(removal.contains("delete table inet pinfold"), "{removal}");
}

#[test]
fn there_are_never_more_workers_in_it_than_marks() {
    let text = "version = 1\n[gateway]\noutside = \"a\"\ninside = \"b\"\n[[pool]]\nname = \"edge\"\n\
                node = [{ name = \"a\", address = \"198.51.100.1\" }]\n\
                [[listener]]\nname = \"l\"\nbind = \"203.0.113.1:5061\"\npool = \"edge\"\n";
    let printed = script(&config(text), 1000);
    assert!(printed.contains("0x504601ff : 20805,"), "{printed}");
    assert_eq!(printed.matches(" : 20").count(), 256);
}

/// What is generated: for each node the last byte of its address, whether it is IPv6, and whether it has
/// a port of its own; and the services of the listeners, each transparent or not.
type World = (Vec<(u8, bool)>, bool, Vec<(usize, bool)>);

fn world() -> impl Strategy<Value = World> {
    let nodes = proptest::collection::btree_map(1..250_u8, any::<bool>(), 1..5)
        .prop_map(|nodes| nodes.into_iter().collect());
    let listeners = proptest::collection::vec((0..4_usize, any::<bool>()), 1..4);
    (nodes, any::<bool>(), listeners)
}

/// The file, and what must stand in the sets of answers.
fn file((nodes, is_v6, listeners): &World) -> (String, BTreeSet<String>) {
    const SERVICES: [(&str, &str, u16); 4] = [
        ("tcp", "tcp", 9000),
        ("udp", "udp", 9000),
        ("av-tcp", "tcp", 443),
        ("internal-av-udp", "udp", 9000),
    ];
    let (net, inner) = match is_v6 {
        true => ("2001:db8::", "2001:db8:1::"),
        false => ("198.51.100.", "192.0.2."),
    };
    let ip = |ip: String, port: Option<u16>| match (port, is_v6) {
        (None, _) => ip,
        (Some(port), true) => format!("[{ip}]:{port}"),
        (Some(port), false) => format!("{ip}:{port}"),
    };
    let mut text = "version = 1\n[server]\nworkers = 1\n[[pool]]\nname = \"edge\"\n".to_owned();
    for (last, has_port) in nodes {
        let own = has_port.then_some(4000);
        let address = ip(format!("{net}{last}"), own);
        let inside = ip(format!("{inner}{last}"), None);
        let _ = write!(
            text,
            "[[pool.node]]\nname = \"n{last}\"\naddress = \"{address}\"\n\
             addresses = {{ internal = \"{inside}\" }}\n"
        );
    }
    let mut expected = BTreeSet::new();
    let vip = if *is_v6 {
        "[2001:db8:2::1]"
    } else {
        "203.0.113.1"
    };
    for (number, &(service, is_transparent)) in listeners.iter().enumerate() {
        let (service, transport, port) = SERVICES[service];
        let is_av = service.contains("av");
        let _ = write!(
            text,
            "[[listener]]\nname = \"l{number}\"\nbind = \"{vip}:{}\"\nservice = \"{service}\"\n\
             pool = \"edge\"\nnode_port = {port}\n{}",
            8000 + number,
            if is_transparent && !is_av {
                "source = \"transparent\"\n"
            } else {
                ""
            }
        );
        for (last, has_port) in nodes.iter().filter(|_| is_transparent || is_av) {
            let is_inner = service.contains("internal");
            let port = if *has_port && !is_inner { 4000 } else { port };
            let net = if is_inner { inner } else { net };
            expected.insert(format!("{net}{last} . {transport} . {port}"));
        }
    }
    (text, expected)
}

/// The elements of a set.
fn elements(printed: &str, set: &str) -> Vec<String> {
    let Some((_, rest)) = printed.split_once(&format!("    set {set} {{\n")) else {
        return Vec::new();
    };
    let (inside, _) = rest.split_once("\n    }\n").unwrap();
    let elements = inside.lines().filter_map(|line| line.split_once(",  # "));
    elements
        .map(|(element, _)| element.trim().to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_node_of_every_transparent_listener_stands_in_the_sets_and_nothing_else(world in world()) {
        let (text, mut expected) = file(&world);
        let config = config(&text);
        let printed = script(&config, 1);
        prop_assert_eq!(&printed, &script(&config, 1));
        if !expected.is_empty() {
            expected.insert("127.0.0.1 . udp . 20549".into());
            expected.insert("::1 . udp . 20549".into());
        }
        let found = [elements(&printed, "answers4"), elements(&printed, "answers6")].concat();
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
