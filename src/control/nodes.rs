//! What administrators want of nodes: kept, obeyed, and shown with who and why.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Control, NodeChanged, NodeRefused};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::governor::Command;
use crate::store::{Administered, Wanted};

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
    let (now, wall) = (Moment::now(), Timestamp::now());
    let drains = states.iter().filter_map(|state| {
        let deadline = state.deadline?;
        let left = Duration::try_from(deadline.duration_since(wall)).unwrap_or_default();
        Some((now + left, Arc::from(&*state.pool), Arc::from(&*state.node)))
    });
    drains.collect()
}

impl Control {
    /// Gives a node another state in every pool that uses the name; durable on return.
    pub(super) async fn administer(&self, order: Order) -> Result<Vec<NodeChanged>, NodeRefused> {
        let pools = self.pools_of(&order)?;
        let mut states = self.shared.administered.load().as_ref().clone();
        states.retain(|state| state.node != order.node || !pools.contains(&state.pool));
        for pool in &pools {
            // What the file says already needs no word of an administrator.
            if order.wanted != Wanted::Active || !self.is_active_in_file(pool, &order.node) {
                states.push(order.record(pool));
            }
        }
        if let Some(directory) = &self.state_dir {
            let saved = directory.save_administered(&states);
            saved.map_err(|error| NodeRefused::Store(super::error::chain(&error)))?;
        }
        self.shared.administered.store(states.into());
        let mut changed = Vec::new();
        for pool in pools {
            changed.push(NodeChanged {
                sessions: self.sessions_of(&pool, &order.node),
                pool: pool.clone(),
                node: order.node.clone(),
            });
            let command = Command::Administer {
                pool: pool.as_str().into(),
                node: order.node.as_str().into(),
                state: Some(order.wanted.into()),
                deadline: order.deadline,
            };
            let _ = self.shared.governor.send(command).await;
            let reason = order.reason.as_deref().unwrap_or("-");
            tracing::warn!(
                node = order.node, pool, state = ?order.wanted, by = order.by, reason,
                "node-administered"
            );
        }
        Ok(changed)
    }

    fn pools_of(&self, order: &Order) -> Result<Vec<String>, NodeRefused> {
        let wanted = |pool: &&crate::config::model::Pool| {
            order.pool.as_ref().is_none_or(|name| *name == pool.name)
                && pool.nodes.iter().any(|node| node.name == order.node)
        };
        let pools: Vec<_> = self
            .config
            .pools
            .iter()
            .filter(wanted)
            .map(|pool| pool.name.clone())
            .collect();
        if pools.is_empty() {
            let place = match &order.pool {
                Some(pool) => format!("pool \"{pool}\""),
                None => "any pool".into(),
            };
            return Err(NodeRefused::Unknown(order.node.clone(), place));
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

    fn sessions_of(&self, pool: &str, node: &str) -> u64 {
        let snapshot = self.shared.snapshot.load();
        let members = snapshot.groups.iter().flat_map(|group| &group.members);
        let of_node = members
            .filter(|member| *member.endpoint.pool == *pool && *member.endpoint.node == *node);
        of_node
            .map(|member| u64::from(member.endpoint.sessions()))
            .sum()
    }
}

impl Order {
    fn record(&self, pool: &str) -> Administered {
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
        }
    }
}
