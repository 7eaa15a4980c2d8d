//! What others are told: verdicts to control, the view to whoever asks.

use std::sync::Arc;

use tokio::sync::watch;

use super::Court;
use crate::config::model::NodeState;
use crate::governor::{EndpointView, GroupView, Verdicts, View};
use crate::pool::health::State;

impl Court {
    pub(in crate::governor) fn publish(&self, verdicts: &watch::Sender<Verdicts>) {
        let current = self.verdicts();
        verdicts.send_if_modified(|known| {
            let is_changed = *known != current;
            if is_changed {
                *known = current;
            }
            is_changed
        });
    }

    fn verdicts(&self) -> Verdicts {
        let mut verdicts = Verdicts {
            revision: self.revision,
            are_first_in: true,
            without_node: Vec::new(),
            closed: Vec::new(),
        };
        for watched in &self.watched {
            if watched.plan.listeners.is_empty() {
                continue;
            }
            let members = watched.group.view();
            let is_up = members.iter().any(|member| {
                member.admin != NodeState::Disabled
                    && matches!(member.state, State::Up | State::Suspect)
                    && !member.is_on_trial
            });
            let is_settled = members.iter().all(|member| member.state != State::Unproven);
            verdicts.are_first_in &= is_up || is_settled;
            let listeners = || watched.plan.listeners.iter().map(Arc::clone);
            if !is_up {
                verdicts.without_node.extend(listeners());
            }
            if !is_up && is_settled {
                verdicts.closed.extend(listeners());
            }
        }
        verdicts
    }

    pub(super) fn view(&self) -> View {
        let groups = self.watched.iter().map(|watched| GroupView {
            pool: Arc::clone(&watched.plan.key.pool),
            listeners: watched.plan.listeners.clone(),
            certificates_differ: self.certificates.differ(&watched.plan.key),
            endpoints: watched
                .group
                .view()
                .into_iter()
                .filter_map(|health| {
                    let member = watched.plan.member(&health.node)?;
                    Some(EndpointView {
                        endpoint: Arc::clone(&member.endpoint),
                        health,
                        certificate: self.certificates.of(member.endpoint.number).map(Arc::clone),
                        turn: self.addressing.of(member.endpoint.number),
                        tls_fault: self.handshakes.of(member.endpoint.number).map(Arc::clone),
                    })
                })
                .collect(),
        });
        View {
            groups: groups.collect(),
            failovers: self.ledger.failovers(),
            totals: self.ledger.totals().clone(),
            probes: self.probes,
            not_back: self.ledger.alarmed(),
            broken: self.invariants.broken,
        }
    }
}
