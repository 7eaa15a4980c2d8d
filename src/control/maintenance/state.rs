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
use crate::store::{Administered, Maintenance};

impl Control {
    /// Begins the maintenance of a node, or goes on with it: it drains from now on, if it took sessions. Durable
    /// on return.
    pub(in crate::control) async fn begin_maintenance(
        &self,
        task: &Task,
    ) -> Done<Vec<NodeChanged>> {
        self.wait_for_others(task)?;
        let pools = self.pools_of(&task.node, task.pool.as_deref())?;
        let change = |pool: &str, word: Option<Administered>| {
            let state = self.state_of(pool, &task.node);
            let (place, state) = ((pool, &*task.node), state.unwrap_or(NodeState::Active));
            Some(Administered::maintained(place, word, state, &task.begun()))
        };
        Ok(self.change_words(&task.node, pools, change).await?)
    }

    /// Refuses while another node of the pool is under maintenance: also a single step would be taken for that
    /// one's doing.
    pub(super) fn wait_for_others(&self, task: &Task) -> Done<()> {
        let pools = self.pools_of(&task.node, task.pool.as_deref())?;
        let states = self.shared.administered.load();
        let is_there = |word: &Administered| pools.contains(&word.pool) && self.is_configured(word);
        match Administered::in_the_way(&states, &task.node, is_there) {
            Some(other) => Err(TaskRefused::busy(other)),
            None => Ok(()),
        }
    }

    /// Gives the node back the state that it had before its maintenance. Durable on return.
    pub(super) async fn end_maintenance(&mut self, task: &Task) -> Result<(), NodeRefused> {
        let pools = self.pools_of(&task.node, task.pool.as_deref())?;
        let change = |_: &str, word: Option<Administered>| Administered::as_before(word);
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
    /// A maintenance that begins now.
    fn begun(&self) -> Maintenance {
        Maintenance {
            since: Timestamp::now(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            before: None,
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
