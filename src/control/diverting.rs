//! Whether this host is made for nodes that see the clients' own addresses: told while it is not, and once in the log.

use std::collections::BTreeMap;

use super::Shared;
use crate::relay::diversions::State;

/// What stands in the way, a sentence for each version of IP with the listeners that it concerns.
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
            workers,
            version,
            &names.join(", "),
            &shared.source,
        ))
    };
    concerned.into_iter().filter_map(sentence).collect()
}

fn sentence(state: State, workers: usize, version: &str, listeners: &str, file: &str) -> String {
    let (what, remedy) = match state {
        State::NotAllowed => (
            "this process may not send in the clients' names: CAP_NET_ADMIN or CAP_NET_RAW is missing, or another \
             process has its ports (20550 and following)"
                .to_owned(),
            "grant both, as the shipped unit does".to_owned(),
        ),
        State::NoRoute => (
            "the policy routing is missing that brings back what nodes answer".to_owned(),
            format!("pinfold check --host-rules {file} | sudo sh -e"),
        ),
        State::NoRules => (
            format!(
                "the firewall's rules are missing that bring back what nodes answer, or they are not made for {workers} \
                 of the workers"
            ),
            format!("pinfold check --host-rules {file} | sudo sh -e"),
        ),
        State::Unknown | State::Works => return String::new(),
    };
    format!("HOST RULES ({version}) for {listeners}: {what}. → {remedy}")
}

/// What has been said in the log.
#[derive(Debug, Default)]
pub(super) struct Teller {
    said: Vec<String>,
}

impl Teller {
    /// Says what has changed since it looked last.
    pub(super) fn look(&mut self, shared: &Shared) {
        let troubles = troubles(shared);
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
