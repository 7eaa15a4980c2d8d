//! What administrators want of nodes: kept, obeyed, and shown with who and why.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Control, NodeChanged, NodeRefused};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::governor::Command;
use crate::store::{Administered, Maintenance, Wanted};

/// One order of an administrator.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) node: String,
    pub(super) pool: Option<String>,
    pub(super) wanted: Wanted,
    pub(super) deadline: Option<Duration>,
    pub(super) by: String,
    pub(super) reason: Option<String>,
}

impl From<Wanted> for NodeState {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Active => Self::Active,
            Wanted::Draining => Self::Draining,
            Wanted::Disabled => Self::Disabled,
        }
    }
}

/// What the governor starts with.
pub(super) fn wanted(states: &[Administered]) -> HashMap<(Arc<str>, Arc<str>), NodeState> {
    let name = |state: &Administered| (Arc::from(&*state.pool), Arc::from(&*state.node));
    states
        .iter()
        .map(|state| (name(state), state.state.into()))
        .collect()
}

/// When drains that were given a deadline cut what is left. One that has passed meanwhile cuts at once.
pub(super) fn drains(states: &[Administered]) -> Vec<(Moment, Arc<str>, Arc<str>)> {
    let now = Moment::now();
    let drains = states.iter().filter_map(|state| {
        let left = left_until(state.deadline?);
        Some((now + left, Arc::from(&*state.pool), Arc::from(&*state.node)))
    });
    drains.collect()
}

fn left_until(deadline: Timestamp) -> Duration {
    let left = deadline.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default()
}

impl Control {
    /// Gives a node another state in every pool that uses the name; durable on return.
    pub(super) async fn administer(&self, order: Order) -> Result<Vec<NodeChanged>, NodeRefused> {
        let pools = self.pools_of(&order.node, order.pool.as_deref())?;
        let change = |pool: &str, word: Option<Administered>| {
            // What the file says already needs no word of an administrator.
            let is_needed =
                order.wanted != Wanted::Active || !self.is_active_in_file(pool, &order.node);
            let maintenance = word.and_then(|word| word.maintenance);
            is_needed.then(|| order.record(pool, maintenance))
        };
        let changed = self.change_words(&order.node, pools, change).await?;
        for done in &changed {
            let (pool, reason) = (&done.pool, order.reason.as_deref().unwrap_or("-"));
            tracing::warn!(
                node = order.node, pool, state = ?order.wanted, by = order.by, reason,
                "node-administered"
            );
        }
        Ok(changed)
    }

    /// Has administrators want something else of a node in `pools`: kept, and then obeyed. `change` makes the
    /// new word on the node in a pool from the one that there is.
    pub(super) async fn change_words(
        &self,
        node: &str,
        pools: Vec<String>,
        change: impl Fn(&str, Option<Administered>) -> Option<Administered>,
    ) -> Result<Vec<NodeChanged>, NodeRefused> {
        let mut states = self.shared.administered.load().as_ref().clone();
        let mut commands = Vec::new();
        for pool in &pools {
            let mut words = states.iter();
            let place = words.position(|word| word.node == node && word.pool == *pool);
            let word = change(pool, place.map(|place| states.remove(place)));
            let deadline = word.as_ref().and_then(|word| word.deadline);
            commands.push(Command::Administer {
                pool: pool.as_str().into(),
                node: node.into(),
                state: word.as_ref().map(|word| word.state.into()),
                deadline: deadline.map(left_until),
            });
            states.extend(word);
        }
        if let Some(directory) = &self.state_dir {
            let saved = directory.save_administered(&states);
            saved.map_err(|error| NodeRefused::Store(super::error::chain(&error)))?;
        }
        self.shared.administered.store(states.into());
        let mut changed = Vec::new();
        for (pool, command) in pools.into_iter().zip(commands) {
            let (sessions, sip) = self.sessions_of(&pool, node);
            changed.push(NodeChanged {
                sessions,
                sip,
                pool,
                node: node.into(),
            });
            let _ = self.shared.governor.send(command).await;
        }
        Ok(changed)
    }

    /// The pools that use the name of a node, or the one that is meant.
    pub(super) fn pools_of(
        &self,
        node: &str,
        pool: Option<&str>,
    ) -> Result<Vec<String>, NodeRefused> {
        let wanted = |known: &&crate::config::model::Pool| {
            pool.is_none_or(|name| *name == known.name)
                && known.nodes.iter().any(|known| known.name == node)
        };
        let pools: Vec<_> = self
            .config
            .pools
            .iter()
            .filter(wanted)
            .map(|pool| pool.name.clone())
            .collect();
        if pools.is_empty() {
            let place = match pool {
                Some(pool) => format!("pool \"{pool}\""),
                None => "any pool".into(),
            };
            return Err(NodeRefused::Unknown(node.into(), place));
        }
        Ok(pools)
    }

    fn is_active_in_file(&self, pool: &str, node: &str) -> bool {
        let mut pools = self.config.pools.iter().filter(|known| known.name == pool);
        pools.any(|pool| {
            pool.nodes
                .iter()
                .any(|known| known.name == node && known.state == NodeState::Active)
        })
    }

    /// All sessions of a node, and those of its ports where a listener speaks SIP.
    fn sessions_of(&self, pool: &str, node: &str) -> (u64, u64) {
        let snapshot = self.shared.snapshot.load();
        let speakers = snapshot
            .listeners
            .iter()
            .filter(|listener| listener.sip().is_some());
        let ports: HashSet<_> = speakers
            .flat_map(|listener| &listener.nodes)
            .map(|seat| seat.endpoint.number)
            .collect();
        let members = snapshot.groups.iter().flat_map(|group| &group.members);
        let of_node = members
            .filter(|member| *member.endpoint.pool == *pool && *member.endpoint.node == *node);
        of_node.fold((0, 0), |(all, sip), member| {
            let sessions = u64::from(member.endpoint.sessions());
            let is_sip = ports.contains(&member.endpoint.number);
            (all + sessions, sip + sessions * u64::from(is_sip))
        })
    }
}

impl Order {
    /// Its word on the node; an order meanwhile does not end a maintenance, save that to take sessions.
    fn record(&self, pool: &str, maintenance: Option<Maintenance>) -> Administered {
        let since = Timestamp::now();
        let deadline = self.deadline.and_then(|limit| {
            since
                .checked_add(SignedDuration::try_from(limit).ok()?)
                .ok()
        });
        Administered {
            pool: pool.into(),
            node: self.node.clone(),
            state: self.wanted,
            since,
            by: self.by.clone(),
            reason: self.reason.clone(),
            deadline: deadline.filter(|_| self.wanted == Wanted::Draining),
            maintenance: maintenance.filter(|_| self.wanted != Wanted::Active),
        }
    }
}
