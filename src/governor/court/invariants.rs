//! The invariants, watched once a second in the live process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Court, Watched};
use crate::clock::Moment;
use crate::pool::invariant::{self, Admitted, NodeNow, Pinned, Rule, Violations, Watch};
use crate::pool::pins::Pin;
use crate::pool::select::Standing;

/// What breaks an invariant, and what was last said about it.
#[derive(Debug)]
pub(super) struct Invariants {
    watch: Watch,
    pub(super) broken: Violations,
}

impl Default for Invariants {
    fn default() -> Self {
        Self {
            watch: Watch::new(PATIENCE),
            broken: Violations::default(),
        }
    }
}

impl Court {
    /// Looks at every invariant, and tells of one that breaks or holds again.
    pub(super) fn look_at_invariants(&mut self, now: Moment) {
        let pinned = self.pinned(now);
        let admitted = self.admitted();
        let broken = self.invariants.watch.look(&pinned, admitted, now);
        for (rule, (before, after)) in Rule::ALL
            .iter()
            .zip(self.invariants.broken.iter().zip(&broken))
        {
            if before != after {
                let (rule, count) = (rule.label(), after);
                tracing::error!(
                    rule,
                    count,
                    "invariant-broken: a defect of pinfold; please report it"
                );
            }
        }
        self.invariants.broken = broken;
    }

    /// The pins of configured partners, each once.
    fn pinned(&self, now: Moment) -> Vec<Pinned> {
        let served = self.ledger.last_served();
        let mut pinned = Vec::new();
        for scope in self.snapshot.scopes() {
            let serves = |group: &&Watched| {
                let mut listeners = scope.listeners.iter();
                listeners.any(|each| group.plan.listeners.contains(&each.state.name))
            };
            let groups: Vec<_> = self.watched.iter().filter(serves).collect();
            let nodes = nodes_now(&groups);
            for partner in self.snapshot.partners.iter() {
                let key = scope.key(&partner.name);
                if let Some(pin) = self.pins.inspect(&key, now) {
                    pinned.push(Pinned {
                        node: match nodes.get(&pin.node) {
                            None => NodeNow::Unknown,
                            Some(None) => NodeNow::Serves,
                            Some(Some(since)) => invariant::dead_beside_others(&pin, *since),
                        },
                        is_served_elsewhere: is_served_elsewhere(
                            &served,
                            &partner.name,
                            &groups,
                            &pin,
                        ),
                        key,
                    });
                }
            }
        }
        pinned
    }

    fn admitted(&self) -> Vec<Admitted> {
        let mut admitted: Vec<Admitted> = Vec::new();
        for listener in &self.snapshot.listeners {
            let Some(rate) = listener.max_new_per_node else {
                continue;
            };
            for seat in &listener.nodes {
                let endpoint = &seat.endpoint;
                let node = (Arc::clone(&endpoint.pool), Arc::clone(&endpoint.node));
                if admitted.iter().all(|known| known.node != node) {
                    let count = endpoint.pace.admitted();
                    admitted.push(Admitted { node, count, rate });
                }
            }
        }
        admitted
    }
}

/// Whether the ledger has it that a failover brought the partner to another node after its pin was made.
fn is_served_elsewhere(
    served: &HashMap<(&str, &str), (&Arc<str>, Moment)>,
    partner: &str,
    groups: &[&Watched],
    pin: &Pin,
) -> bool {
    let listeners = groups.iter().flat_map(|group| &group.plan.listeners);
    let served = listeners.filter_map(|listener| served.get(&(partner, &**listener)));
    let last = served.max_by_key(|(_, at)| *at);
    invariant::is_served_elsewhere(last.map(|(node, at)| (Arc::clone(node), *at)), pin)
}

/// The nodes of the listeners of a scope, and since when each is dead, if it is while another takes sessions.
fn nodes_now(groups: &[&Watched]) -> HashMap<Arc<str>, Option<Moment>> {
    let members: Vec<_> = groups.iter().flat_map(|group| group.group.view()).collect();
    let others_take = members
        .iter()
        .any(|member| member.standing == Standing::Takes);
    let mut nodes = HashMap::new();
    for member in members {
        let is_dead = member.standing == Standing::Down && member.is_silent && others_take;
        let since = is_dead.then_some(member.since);
        // Dead only where every listener of the scope has it so: what serves anybody is no lie.
        let known = nodes.entry(member.node).or_insert(since);
        *known = known.zip(since).map(|(one, other)| one.max(other));
    }
    nodes
}

/// Calm probes take two seconds to prove that somebody has outlived a node; and a look comes once a second.
const PATIENCE: Duration = Duration::from_secs(10);
