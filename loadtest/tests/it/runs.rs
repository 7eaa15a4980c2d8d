//! Runs without a balancer between: what holds, what fails, what is counted.

use std::fs;
use std::process::{Command, Stdio};

use crate::page;
use crate::program::{CALM, PROGRAM, Tiny, loadtest};

#[test]
fn a_run_that_holds_can_be_shown_again_and_as_a_page() {
    let tiny = Tiny::new(CALM);
    let (json, html) = (tiny.file("report.json"), tiny.file("report.html"));
    let scenario = tiny.scenario();
    let answer = loadtest(&[
        "run",
        &scenario,
        "--balancer",
        "direct",
        "--json",
        &json,
        "--html",
        &html,
    ]);
    answer.is(0, &["tiny: Little, for a moment", "everything holds"]);
    answer.fits();
    let again = loadtest(&["report", &json]);
    assert_eq!((again.code, &again.text), (0, &answer.text));
    let all = loadtest(&["report", &json, "--all"]);
    all.is(0, &["talk.calm_p99_us", "stubborn.standing"]);
    all.fits();

    let text = fs::read_to_string(&html).unwrap();
    page::hold(&text);
    assert!(text.contains("It holds &lt;anywhere&gt; &amp; always."));
    let copy = tiny.file("copy.html");
    loadtest(&["report", &json, "--html", &copy]).is(0, &[]);
    assert_eq!(fs::read_to_string(&copy).unwrap(), text);
}

#[test]
fn reports_are_written_even_if_nobody_reads_the_terminal() {
    let tiny = Tiny::new(CALM);
    let (json, html) = (tiny.file("report.json"), tiny.file("report.html"));
    let mut running = Command::new(PROGRAM)
        .args(["run", &tiny.scenario(), "--balancer", "direct"])
        .args(["--json", &json, "--html", &html])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(running.stdout.take());
    running.wait().unwrap();
    page::hold(&fs::read_to_string(&html).unwrap());
    assert!(fs::read_to_string(&json).unwrap().ends_with("}\n"));
}

#[test]
fn a_partner_that_waits_for_its_frozen_node_has_a_gap_and_no_move() {
    let tiny = Tiny::new(
        r#"
[[event]]
at = "100ms"
to = "of stubborn"
command = "freeze"

[[event]]
at = "500ms"
to = "broken"
command = "mend"

[[event]]
at = "700ms"
to = "of stubborn"
command = "freeze"

[[expect]]
figure = "stubborn.moves"
at_most = 0

[[expect]]
figure = "stubborn.gap_p50_ms"
at_least = 300
at_most = 600

[[expect]]
figure = "stubborn.gap_max_ms"
at_least = 600

[[expect]]
figure = "talk.unanswered"
at_least = 10
"#,
    );
    let answer = loadtest(&["run", &tiny.scenario(), "--balancer", "direct"]);
    answer.is(0, &["everything holds"]);
}

#[test]
fn an_expectation_that_cannot_hold_fails_the_run() {
    let tiny = Tiny::new("[[expect]]\nfigure = \"talk.p50_us\"\nat_most = 0.001\n");
    let html = tiny.file("report.html");
    let scenario = tiny.scenario();
    let answer = loadtest(&["run", &scenario, "--balancer", "direct", "--html", &html]);
    answer.is(
        1,
        &["FAILED    talk.p50_us of direct", "does not hold: tiny"],
    );
    let text = fs::read_to_string(&html).unwrap();
    page::hold(&text);
    assert!(text.contains("One scenario does not hold"));
}

#[test]
fn connections_of_nodes_that_fail_are_lost_and_nobody_else_is_disturbed() {
    let tiny = Tiny::new(
        r#"
[[idle]]
name = "quiet"
sessions = 6

[[event]]
at = "200ms"
to = "edge1"
command = "reset-after 200"

[[event]]
at = "500ms"
to = "edge2"
command = "kill"

[[event]]
at = "600ms"
to = "broken"
command = "mend"

[[expect]]
figure = "talk.reset"
at_least = 3

[[expect]]
figure = "quiet.closed"
at_least = 3
at_most = 3

[[expect]]
figure = "stubborn.reset"
at_least = 1

[[expect]]
figure = "talk.disturbed_elsewhere"
at_most = 0

[[expect]]
figure = "quiet.disturbed_elsewhere"
at_most = 0

[[expect]]
figure = "stubborn.disturbed_elsewhere"
at_most = 0
"#,
    );
    let answer = loadtest(&["run", &tiny.scenario(), "--balancer", "direct"]);
    answer.is(0, &["moves  gap p50", "everything holds"]);
    answer.fits();
}
