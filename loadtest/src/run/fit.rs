//! What of a scenario can be run here.
//!
//! Owns leaving out what a balancer cannot serve, and fitting idle sessions to the descriptors that
//! this system grants. Whatever is changed is told.

use std::io;

use crate::process::raise_descriptor_limit;
use crate::scenario::Scenario;

/// Descriptors that a balancer needs besides its sessions: listeners, probes, pipes, logs, a reserve.
const RESERVED: u64 = 1000;

/// Sessions that a process with so many descriptors can hold: a session is two, and a balancer may
/// keep a tenth of them for clients that matter more.
fn sessions_within(descriptors: u64) -> u32 {
    let most = descriptors.saturating_sub(RESERVED) / 2;
    u32::try_from(most - most / 9).unwrap_or(u32::MAX)
}

/// The scenario without what `refuses` names a reason against, fit to the limits of this process,
/// which the balancer inherits.
pub(super) fn fit(
    scenario: &Scenario,
    refuses: impl Fn(&str) -> Option<&'static str>,
    left_out: &mut Vec<String>,
) -> io::Result<Scenario> {
    let mut fit = scenario.clone();
    for listener in &scenario.balancer.listeners {
        if let Some(why) = refuses(&listener.service) {
            remove(&mut fit, &listener.name, why, left_out);
        }
    }
    if fit.loads().next().is_none() {
        return Err(io::Error::other(left_out.join("; ")));
    }
    let limit = raise_descriptor_limit()?;
    let most = sessions_within(limit);
    for load in &mut fit.idle {
        if load.sessions > most {
            left_out.push(format!(
                "{}: {most} of {} sessions, because a process here may open {limit} descriptors",
                load.name, load.sessions
            ));
            load.sessions = most;
        }
    }
    Ok(fit)
}

/// Removes a listener and the loads that go to it.
fn remove(scenario: &mut Scenario, listener: &str, why: &str, left_out: &mut Vec<String>) {
    let is_first = scenario
        .balancer
        .listeners
        .first()
        .is_some_and(|it| it.name == listener);
    let goes_there = |to: &str| to == listener || (to.is_empty() && is_first);
    let loads = scenario.loads().filter(|load| goes_there(load.listener()));
    left_out.extend(loads.map(|load| format!("{}: {why}", load.name())));
    scenario
        .round_trips
        .retain(|load| !goes_there(&load.listener));
    scenario.bulk.retain(|load| !goes_there(&load.listener));
    scenario.connects.retain(|load| !goes_there(&load.listener));
    scenario.idle.retain(|load| !goes_there(&load.listener));
    scenario.users.retain(|load| !goes_there(&load.listener));
    scenario.partners.retain(|load| !goes_there(&load.listener));
    scenario.flood.retain(|load| !goes_there(&load.listener));
    scenario
        .udp_flows
        .retain(|load| !goes_there(&load.listener));
    scenario.balancer.listeners.retain(|it| it.name != listener);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
title = "t"
about = "a"
[run]
warm_up = "1s"
measure = "1s"
[[balancer.listeners]]
name = "main"
[[balancer.listeners]]
name = "av"
service = "udp"
[[idle]]
name = "many"
sessions = 99000
[[udp-flows]]
name = "audio"
listener = "av"
flows = 1
rate = 50
bytes = 160
"#;

    #[test]
    fn what_cannot_be_served_or_held_is_left_out_and_told() {
        let scenario = Scenario::parse("t", TEXT).unwrap();
        let mut left_out = Vec::new();
        let refuses = |service: &str| (service == "udp").then_some("no UDP");
        let fit = fit(&scenario, refuses, &mut left_out).unwrap();
        assert!(fit.udp_flows.is_empty() && fit.balancer.listeners.len() == 1);
        assert_eq!(left_out[0], "audio: no UDP");
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(left_out.len() == 2, sessions_within(limit) < 99_000);
        assert!(u64::from(fit.idle[0].sessions) * 2 <= limit);
    }

    #[test]
    fn a_scenario_of_which_nothing_is_left_is_an_error() {
        let scenario = Scenario::parse("t", TEXT).unwrap();
        let error = fit(&scenario, |_| Some("no such thing"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("many: no such thing"));
    }
}
