//! Without descriptors Pinfold refuses, recovers, and blames no node.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use pinfold_loadtest::process::wait_until;

use crate::wire::Wire;
use crate::world::{
    Caller, Directory, FABRIKAM, Pinfold, SOON, Setup, caller_address, edge, quiet,
};

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);

/// Two nodes behind a Pinfold that may open no more than 256 descriptors.
struct Short {
    pinfold: Pinfold,
    _nodes: [pinfold_loadtest::process::EdgeProcess; 2],
    _directory: Directory,
}

impl Short {
    fn start(more: &str) -> Self {
        let nodes = [edge("edge1"), edge("edge2")];
        let mut setup = Setup::default();
        for node in &nodes {
            setup.node(node.name(), node.address());
        }
        setup.listeners[0].more = more.into();
        let directory = Directory::create();
        directory.write(&setup);
        let pinfold = Pinfold::start_with(&directory, |command| {
            let mut limited = Command::new("sh");
            let words = "ulimit -n 256; exec \"$0\" \"$@\"";
            limited.args(["-c", words]).arg(command.get_program());
            limited.args(command.get_args()).env_remove("NOTIFY_SOCKET");
            *command = limited;
        });
        pinfold.wait_ready();
        for name in ["edge1", "edge2"] {
            pinfold.wait_health(name, "up");
        }
        Self {
            pinfold,
            _nodes: nodes,
            _directory: directory,
        }
    }

    fn assert_answers_and_blames_nobody(&self) {
        assert_eq!(self.pinfold.get("/ready").unwrap().status, 200);
        for name in ["edge1", "edge2"] {
            let node = self.pinfold.node(name);
            assert_eq!(node["services"][0]["health"], "up", "{node}");
        }
    }

    fn assert_recovers(&self) {
        let address = self.pinfold.address("federation");
        let served = || Caller::served(address, STRANGER).ok();
        assert!(wait_until(SOON, served).is_some(), "it serves again");
        let empty = || (self.pinfold.sessions() == 0).then_some(());
        assert!(wait_until(SOON, empty).is_some());
        self.assert_answers_and_blames_nobody();
        let output = self.pinfold.process.output();
        assert!(!output.contains("node-down"), "{output}");
        assert_eq!(self.pinfold.metric("pinfold_panics_total"), Some(0.0));
    }
}

#[test]
fn a_flood_beyond_the_descriptors_is_refused_and_partners_keep_their_tenth() {
    let short = Short::start("");
    let address = short.pinfold.address("federation");
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..300 {
        match Caller::served(address, caller_address(number)) {
            Ok((caller, _)) => kept.push(caller),
            Err(_) => refused += 1,
        }
        if number % 50 == 0 {
            short.assert_answers_and_blames_nobody();
        }
    }
    assert!(refused > 200 && kept.len() >= 10, "{refused} were refused");
    short.pinfold.wait_ended("refused-limit", refused);
    let partner = Caller::served(address, FABRIKAM);
    assert!(partner.is_ok(), "a tenth is kept for partners");
    for caller in &mut kept {
        caller.ask("still here").unwrap();
    }
    drop((kept, partner));
    short.assert_recovers();
}

#[test]
fn silent_connections_beyond_the_descriptors_leave_the_admin_api_and_the_probes_theirs() {
    let short = Short::start("");
    let address = short.pinfold.address("federation");
    let silent: Vec<_> = (0..600)
        .filter_map(|number| Wire::connect(address, caller_address(number)).ok())
        .collect();
    let refused = || (short.pinfold.ended("refused-limit") > 400).then_some(());
    assert!(wait_until(SOON, refused).is_some());
    short.assert_answers_and_blames_nobody();
    drop(silent);
    short.assert_recovers();
}

#[test]
fn announced_clients_without_a_header_take_no_more_than_their_share_of_descriptors() {
    let short = Short::start(
        "proxy_protocol = \"accept\"\nproxy_protocol_from = [\"127.1.0.0/16\"]\n\
         speaks_first = \"any\"",
    );
    let address = short.pinfold.address("federation");
    let silent: Vec<_> = (0..600)
        .filter_map(|number| Wire::connect(address, caller_address(number)).ok())
        .collect();
    let refused = || (short.pinfold.ended("refused-limit") > 400).then_some(());
    assert!(wait_until(SOON, refused).is_some());
    short.assert_answers_and_blames_nobody();
    let output = short.pinfold.process.output();
    assert!(!output.contains("cannot accept"), "{output}");
    drop(silent);
    let empty = || (short.pinfold.sessions() == 0).then_some(());
    assert!(wait_until(SOON, empty).is_some());
    short.assert_answers_and_blames_nobody();
}

/// Sets how many descriptors a running Pinfold may have.
fn limit_descriptors(pinfold: &Pinfold, limit: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &pinfold.process.pid().to_string()])
        .arg(format!("--nofile={limit}:"))
        .status()
        .expect("this test needs the program `prlimit` (util-linux)");
    assert!(status.success());
}

#[test]
fn without_a_single_descriptor_no_node_is_blamed_and_sessions_live_on() {
    let _quiet = quiet();
    let short = Short::start("");
    let address = short.pinfold.address("federation");
    let mut callers: Vec<_> = (0..6)
        .map(|number| Caller::served(address, caller_address(number)).unwrap())
        .collect();
    limit_descriptors(&short.pinfold, "10");
    let _waiting = Caller::connect(address, STRANGER).map(|mut caller| caller.say("hello"));
    let process = &short.pinfold.process;
    let is_short = process.wait_line(SOON, |line| line.contains("cannot accept for now"));
    assert!(is_short.is_some(), "{}", process.output());
    // Several rounds of probes, none of which can be sent.
    let condemned = process.wait_line(Duration::from_secs(2), |line| line.contains("node-down"));
    assert_eq!(condemned, None);
    for (caller, node) in &mut callers {
        assert_eq!(&caller.ask("still here").unwrap(), node);
    }
    limit_descriptors(&short.pinfold, "256");
    drop(callers);
    short.assert_recovers();
}

#[test]
fn memory_is_taken_by_small_pages() {
    let world = crate::world::World::start(1);
    let path = format!("/proc/{}/status", world.pinfold.process.pid());
    let status = std::fs::read_to_string(path).unwrap();
    // proc(5): since Linux 5.0.
    let told = status.lines().find(|line| line.starts_with("THP_enabled"));
    assert!(told.is_none_or(|line| line.ends_with('0')), "{told:?}");
}
