//! What a scenario must be as a whole.

use std::collections::HashSet;

use clap::ValueEnum;

use super::{CertificateKey, Event, Handshakes, Load, OfferedVersion, Scenario, Termination};
use crate::figure;
use crate::peer::{ELSEWHERE, Kind};

/// Enough for any machine, and short of exhausting this one.
const CONNECTIONS_MAX: u32 = 100_000;

/// The first thing that cannot be, with its remedy.
pub(super) fn check(scenario: &Scenario) -> Result<(), String> {
    if scenario.run.measure.0.is_zero() {
        return Err("[run] measure is zero: nothing would be measured".to_owned());
    }
    if scenario.run.rounds == 0 {
        return Err("[run] rounds is zero: nothing would be compared".to_owned());
    }
    if scenario.balancer.listeners.is_empty() || scenario.nodes.count == 0 {
        return Err("a balancer needs a listener, and [nodes] count a node".to_owned());
    }
    for listener in &scenario.balancer.listeners {
        // RFC 8422, section 5.1: in TLS 1.2 the groups that a client names are those of certificates too.
        if let Some(Termination {
            key: CertificateKey::EcdsaP256,
            version: OfferedVersion::Tls12,
        }) = listener.terminate
        {
            return Err(format!(
                "listener \"{}\": clients name X25519 alone, so in TLS 1.2 they take no key over P-256: write key = \"rsa-2048\"",
                listener.name
            ));
        }
        if listener.terminate.is_some() && listener.service != "tcp" {
            return Err(format!(
                "listener \"{}\" has `terminate`, so write service = \"tcp\": its nodes hear plain text",
                listener.name
            ));
        }
    }
    loads(scenario)?;
    figures(scenario)?;
    for event in &scenario.events {
        self::event(scenario, event)?;
    }
    Ok(())
}

fn event(scenario: &Scenario, event: &Event) -> Result<(), String> {
    let Event { to, command, .. } = event;
    if event.occurrences().last() >= Some(scenario.run.measure.0) {
        return Err(format!(
            "the event \"{command}\" comes after the end: let `at` and `every` times `times` be less than [run] measure"
        ));
    }
    if event.times == 0 || (event.times > 1 && event.every.0.is_zero()) {
        return Err(format!(
            "the event \"{command}\" happens {} times: say how often with `times`, and how far apart with `every`",
            event.times
        ));
    }
    let nodes = scenario.nodes.names();
    let known = match to.strip_prefix("of ") {
        Some(name) => scenario
            .partners
            .iter()
            .any(|partners| partners.name == name),
        None => to == "broken" || to == "balancer" || nodes.into_iter().any(|node| node == *to),
    };
    if !known {
        return Err(format!(
            "the event \"{command}\" happens to \"{to}\": a node's name, \"of PARTNERS\", \"broken\" or \"balancer\""
        ));
    }
    if to == "balancer" && command != "reload" {
        return Err(format!("a balancer can `reload`, not \"{command}\""));
    }
    Ok(())
}

fn loads(scenario: &Scenario) -> Result<(), String> {
    let mut names = HashSet::from([figure::BALANCER]);
    let mut any = false;
    for load in scenario.loads() {
        any = true;
        let name = load.name();
        if name.is_empty() || name.contains(['.', ' ']) {
            return Err(format!("\"{name}\" cannot name a load: no blanks, no dots"));
        }
        if !names.insert(name) {
            return Err(format!("two loads are called \"{name}\": rename one"));
        }
        let mut listeners = scenario.balancer.listeners.iter();
        let listener = load.listener();
        if !listener.is_empty() && !listeners.any(|known| known.name == listener) {
            return Err(format!(
                "load \"{name}\" goes to listener \"{listener}\", which [[balancer.listeners]] does not have"
            ));
        }
        tls(scenario, load).map_err(|message| format!("load \"{name}\": {message}"))?;
        sizes(load).map_err(|message| format!("load \"{name}\": {message}"))?;
    }
    if any {
        Ok(())
    } else {
        Err("there is no load, such as [[round-trips]]".to_owned())
    }
}

fn tls(scenario: &Scenario, load: Load<'_>) -> Result<(), String> {
    let ends = scenario
        .listener_of(load)
        .is_some_and(|listener| listener.terminate.is_some());
    let cannot = matches!(load, Load::Partners(_) | Load::Flood(_) | Load::UdpFlows(_));
    if ends && cannot {
        let able = "round-trips, bulk, connects, idle and users";
        return Err(format!(
            "its listener has `terminate`, and only {able} speak TLS to one"
        ));
    }
    let is_told = matches!(load, Load::Connects(it) if it.handshakes != Handshakes::default());
    if is_told && !ends {
        return Err("`handshakes` is for a listener with `terminate`".to_owned());
    }
    Ok(())
}

fn sizes(load: Load<'_>) -> Result<(), String> {
    let (count, rate, bytes) = match load {
        Load::RoundTrips(it) => (it.connections, it.rate, it.bytes),
        Load::Bulk(it) => (it.streams, None, 2),
        Load::Connects(it) => (it.at_once, it.rate, it.bytes),
        Load::Idle(it) => (it.sessions, None, 2),
        Load::Users(it) => (it.users, Some(it.sign_in_rate), it.message_bytes),
        Load::Partners(it) => (it.partners, None, 2),
        Load::Flood(it) => (it.held, Some(it.rate), 2),
        Load::UdpFlows(it) => (it.flows, Some(it.rate), it.bytes),
    };
    if !(1..=CONNECTIONS_MAX).contains(&count) {
        return Err(format!("{count} at once: from 1 to {CONNECTIONS_MAX}"));
    }
    if rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
        return Err("a rate is more than 0 and at most a million a second".to_owned());
    }
    if !(2..=16_000).contains(&bytes) {
        return Err(format!("messages of {bytes} bytes: from 2 to 16000"));
    }
    if let Load::Partners(it) = load
        && !(1..=4).contains(&it.connections)
    {
        return Err("a partner has one to four connections".to_owned());
    }
    Ok(())
}

/// Whoever can be measured.
fn balancers() -> impl Iterator<Item = &'static str> {
    let kinds = Kind::value_variants().iter().map(|kind| kind.name());
    kinds.chain([ELSEWHERE])
}

fn figures(scenario: &Scenario) -> Result<(), String> {
    let names: HashSet<_> = scenario
        .loads()
        .map(Load::name)
        .chain([figure::BALANCER])
        .collect();
    let expected = scenario.expectations.iter().map(|it| &it.figure);
    let ratios = scenario.ratios.iter().map(|it| &it.figure);
    for name in expected.chain(ratios) {
        let load = name.split_once('.').map(|(load, _)| load);
        if !load.is_some_and(|load| names.contains(load)) {
            return Err(format!(
                "\"{name}\" is not a figure: it begins with the name of a load or \"balancer\", and a dot"
            ));
        }
        if figure::find(name).is_none() {
            return Err(format!(
                "\"{name}\" is not a figure; `pinfold-loadtest scenarios --figures` lists them"
            ));
        }
    }
    let meant = scenario.expectations.iter().flat_map(|it| &it.only);
    let rivals = scenario.ratios.iter().flat_map(|it| &it.against);
    for name in meant.chain(rivals) {
        let names = || balancers().map(|known| known.to_owned());
        if !names().any(|known| known == *name) {
            return Err(format!(
                "\"{name}\" is not a balancer: one of {}",
                names().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    for expectation in &scenario.expectations {
        if expectation.at_most.is_none() && expectation.at_least.is_none() {
            return Err(format!(
                "nothing is expected of \"{}\": say `at_most` or `at_least`",
                expectation.figure
            ));
        }
    }
    Ok(())
}
