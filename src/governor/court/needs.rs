//! Nodes that are down on listeners which others need.

use std::sync::Arc;

use super::Court;
use super::watched::Watched;
use crate::clock::Moment;

impl Court {
    /// Tells each group which of its nodes are down on listeners that it needs. A chain of needs is
    /// followed a link at a time, the next one at the next look.
    pub(super) fn look_at_needs(&mut self, now: Moment) {
        for index in 0..self.watched.len() {
            let lacking = self.lacking(index);
            let Some(watched) = self.watched.get_mut(index) else {
                return;
            };
            let mut effects = Vec::new();
            for (node, is_lacking) in lacking {
                watched
                    .group
                    .set_lacking(&node, is_lacking, now, &mut effects);
            }
            self.carry_out(index, effects, now);
        }
    }

    /// Each node of a group that needs others, and whether it is down on one of them.
    fn lacking(&self, index: usize) -> Vec<(Arc<str>, bool)> {
        let Some(watched) = self.watched.get(index) else {
            return Vec::new();
        };
        let plan = &watched.plan;
        if plan.needs.is_empty() && !watched.has_needed {
            return Vec::new();
        }
        let needed = |other: &&Watched| {
            let listeners = &other.plan.listeners;
            listeners.iter().any(|name| plan.needs.contains(name))
        };
        let is_down = |node: &str| {
            let mut others = self.watched.iter().filter(needed);
            others.any(|other| other.group.is_down(node) == Some(true))
        };
        let members = plan.members.iter().filter(|member| !member.is_removed);
        members
            .map(|member| (Arc::clone(&member.name), is_down(&member.endpoint.node)))
            .collect()
    }
}
