//! Whether this host is made for nodes that see the clients' own addresses: told while it is not, and once in the log.
//!
//! Workers find out about the host itself. Whether the nodes send their answers this way is seen by those that never
//! come: nothing is decided by it, because a client may ask what deserves no answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use crate::clock::Moment;
use crate::config::model::{Config, Listener, SourceAddress};
use crate::net::divert::BUFFER;
use crate::net::transparent::FIRST_INTERCEPTION_PORT;
use crate::pool::select::Standing;
use crate::relay::diversions::State;
use crate::snapshot::{Endpoint, Snapshot};
use crate::sys;

/// What stands in the way of all clients: a sentence for each version of IP with the listeners that it concerns.
pub(super) fn troubles(shared: &Shared) -> Vec<String> {
    let snapshot = shared.snapshot.load();
    let mut concerned: BTreeMap<bool, Vec<&str>> = BTreeMap::new();
    for listener in snapshot
        .listeners
        .iter()
        .filter(|each| each.is_transparent())
    {
        for bind in &listener.config.bind {
            let names = concerned.entry(bind.is_ipv6()).or_default();
            if names.last() != Some(&&*listener.state.name) {
                names.push(&listener.state.name);
            }
        }
    }
    let sentence = |(is_ipv6, names): (bool, Vec<&str>)| {
        let (state, workers) = shared.diversions.trouble(is_ipv6)?;
        let version = if is_ipv6 { "IPv6" } else { "IPv4" };
        Some(sentence(
            state,
            (workers, shared.diversions.workers()),
            version,
            &names.join(", "),
            &shared.source,
        ))
    };
    concerned.into_iter().filter_map(sentence).collect()
}

/// Says where the system gives the sockets by which workers speak to nodes in clients' names less room than they want.
pub(super) fn warn_of_buffers(config: &Config) {
    let is_transparent = |each: &Listener| each.source == SourceAddress::Transparent;
    let limits = sys::limits::socket_buffers_max();
    let is_little = limits.is_some_and(|(receive, send)| receive.min(send) < BUFFER);
    if is_little && config.listeners.iter().any(is_transparent) {
        tracing::warn!(
            wanted = BUFFER,
            ?limits,
            remedy = "sysctl -w net.core.rmem_max=4194304 net.core.wmem_max=4194304",
            "buffers-small: datagrams of transparent listeners are lost when a worker is busy for a moment"
        );
    }
}

/// Nodes that answer their probes, and of whose answers to clients nothing has ever come here, where nothing stands in
/// the way here, which is in `troubles`.
pub(super) fn strays(shared: &Shared, troubles: &[String]) -> Vec<String> {
    match troubles.is_empty() {
        true => astray(&shared.snapshot.load(), Moment::now()),
        false => Vec::new(),
    }
}

fn astray(snapshot: &Snapshot, now: Moment) -> Vec<String> {
    let mut sentences = Vec::new();
    let listeners = snapshot.listeners.iter();
    for listener in listeners.filter(|each| each.is_transparent() && each.config.service.is_udp()) {
        for seat in &listener.nodes {
            let endpoint = &seat.endpoint;
            let is_well = endpoint.standing() == Standing::Takes
                && listener.state.sessions_total() >= ASTRAY_FLOWS;
            if is_well && has_never_answered(endpoint, now) {
                let (node, name, address) =
                    (&endpoint.node, &listener.state.name, endpoint.address);
                sentences.push(format!(
                    "ANSWERS ASTRAY {node} answers its probes, and nothing that it answers to clients of {name} comes \
                     here. → make this machine the default gateway of {address}; a filter on {node} that does not \
                     know the clients' addresses looks the same"
                ));
            }
        }
    }
    sentences
}

/// Whether it was asked in vain for long, and has never been heard.
fn has_never_answered(endpoint: &Endpoint, now: Moment) -> bool {
    let (asked, heard) = endpoint.traffic();
    heard.is_none() && asked.is_some_and(|asked| now.since(asked) >= ASTRAY_AFTER)
}

/// Whoever asks an A/V Edge sends again after half a second, and gives up after some.
const ASTRAY_AFTER: Duration = Duration::from_secs(10);
/// One datagram of somebody who looks for open ports deserves no answer.
const ASTRAY_FLOWS: u64 = 3;

fn sentence(
    state: State,
    workers: (usize, usize),
    version: &str,
    listeners: &str,
    file: &str,
) -> String {
    let apply = || format!("pinfold check --host-rules {file} | sudo sh -e");
    let (what, remedy) = match state {
        State::NotAllowed => (
            "this process cannot send in the clients' names, and the log says why".to_owned(),
            "give it CAP_NET_RAW (AmbientCapabilities= of its unit; before Linux 5.17 CAP_NET_ADMIN as well, and \
             `sandbox` without \"capabilities\")"
                .to_owned(),
        ),
        State::PortTaken => (
            format!(
                "another process has a UDP port of the loopback addresses where nodes' answers come \
                 ({FIRST_INTERCEPTION_PORT} and the following, one for each worker)"
            ),
            "`ss -lunp` shows whose it is".to_owned(),
        ),
        State::NoSockets => (
            "the sockets that send in the clients' names cannot be opened, and the log says why"
                .to_owned(),
            "it is tried again every few seconds".to_owned(),
        ),
        State::NoRoute => (
            "the policy routing is missing that brings back what nodes answer".to_owned(),
            apply(),
        ),
        State::NoRules => (
            match workers {
                (some, all) if some < all => format!(
                    "the firewall's rules that bring back what nodes answer are not made for {some} of {all} workers"
                ),
                _ => "the firewall's rules are missing that bring back what nodes answer".to_owned(),
            },
            apply(),
        ),
        State::Unknown | State::Works => return String::new(),
    };
    format!("HOST RULES ({version}) for {listeners}: {what}. → {remedy}")
}

/// What has been said in the log.
#[derive(Debug, Default)]
pub(super) struct Teller {
    said: Vec<String>,
    /// At the last look.
    seen: Vec<String>,
}

impl Teller {
    /// Says what has changed, once it looks the same twice: workers find out one after another.
    pub(super) fn look(&mut self, shared: &Shared) {
        let mut troubles = troubles(shared);
        let strays = strays(shared, &troubles);
        troubles.extend(strays);
        if troubles != self.seen {
            self.seen = troubles;
            return;
        }
        if troubles == self.said {
            return;
        }
        for trouble in troubles
            .iter()
            .filter(|trouble| !self.said.contains(trouble))
        {
            tracing::error!("host-rules: {trouble}");
        }
        if troubles.is_empty() {
            tracing::info!("host-rules: what nodes answer to clients comes back here");
        }
        self.said = troubles;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::parse;
    use crate::snapshot::Registry;

    fn snapshot(source: &str) -> Snapshot {
        let text = format!(
            "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
             [[listener]]\nname = \"audio\"\nbind = \"203.0.113.10:3478\"\nservice = \"udp\"\npool = \"edge\"\n\
             source = \"{source}\"\n"
        );
        let config = parse("a", &text).unwrap().config;
        Registry::new(2).build(&Arc::new(config))
    }

    #[test]
    fn a_node_that_has_never_answered_anybody_for_long_is_told_of_while_it_is_well() {
        let at = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        let transparent = snapshot("transparent");
        let endpoint = &transparent.listeners[0].nodes[0].endpoint;
        endpoint.set_standing(Standing::Takes);
        assert_eq!(
            astray(&transparent, at(100)),
            [""; 0],
            "nobody has asked it"
        );
        endpoint.slot(1).ask(at(100));
        transparent.listeners[0].state.slot(0).active.add(2);
        assert_eq!(astray(&transparent, at(900)), [""; 0], "of two datagrams");
        transparent.listeners[0].state.slot(1).ended[0].add(1);
        assert_eq!(astray(&transparent, at(109)), [""; 0]);
        assert_eq!(astray(&transparent, at(110)).len(), 1);
        endpoint.set_standing(Standing::Down);
        assert_eq!(astray(&transparent, at(110)), [""; 0], "that is why");
        endpoint.set_standing(Standing::Takes);
        endpoint.slot(0).hear(at(111));
        assert_eq!(astray(&transparent, at(120)), [""; 0]);

        let translated = snapshot("snat");
        let endpoint = &translated.listeners[0].nodes[0].endpoint;
        translated.listeners[0].state.slot(0).active.add(9);
        endpoint.set_standing(Standing::Takes);
        endpoint.slot(1).ask(at(100));
        assert_eq!(
            astray(&translated, at(110)),
            [""; 0],
            "it answers this machine"
        );
    }

    #[test]
    fn each_state_of_the_host_has_its_sentence_and_its_remedy() {
        let say = |state| sentence(state, (2, 3), "IPv4", "audio", "pinfold.toml");
        assert!(say(State::NotAllowed).contains("CAP_NET_RAW"));
        let taken = say(State::PortTaken);
        assert!(taken.contains("20550") && !taken.contains("CAP_NET_RAW"));
        assert!(say(State::NoSockets).contains("the log says why"));
        for state in [State::NoRoute, State::NoRules] {
            assert!(say(state).contains("pinfold check --host-rules pinfold.toml"));
        }
        let of_some = say(State::NoRules);
        assert!(of_some.contains("not made for 2 of 3 workers"), "{of_some}");
        let of_all = sentence(State::NoRules, (3, 3), "IPv4", "audio", "pinfold.toml");
        assert!(of_all.contains("rules are missing"), "{of_all}");
    }
}
