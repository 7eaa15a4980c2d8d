//! What the program lists and refuses, in words.

use pinfold_loadtest::figure::FIGURES;
use pinfold_loadtest::scenario::{Scenario, shipped};

use crate::program::{Tiny, loadtest};

#[test]
fn scenarios_are_listed_and_printed_as_files() {
    let list = loadtest(&["scenarios"]);
    let names: Vec<_> = shipped().map(|(name, _)| name).collect();
    list.is(0, &names);
    list.fits();
    assert_eq!(list.text.lines().count(), names.len());
    let print = loadtest(&["scenarios", "partner-failover"]);
    print.is(0, &[]);
    let scenario = Scenario::parse("again", &print.text).unwrap();
    assert!(!scenario.partners.is_empty());
}

#[test]
fn figures_are_listed() {
    let list = loadtest(&["scenarios", "--figures"]);
    let names = FIGURES.map(|figure| figure.name);
    list.is(0, &names);
    list.fits();
}

#[test]
fn mistakes_are_answered_in_words() {
    let tiny = Tiny::new("[[expect]]\nfigure = \"talk.p51_us\"\nat_most = 1\n");
    let scenario = tiny.scenario();
    for (arguments, code, words) in [
        (&["run", "nobody"][..], 69, "bulk-one"),
        (&["run"], 64, "<SCENARIO>"),
        (&["run", "smoke", "--fast"], 64, "--fast"),
        (&["run", "smoke", "--balancer", "f5"], 64, "haproxy"),
        (&["run", "smoke", "--measure", "soon"], 64, "length of time"),
        (&["run", "smoke", "--scale", "0"], 64, "more than 0"),
        (&["run", "smoke", "--max-rate", "0"], 64, "more than 0"),
        (&["run", "smoke", "--measure", "0s"], 69, "measure is zero"),
        (&["run", "smoke", "--measure", "500ms"], 69, "after the end"),
        (&["run", &scenario], 69, "scenarios --figures"),
        (&["scenarios", "nobody"], 69, "no scenario is called"),
        (
            &["report", "/nowhere/report.json"],
            69,
            "/nowhere/report.json",
        ),
        (&["report", &scenario], 69, "tiny.toml"),
        (&["run", "smoke", "--json", "/nowhere/a"], 69, "/nowhere/a"),
        (
            &["run", "smoke", "--address", "main"],
            64,
            "LISTENER=IP:PORT",
        ),
    ] {
        let answer = loadtest(arguments);
        assert!(answer.text.starts_with("error: "), "{}", answer.text);
        answer.is(code, &[words]);
    }
}

#[test]
fn a_balancer_that_cannot_be_started_is_a_failure_with_its_name() {
    let tiny = Tiny::new("");
    let answer = loadtest(&["run", &tiny.scenario(), "--pinfold", "/nowhere/pinfold"]);
    answer.is(1, &["FAILED    pinfold, round 1: /nowhere/pinfold"]);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_started() {
    let answer = loadtest(&["run", "failover-after-reloads", "--balancer", "direct"]);
    answer.is(
        1,
        &["FAILED    direct: there is no balancer that could reload"],
    );
    let address = "main=127.0.0.1:1";
    let answer = loadtest(&["run", "partner-failover", "--address", address]);
    answer.is(
        1,
        &["FAILED    elsewhere: what others run cannot be made to fail"],
    );
}
