//! Carrying out what the groups ask for: standings, cuts, orders.

use std::sync::Arc;

use super::watched::Watched;
use super::{Court, announce};
use crate::clock::Moment;
use crate::governor::ledger::Cut;
use crate::pool::group::Effect;
use crate::pool::health::{Evidence, State};
use crate::pool::pins::Moved;
use crate::relay::session::{EndpointNumber, Interrupt};
use crate::snapshot::{Endpoint, Whereabouts};
use crate::worker::{Order, Whose};

impl Court {
    pub(super) fn carry_out(&mut self, index: usize, effects: Vec<Effect>, now: Moment) {
        for effect in effects {
            let Some(watched) = self.watched.get_mut(index) else {
                return;
            };
            match effect {
                Effect::Probe { node } => {
                    self.probes += 1;
                    watched.probe(&node, now, &self.told);
                }
                Effect::Standing { node, standing } => {
                    if let Some(member) = watched.plan.member(&node) {
                        member.endpoint.set_standing(standing);
                    }
                }
                Effect::Changed {
                    node,
                    from,
                    to,
                    evidence,
                } => {
                    let states = (from, to);
                    announce::changed(&watched.plan, &node, states, evidence, &watched.doubts);
                    // Whoever is only tried again may be as dead as before.
                    if to == State::Up && evidence != Some(Evidence::Retried) {
                        watched.was_up.insert(node);
                    }
                }
                Effect::Cut {
                    node,
                    first_evidence,
                } => self.cut(index, &node, first_evidence, now),
                Effect::FailStatic { node } => announce::fail_static(&watched.plan, &node),
                Effect::Recovered { node } => announce::recovered(&watched.plan, &node),
            }
        }
    }

    /// Ends a dead node's sessions, and moves its pins.
    fn cut(&mut self, index: usize, node: &Arc<str>, first_evidence: Moment, now: Moment) {
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let Some(member) = watched.plan.member(node) else {
            return;
        };
        let endpoint = member.endpoint.number;
        let node_name = Arc::clone(&member.endpoint.node);
        let pool = &watched.plan.key.pool;
        let recovery = member.endpoint.pace.recovery();
        self.recovering.begin(pool, recovery, first_evidence, now);
        let mut sessions = 0;
        for endpoint in self.twins(&member.endpoint) {
            sessions += endpoint.sessions();
            self.interrupt(endpoint.number, Interrupt::NodeDown);
        }
        let moved = self.move_pins(watched, node, now);
        let moved_count = moved.len();
        // A cut may be asked for again in one downfall, and for a node that never was up: it is
        // written down where it did something.
        let was_up = self
            .watched
            .get_mut(index)
            .is_some_and(|watched| watched.was_up.remove(node));
        if sessions == 0 && moved_count == 0 && !was_up {
            return;
        }
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let evidence = watched
            .group
            .view()
            .into_iter()
            .find(|view| view.node == *node);
        let evidence = evidence
            .and_then(|view| view.evidence)
            .map_or("-", |(last, _)| last.label());
        let cut = Cut {
            pool: Arc::clone(&watched.plan.key.pool),
            node: Arc::clone(&node_name),
            endpoint,
            listeners: watched.plan.listeners.clone(),
            first_evidence,
            evidence,
            sessions,
            pins_moved: moved_count,
        };
        let (number, back) = self.ledger.cut(cut, now);
        self.incidents.note(&node_name, number, now);
        announce::cut(
            &watched.plan,
            node,
            number,
            sessions,
            now.since(first_evidence),
        );
        for pin in &moved {
            announce::pin_moved(number, pin);
        }
        for back in back {
            announce::partner_back(&back.partner, &back.listener, &back.node, back.cut_off);
        }
    }

    /// Moves the pins of a dead node to those who outlived it.
    fn move_pins(&self, watched: &Watched, dead: &Arc<str>, now: Moment) -> Vec<Moved> {
        let who = Whereabouts {
            key: &self.key,
            partners: &self.snapshot.partners,
            pins: &self.pins,
        };
        let (pool, affinities) = (&watched.plan.key.pool, &watched.plan.affinities);
        let scopes =
            self.snapshot.scopes().iter().filter(|scope| {
                scope.pins.pool == *pool && affinities.contains(&scope.pins.affinity)
            });
        scopes
            .flat_map(|scope| scope.fail_over(who, dead, now).moved)
            .collect()
    }

    /// `endpoint`, and the same place as a reload found it that changed how it is asked: sessions
    /// from before that reload are dead with it, whatever the old way to ask can tell.
    fn twins(&self, endpoint: &Arc<Endpoint>) -> Vec<Arc<Endpoint>> {
        let place = |one: &Endpoint| (Arc::clone(&one.pool), Arc::clone(&one.node), one.address);
        let members = self
            .watched
            .iter()
            .flat_map(|watched| &watched.plan.members);
        let removed = members
            .filter(|member| member.is_removed)
            .map(|member| &member.endpoint)
            .filter(|other| other.number != endpoint.number && place(other) == place(endpoint));
        [endpoint].into_iter().chain(removed).cloned().collect()
    }

    pub(super) fn interrupt_node(&self, pool: &str, node: &str, with: Interrupt) {
        let watched = self
            .watched
            .iter()
            .filter(|watched| *watched.plan.key.pool == *pool);
        // Also where it was before it moved.
        let members = watched.flat_map(|watched| &watched.plan.members);
        for member in members.filter(|member| *member.endpoint.node == *node) {
            self.interrupt(member.endpoint.number, with);
        }
    }

    pub(super) fn interrupt(&self, endpoint: EndpointNumber, with: Interrupt) {
        self.workers.give(|| Order::Interrupt {
            of: Whose::Endpoint(endpoint),
            with,
        });
    }
}
