//! What is said of the host's rules while they are missing, and again when they are not.

use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use super::{Scene, VIP, VIP_V6};
use crate::host_rules::apply;
use crate::laboratory::laboratory;
use crate::world::SOON;

/// Between two looks of a worker (five seconds), with what a look takes.
const INTERVAL: Duration = Duration::from_secs(8);

/// What the status says of the host's rules, a line for each version of IP.
fn told(scene: &Scene<'_>) -> Vec<String> {
    let status = scene.pinfold.json("/v1/status");
    let attention = status["attention"].as_array().unwrap();
    let lines = attention.iter().map(ToString::to_string);
    lines.filter(|line| line.contains("HOST RULES")).collect()
}

/// Waits until the status says so; how long that took.
fn wait_told(scene: &Scene<'_>, pleases: impl Fn(&[String]) -> bool) -> Duration {
    let began = Instant::now();
    let comes = wait_until(SOON + INTERVAL, || pleases(&told(scene)).then_some(()));
    assert!(comes.is_some(), "{:?}", told(scene));
    began.elapsed()
}

/// A line that says this of the listeners of a version of IP.
fn says(lines: &[String], version: &str, listeners: &str, what: &str) -> bool {
    let start = format!("HOST RULES ({version}) for {listeners}: ");
    let mut lines = lines.iter();
    lines.any(|line| {
        let remedy = "pinfold check --host-rules";
        line.contains(&start) && line.contains(what) && line.contains(remedy)
    })
}

const V4: &str = "udp, tcp, internal-udp, internal-tcp";
const V6: &str = "udp6, tcp6";
const NO_RULES: &str = "firewall's rules are missing";
const NO_ROUTE: &str = "policy routing is missing";

#[test]
fn rules_that_are_in_force_are_found_so() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        for vip in [VIP, VIP_V6] {
            let ip = if vip == VIP {
                "198.51.100.200"
            } else {
                "2001:db8:1::200"
            };
            scene.client(ip).ask(vip, "hello");
        }
        // Long enough for two looks of each worker.
        let comes = wait_until(INTERVAL, || {
            Some(told(&scene)).filter(|told| !told.is_empty())
        });
        assert_eq!(comes, None);
        let log = scene.pinfold.process.output();
        assert!(!log.contains("host-rules:"), "{log}");
    });
}

#[test]
fn what_is_taken_away_is_told_for_whom_it_concerns_until_it_is_back() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let client = scene.client("198.51.100.200");
        client.ask(VIP, "hello");
        type Says = fn(&[String]) -> bool;
        let steps: [(&str, Says); 4] = [
            ("nft flush ruleset", |lines| {
                says(lines, "IPv4", V4, NO_RULES) && says(lines, "IPv6", V6, NO_RULES)
            }),
            ("ip rule del fwmark 0x50460000", |lines| {
                says(lines, "IPv4", V4, NO_ROUTE) && lines.len() == 1
            }),
            ("ip -6 rule del fwmark 0x50460000", |lines| {
                says(lines, "IPv6", V6, NO_ROUTE) && lines.len() == 1
            }),
            (
                "nft delete element inet pinfold interception_ports '{ 0x50460101 : 20551 }'",
                |lines| {
                    let of_one = "not made for 1 of 2 workers";
                    says(lines, "IPv4", V4, of_one) && says(lines, "IPv6", V6, of_one)
                },
            ),
        ];
        for (command, is_told) in steps {
            // What was taken away before is back, and something else is missing.
            apply(laboratory, &scene.directory);
            client.ask(VIP, "hello again");
            laboratory.must("appliance", command);
            let took = wait_told(&scene, is_told);
            assert!(took < INTERVAL, "{command}: {took:?}");
        }
        apply(laboratory, &scene.directory);
        let took = wait_told(&scene, <[_]>::is_empty);
        assert!(took < INTERVAL, "{took:?}");
        client.ask(VIP, "hello again");
        let is_logged = |what: &str| {
            let line = |line: &str| line.contains("host-rules:") && line.contains(what);
            assert!(
                scene.pinfold.process.wait_line(SOON, line).is_some(),
                "{what}"
            );
        };
        for what in [NO_RULES, NO_ROUTE, "1 of 2 workers", "comes back here"] {
            is_logged(what);
        }
    });
}

#[test]
fn what_is_missing_at_the_start_is_told_at_once_and_needs_no_restart_when_it_is_there() {
    laboratory(|laboratory| {
        let scene = Scene::start_with(laboratory, |plan| plan.is_prepared = false);
        let took = wait_told(&scene, |lines| {
            says(lines, "IPv4", V4, NO_ROUTE) && says(lines, "IPv6", V6, NO_ROUTE)
        });
        assert!(took < SOON, "{took:?}");
        let client = scene.client("198.51.100.200");
        apply(laboratory, &scene.directory);
        client.ask(VIP, "hello");
        wait_told(&scene, <[_]>::is_empty);
    });
}
