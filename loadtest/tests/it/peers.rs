//! Runs against the balancers that are installed.

use std::fs;

use pinfold_loadtest::peer::Kind;
use pinfold_loadtest::process::Directory;

use crate::page;
use crate::program::{CALM, PROGRAM, Tiny, loadtest};

/// Those that can be had. CI has every one of them.
fn installed() -> Vec<&'static str> {
    let wanted = [Kind::Haproxy, Kind::Nginx].into_iter();
    let found = wanted.filter(|kind| {
        let found = kind.find();
        assert!(
            found.is_ok() || std::env::var_os("CI").is_none(),
            "{}",
            found.unwrap_err()
        );
        found.is_ok()
    });
    found.map(Kind::name).collect()
}

#[test]
fn peers_serve_and_are_shown_beside_each_other() {
    let tiny = Tiny::new(CALM);
    let (scenario, html) = (tiny.scenario(), tiny.file("report.html"));
    let peers = installed();
    let has_pinfold = std::path::Path::new(PROGRAM)
        .with_file_name("pinfold")
        .is_file();
    if has_pinfold && !peers.is_empty() {
        let answer = loadtest(&[
            "compare",
            &scenario,
            "--against",
            &peers.join(","),
            "--html",
            &html,
        ]);
        answer.is(0, &["pinfold", "everything holds"]);
        answer.is(0, &peers);
        answer.fits();
        page::hold(&fs::read_to_string(&html).unwrap());
        return;
    }
    // Pinfold is a crate of its own, which these tests do not need.
    for peer in peers {
        let answer = loadtest(&["run", &scenario, "--balancer", peer, "--html", &html]);
        answer.is(0, &[peer, "everything holds"]);
        page::hold(&fs::read_to_string(&html).unwrap());
    }
}

#[test]
fn what_a_peer_cannot_do_is_left_out_in_words() {
    if installed().contains(&"haproxy") {
        let answer = loadtest(&["run", "failover-after-reloads", "--balancer", "haproxy"]);
        answer.is(1, &["FAILED    haproxy: HAProxy reloads by a new process"]);
        answer.fits();
    }
}

#[test]
fn a_killed_node_is_survived_by_every_peer_and_its_partner_is_seen_to_move() {
    let tiny = Tiny::new(
        r#"
[[event]]
at = "300ms"
to = "of stubborn"
command = "kill"

[[expect]]
figure = "stubborn.moves"
at_least = 1
at_most = 1

[[expect]]
figure = "stubborn.not_back"
at_most = 0

[[expect]]
figure = "stubborn.disturbed_elsewhere"
at_most = 0

[[expect]]
figure = "talk.disturbed_elsewhere"
at_most = 0
"#,
    );
    for peer in installed() {
        let answer = loadtest(&["run", &tiny.scenario(), "--balancer", peer]);
        answer.is(0, &[peer, "everything holds"]);
    }
}

#[test]
fn a_balancer_that_says_nothing_useful_is_told_with_its_last_words() {
    let directory = Directory::create().unwrap();
    let tiny = Tiny::new(CALM);
    let (scenario, nothing) = (tiny.scenario(), directory.file("nothing"));
    fs::copy("/bin/false", &nothing).unwrap();
    let answer = loadtest(&["run", &scenario, "--pinfold", &nothing.to_string_lossy()]);
    answer.is(1, &["FAILED    pinfold, round 1: pinfold did not start"]);
}
