//! What A/V Edges have said to probes: noted and told.

use std::sync::Arc;

use super::Court;
use crate::governor::addressing::{Fault, Notice};
use crate::probe::TurnAnswer;
use crate::snapshot::{GroupPlan, MemberPlan};

impl Court {
    /// A node has answered an Allocate.
    pub(super) fn note_answer(&mut self, index: usize, node: &Arc<str>, answer: TurnAnswer) {
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let plan = &watched.plan;
        let Some(member) = plan.member(node) else {
            return;
        };
        let (number, own) = (member.endpoint.number, member.endpoint.address);
        if let Some(notice) = self.addressing.note(number, answer, own) {
            tell(plan, member, notice);
        }
    }

    /// Forgets endpoints that are gone.
    pub(super) fn forget_answers(&mut self) {
        let watched = &self.watched;
        let members = || watched.iter().flat_map(|each| &each.plan.members);
        self.addressing
            .keep(|number| members().any(|member| member.endpoint.number == number));
    }
}

fn tell(plan: &GroupPlan, member: &MemberPlan, notice: Notice) {
    let (node, pool, listener) = (&*member.name, &*plan.key.pool, plan.listeners.join(","));
    let address = member.endpoint.address;
    match notice {
        Notice::Appears(Fault::Elsewhere(says)) => {
            tracing::warn!(node, pool, listener, %address, %says, "addressing-fault");
        }
        Notice::Ends(Fault::Elsewhere(said)) => {
            tracing::info!(node, pool, listener, %address, %said, "addressing-fault-ended");
        }
        Notice::Appears(Fault::Code(code)) => {
            tracing::warn!(node, pool, listener, %address, code, "allocate-refused-otherwise");
        }
        Notice::Appears(Fault::Open) => {
            tracing::warn!(node, pool, listener, %address, "allocate-not-refused");
        }
        Notice::Ends(Fault::Code(_) | Fault::Open) => {
            tracing::info!(node, pool, listener, %address, "allocate-refused-as-expected");
        }
    }
}
