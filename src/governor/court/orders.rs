//! What control orders: another snapshot, another state of a node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Court;
use super::watched::Watched;
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::governor::Command;
use crate::pool::group::Member;
use crate::relay::session::Interrupt;
use crate::snapshot::{GroupKey, GroupPlan, MemberPlan, Snapshot};

impl Court {
    pub(in crate::governor) fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(snapshot) => self.watch(&snapshot),
            Command::Administer {
                pool,
                node,
                state,
                deadline,
            } => {
                self.administer(&pool, &node, state, deadline);
            }
            Command::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.view());
            }
        }
    }

    /// Takes up a snapshot. Groups and members that stay keep what is known of them.
    pub(super) fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        let now = Moment::now();
        self.revision = snapshot.revision;
        self.snapshot = Arc::clone(snapshot);
        let mut before: HashMap<GroupKey, Watched> = std::mem::take(&mut self.watched)
            .into_iter()
            .map(|watched| (watched.plan.key.clone(), watched))
            .collect();
        let mut disabled = Vec::new();
        for plan in &snapshot.groups {
            let mut watched = before
                .remove(&plan.key)
                .unwrap_or_else(|| Watched::new(plan));
            watched.plan = plan.clone();
            watched.has_needed |= !plan.needs.is_empty();
            let mut effects = Vec::new();
            watched
                .group
                .set_timing(plan.timing.clone(), now, &mut effects);
            let members: Vec<_> = plan
                .members
                .iter()
                .map(|member| self.member(plan, member))
                .collect();
            watched.group.set_members(&members, now, &mut effects);
            let off = members
                .iter()
                .filter(|member| member.admin == NodeState::Disabled && !member.is_removed)
                .map(|member| (Arc::clone(&plan.key.pool), Arc::clone(&member.node)));
            disabled.extend(off);
            watched.forget_the_gone();
            self.watched.push(watched);
            self.carry_out(self.watched.len() - 1, effects, now);
        }
        self.forget_certificates();
        self.forget_answers();
        self.forget_handshakes();
        let pools: HashSet<_> = self
            .watched
            .iter()
            .map(|each| &each.plan.key.pool)
            .collect();
        self.recovering.keep(|pool| pools.contains(pool));
        // Only now, when every standing says so: nobody is placed there after being ended.
        for (pool, node) in disabled {
            self.interrupt_node(&pool, &node, Interrupt::Disabled);
        }
    }

    fn member(&self, plan: &GroupPlan, member: &MemberPlan) -> Member {
        let name = (Arc::clone(&plan.key.pool), Arc::clone(&member.name));
        let wanted = self.administered.get(&name).copied();
        let wanted = wanted.filter(|_| !member.is_removed);
        Member {
            node: name.1,
            address: member.probed.socket(),
            admin: wanted.unwrap_or(member.configured),
            is_removed: member.is_removed,
        }
    }

    fn administer(
        &mut self,
        pool: &Arc<str>,
        node: &Arc<str>,
        wanted: Option<NodeState>,
        deadline: Option<Duration>,
    ) {
        let now = Moment::now();
        let name = (Arc::clone(pool), Arc::clone(node));
        match wanted {
            Some(state) => self.administered.insert(name, state),
            None => self.administered.remove(&name),
        };
        self.drains
            .retain(|(_, of_pool, of_node)| (of_pool, of_node) != (pool, node));
        if let (Some(NodeState::Draining), Some(deadline)) = (wanted, deadline) {
            self.drains
                .push((now + deadline, Arc::clone(pool), Arc::clone(node)));
        }
        for index in 0..self.watched.len() {
            let Some(watched) = self.watched.get_mut(index) else {
                break;
            };
            if watched.plan.key.pool != *pool {
                continue;
            }
            let Some(member) = watched.plan.member(node) else {
                continue;
            };
            let state = wanted.unwrap_or(member.configured);
            let mut effects = Vec::new();
            match state {
                NodeState::Active => watched.group.resume(node, now, &mut effects),
                NodeState::Draining | NodeState::Disabled => {
                    watched.group.set_admin(node, state, now, &mut effects);
                }
            }
            self.carry_out(index, effects, now);
        }
        if wanted == Some(NodeState::Disabled) {
            self.interrupt_node(pool, node, Interrupt::Disabled);
        }
    }
}
