//! What of a scenario can be run here.
//!
//! Owns leaving out what a balancer cannot serve, and fitting idle sessions and users to the descriptors that
//! this system grants. Whatever is changed is told.

use std::io;

use crate::process::raise_descriptor_limit;
use crate::scenario::{Listener, Load, Scenario};

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
    refuses: impl Fn(&Listener) -> Option<&'static str>,
    left_out: &mut Vec<String>,
) -> io::Result<Scenario> {
    let mut fit = scenario.clone();
    for listener in &scenario.balancer.listeners {
        if let Some(why) = refuses(listener) {
            remove(&mut fit, &listener.name, why, left_out);
        }
    }
    if fit.loads().next().is_none() {
        return Err(io::Error::other(left_out.join("; ")));
    }
    fit_within(&mut fit, raise_descriptor_limit()?, left_out)?;
    Ok(fit)
}

/// Idle sessions and users share the room that the others leave, each in its proportion.
fn fit_within(scenario: &mut Scenario, limit: u64, left_out: &mut Vec<String>) -> io::Result<()> {
    let most = u64::from(sessions_within(limit));
    let (mut fixed, mut elastic) = (0, 0);
    for load in scenario.loads() {
        match load {
            Load::Idle(it) => elastic += u64::from(it.sessions),
            Load::Users(it) => elastic += u64::from(it.users),
            Load::RoundTrips(it) => fixed += u64::from(it.connections),
            Load::Bulk(it) => fixed += u64::from(it.streams),
            Load::Connects(it) => fixed += u64::from(it.at_once),
            Load::Partners(it) => fixed += u64::from(it.partners) * u64::from(it.connections),
            Load::Flood(it) => fixed += u64::from(it.held),
            Load::UdpFlows(it) => fixed += u64::from(it.flows),
        }
    }
    let why = format!("because a process here may open {limit} descriptors");
    let room = most.checked_sub(fixed);
    let room = room.filter(|room| *room > 0 || elastic == 0);
    let room = room.ok_or_else(|| {
        let needed = fixed + elastic;
        io::Error::other(format!(
            "{needed} sessions at once are too many, {why}: {most}; use --scale"
        ))
    })?;
    if elastic <= room {
        return Ok(());
    }
    let mut shrink = |name: &str, what: &str, count: &mut u32| {
        let share = u64::from(*count) * room / elastic;
        let share = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        left_out.push(format!("{name}: {share} of {count} {what}, {why}"));
        *count = share;
    };
    for load in &mut scenario.idle {
        shrink(&load.name, "sessions", &mut load.sessions);
    }
    for load in &mut scenario.users {
        shrink(&load.name, "users", &mut load.users);
    }
    Ok(())
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
        let refuses = |listener: &Listener| (listener.service == "udp").then_some("no UDP");
        let fit = fit(&scenario, refuses, &mut left_out).unwrap();
        assert!(fit.udp_flows.is_empty() && fit.balancer.listeners.len() == 1);
        assert_eq!(left_out[0], "audio: no UDP");
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(left_out.len() == 2, sessions_within(limit) < 99_000);
        assert!(u64::from(fit.idle[0].sessions) * 2 <= limit);
    }

    #[test]
    fn users_are_fitted_to_what_the_others_leave_and_too_much_of_those_is_refused() {
        let (_, text) = crate::scenario::shipped()
            .find(|(name, _)| *name == "edge-pool-12k-users")
            .unwrap();
        let scenario = Scenario::parse("t", text).unwrap();
        for (limit, users) in [(20_000, 7847), (100_000, 12_000)] {
            let (mut fit, mut left_out) = (scenario.clone(), Vec::new());
            fit_within(&mut fit, limit, &mut left_out).unwrap();
            assert_eq!(fit.users[0].users, users);
            assert_eq!(left_out.len(), usize::from(users < 12_000));
        }
        let error = fit_within(&mut scenario.clone(), 2_000, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("use --scale"), "{error}");
    }

    #[test]
    fn a_scenario_of_which_nothing_is_left_is_an_error() {
        let scenario = Scenario::parse("t", TEXT).unwrap();
        let error = fit(&scenario, |_| Some("no such thing"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("many: no such thing"));
    }
}
