//! Whole handshakes of probes with nodes: noted and told.

use std::sync::Arc;

use super::Court;
use crate::governor::handshakes::Notice;
use crate::tls::Finding;

impl Court {
    /// A whole handshake with a node has ended so.
    pub(super) fn note_handshake(
        &mut self,
        index: usize,
        node: &Arc<str>,
        handshake: Result<(), Finding>,
    ) {
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let plan = &watched.plan;
        let Some(member) = plan.member(node) else {
            return;
        };
        let (pool, listener) = (&*plan.key.pool, plan.listeners.join(","));
        let address = member.endpoint.address;
        match self.handshakes.note(member.endpoint.number, handshake) {
            Some(Notice::Appears(finding)) => {
                let remedy = finding.remedy();
                tracing::warn!(%node, pool, listener, %address, %finding, remedy, "node-tls-fault");
            }
            Some(Notice::Ends) => {
                tracing::info!(%node, pool, listener, %address, "node-tls-fault-ended");
            }
            None => {}
        }
    }

    /// Forgets endpoints that are gone.
    pub(super) fn forget_handshakes(&mut self) {
        let watched = &self.watched;
        let members = || watched.iter().flat_map(|each| &each.plan.members);
        self.handshakes
            .keep(|number| members().any(|member| member.endpoint.number == number));
    }
}
