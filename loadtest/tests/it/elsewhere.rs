//! Runs against what others run.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use pinfold_loadtest::process::{EdgeProcess, wait_until};

use crate::program::{CALM, PROGRAM, Tiny, finish, loadtest, start};

const SOON: Duration = Duration::from_secs(15);

fn nodes() -> [EdgeProcess; 2] {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ["edge1", "edge2"].map(|name| EdgeProcess::spawn(Path::new(PROGRAM), name, any).unwrap())
}

fn address(nodes: &[EdgeProcess]) -> String {
    let addresses: Vec<_> = nodes
        .iter()
        .map(|node| node.address().to_string())
        .collect();
    format!("main={}", addresses.join(","))
}

/// How many lines `node` has answered.
fn lines(node: &EdgeProcess) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&node.command("stats").unwrap()).unwrap();
    stats["lines"].as_u64().unwrap()
}

#[test]
fn this_machine_is_called_without_a_question() {
    let (nodes, tiny) = (nodes(), Tiny::new(CALM));
    let answer = loadtest(&["run", &tiny.scenario(), "--address", &address(&nodes)]);
    answer.is(0, &["elsewhere", "everything holds"]);
    assert!(nodes.iter().all(|node| lines(node) > 0));
}

#[test]
fn a_connection_that_is_lost_without_an_event_is_a_disturbance() {
    let (nodes, tiny) = (nodes(), Tiny::new(CALM));
    let (scenario, address) = (tiny.scenario(), address(&nodes));
    let arguments = ["run", &scenario, "--address", &address, "--measure", "2s"];
    let running = start(&arguments);
    // Half a second of a hundred lines each: within the window.
    wait_until(SOON, || (lines(&nodes[1]) > 60).then_some(())).expect("a run at work");
    nodes[0].command("kill").unwrap();
    nodes[0].command("revive").unwrap();
    let answer = finish(running);
    // Two connections of the talk and the partner's one were there.
    answer.is(
        1,
        &[
            "FAILED    talk.troubles of elsewhere",
            "FAILED    stubborn.disturbed_elsewhere of elsewhere: 1, at most 0",
        ],
    );
    let row = answer.text.lines().find(|line| line.starts_with("  talk "));
    assert!(row.unwrap().ends_with(" 2"), "{}", answer.text);
}

#[test]
fn other_machines_are_not_called_before_somebody_says_yes() {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    door.set_nonblocking(true).unwrap();
    let here = door.local_addr().unwrap();
    let tiny = Tiny::new(CALM);
    // TEST-NET-1 (RFC 5737): nobody is there, and nobody may be asked.
    let address = format!("main={here},192.0.2.1:5061");
    let answer = loadtest(&["run", &tiny.scenario(), "--address", &address]);
    answer.is(69, &["192.0.2.1:5061", "say --yes"]);
    assert!(
        !answer.text.contains("tiny:"),
        "nothing was run: {}",
        answer.text
    );
    // Neither was the address beside it, whose callers would still be waiting here.
    assert_eq!(door.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
