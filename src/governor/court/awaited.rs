//! Partners that were cut off and are waited for.

use super::{Court, announce};
use crate::clock::Moment;
use crate::relay::report::Lost;
use crate::snapshot::Snapshot;

impl Court {
    /// Who was removed, or lost its listener, by a reload is not awaited.
    pub(super) fn keep_awaited(&mut self) {
        let (partners, listeners) = (&self.snapshot.partners, &self.snapshot.listeners);
        self.ledger.keep_awaited(|partner, listener| {
            partners.by_name(partner).is_some()
                && listeners.iter().any(|each| *each.state.name == *listener)
        });
    }

    /// Tells of partners that never came back.
    pub(super) fn raise_alarms(&mut self, now: Moment) {
        let Self {
            ledger, snapshot, ..
        } = self;
        let alarm_after = |name: &str| Some(snapshot.partners.by_name(name)?.alarm_after);
        let is_connected = |lost: &Lost| is_connected(snapshot, lost);
        for missing in ledger.raise_alarms(alarm_after, is_connected, now) {
            let known = snapshot.partners.by_name(&missing.partner);
            let contact = known.and_then(|known| known.contact.as_deref());
            announce::not_back(&missing, contact);
        }
    }

    /// Tells what became of everybody whose node died a while ago.
    pub(super) fn sum_up(&mut self, now: Moment) {
        if self.incidents.is_empty() {
            return;
        }
        for report in self.incidents.due(&self.ledger.failovers(), now) {
            announce::summed_up(&report);
        }
    }

    /// Tells workers whether it matters who is served.
    pub(super) fn tell_awaited(&self) {
        let awaited = self.ledger.awaited() + self.failbacks.awaited();
        self.reports.set_awaited(awaited, self.ledger.missing());
    }
}

/// Whether a node serves a partner on the listener of a loss, however it is pinned. What is left on a dead one
/// is not served.
fn is_connected(snapshot: &Snapshot, lost: &Lost) -> bool {
    let mut listeners = snapshot.listeners.iter();
    let listener = listeners.find(|listener| listener.state.name == lost.listener);
    let known = snapshot.partners.by_name(&lost.partner);
    listener
        .zip(known)
        .is_some_and(|(listener, known)| known.presence.is_served_on(listener.state.number))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::parse;
    use crate::partner::presence::Place;
    use crate::snapshot::Registry;
    use crate::telemetry::outcome::Outcome;

    const TEXT: &str = "version = 1\n\
        [[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
        [[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\n\
        pool = \"edge\"\npin = \"source\"\n\
        [[listener]]\nname = \"access\"\nbind = \"203.0.113.10:443\"\nservice = \"access\"\npool = \"edge\"\n\
        [[partner]]\nname = \"fabrikam\"\ngeneration = \"ocs-2007\"\naddresses = [\"192.0.2.1\"]\n";

    fn lost(snapshot: &Snapshot, listener: &str) -> Lost {
        let endpoint = &snapshot.listeners[0].nodes[0].endpoint;
        let now = Moment::START;
        Lost {
            partner: "fabrikam".into(),
            listener: listener.into(),
            endpoint: endpoint.number,
            node: Arc::clone(&endpoint.node),
            cut_off_since: now,
            ended: now,
            active_at: now,
            outcome: Outcome::NodeDown,
        }
    }

    #[test]
    fn a_partner_that_is_pinned_by_its_address_is_missed_only_where_no_node_serves_it() {
        let mut registry = Registry::new(2);
        let before = registry.build(&Arc::new(parse("a", TEXT).unwrap().config));
        let lost = |listener: &str| lost(&before, listener);
        assert!(!is_connected(&before, &lost("federation")));

        let known = Arc::clone(before.partners.by_name("fabrikam").unwrap());
        let listener = before.listeners[0].state.number;
        let endpoint = lost("federation").endpoint;
        let served = Place { listener, endpoint };
        let forsaken = Place {
            endpoint: Place::FORSAKEN,
            ..served
        };
        known.presence.begin(1, served, Moment::START);
        assert!(is_connected(&before, &lost("federation")));
        assert!(!is_connected(&before, &lost("access")));

        // Also by a reload that changes partners, and where the partner was gone meanwhile.
        let other = TEXT.replace("fabrikam", "contoso");
        let other = registry.build(&Arc::new(parse("a", &other).unwrap().config));
        assert!(!is_connected(&other, &lost("federation")));
        let more = format!("{TEXT}contact = \"Tel. 1\"\n");
        let after = registry.build(&Arc::new(parse("a", &more).unwrap().config));
        assert!(is_connected(&after, &lost("federation")));

        // What is left on a dead node hides nothing.
        known.presence.begin(1, forsaken, Moment::START);
        known.presence.end(1, served, Moment::START);
        assert!(!is_connected(&after, &lost("federation")));
        assert_eq!(
            after
                .partners
                .by_name("fabrikam")
                .unwrap()
                .presence
                .sessions(),
            1
        );
    }
}
