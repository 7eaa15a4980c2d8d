//! The state of a node under maintenance, and the one that it had before.
//!
//! Stands in the administrator's word on the node, so it is as durable: `resume` ends it, `drain` and `disable`
//! change what is wanted meanwhile, undoing gives back what was.
//!
//! Invariant: of one pool no more than one node is under maintenance. The conductor takes whatever goes wrong in
//! the pool for its own doing, and two would undo each other.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Done, Task, TaskRefused};
use crate::config::model::NodeState;
use crate::control::{Control, NodeChanged, NodeRefused};
use crate::store::{Administered, Maintenance, Wanted};

impl Control {
    /// Begins the maintenance of a node, or goes on with it: it drains from now on, if it took sessions. Durable
    /// on return.
    pub(in crate::control) async fn begin_maintenance(
        &self,
        task: &Task,
    ) -> Done<Vec<NodeChanged>> {
        let pools = self.pools_of(&task.node, task.pool.as_deref())?;
        let states = self.shared.administered.load();
        let other = states.iter().find(|word| {
            let is_there = pools.contains(&word.pool) && self.is_configured(word);
            is_there && word.node != task.node && word.maintenance.is_some()
        });
        if let Some(other) = other {
            return Err(TaskRefused::busy(other));
        }
        let change = |pool: &str, word: Option<Administered>| {
            let state = self.state_of(pool, &task.node);
            Some(task.begun(pool, word, state.unwrap_or(NodeState::Active)))
        };
        Ok(self.change_words(&task.node, pools, change).await?)
    }

    /// Gives the node back the state that it had before its maintenance. Durable on return.
    pub(super) async fn end_maintenance(&mut self, task: &Task) -> Result<(), NodeRefused> {
        let pools = self.pools_of(&task.node, task.pool.as_deref())?;
        let change = |_: &str, word: Option<Administered>| match word {
            Some(Administered {
                maintenance: Some(maintenance),
                ..
            }) => maintenance.before.map(|before| *before),
            other => other,
        };
        let changed = self.change_words(&task.node, pools, change).await?;
        for done in changed {
            self.moves.forget(&task.node, |pool| pool == done.pool);
            let (node, pool) = (&task.node, &done.pool);
            let state = self.state_of(pool, node).map(NodeState::name);
            let reason = task.reason.as_deref().unwrap_or("-");
            tracing::warn!(node, pool, state, by = task.by, reason, "maintenance-ended");
        }
        Ok(())
    }

    /// The maintenance of the node that an instance before this one began: by pool, when, in seconds since 1970.
    /// Of what this one moved since then it knows by itself, and what was moved earlier belongs to one that is
    /// over.
    pub(super) fn begun_before_this_instance(&self, node: &str) -> HashMap<String, i64> {
        let words = self.shared.administered.load();
        let its = words.iter().filter(|word| *word.node == *node);
        its.filter_map(|word| Some((word.pool.clone(), word.maintenance.as_ref()?.since)))
            .filter(|(_, since)| *since < self.shared.started)
            .map(|(pool, since)| (pool, since.as_second()))
            .collect()
    }

    fn is_configured(&self, word: &Administered) -> bool {
        let pools = self.pools_of(&word.node, Some(&word.pool));
        pools.is_ok()
    }
}

impl Task {
    /// What is wanted of the node from now on; it was `state` so far, by `word` or by the file.
    fn begun(&self, pool: &str, word: Option<Administered>, state: NodeState) -> Administered {
        let since = Timestamp::now();
        let maintenance = |before: Option<&Administered>| {
            Some(Maintenance {
                since,
                by: self.by.clone(),
                reason: self.reason.clone(),
                before: before.cloned().map(Box::new),
            })
        };
        match word {
            Some(word) if word.maintenance.is_some() => word,
            Some(word) if word.state != Wanted::Active => Administered {
                maintenance: maintenance(Some(&word)),
                ..word
            },
            word => Administered {
                pool: pool.into(),
                node: self.node.clone(),
                state: match state {
                    NodeState::Active | NodeState::Draining => Wanted::Draining,
                    NodeState::Disabled => Wanted::Disabled,
                },
                since,
                by: self.by.clone(),
                reason: self.reason.clone(),
                deadline: None,
                maintenance: maintenance(word.as_ref()),
            },
        }
    }
}

impl TaskRefused {
    fn busy(other: &Administered) -> Self {
        let begun = other.maintenance.as_ref();
        let by = begun.map_or(&other.by, |begun| &begun.by);
        let since = begun.map_or(other.since, |begun| begun.since);
        let reason = begun.and_then(|begun| begun.reason.as_ref());
        Self::Busy {
            node: other.node.clone(),
            pool: other.pool.clone(),
            by: by.clone(),
            since: since.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            reason: reason.map_or_else(String::new, |reason| format!(" (\"{reason}\")")),
        }
    }
}
