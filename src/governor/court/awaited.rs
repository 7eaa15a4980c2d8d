//! Partners that were cut off and are waited for.

use super::{Court, announce};
use crate::clock::Moment;
use crate::pool::pins::{PinKey, PinTable};
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
            ledger,
            snapshot,
            pins,
            ..
        } = self;
        let alarm_after = |name: &str| Some(snapshot.partners.by_name(name)?.alarm_after);
        let is_connected = |lost: &Lost| is_connected(snapshot, pins, lost, now);
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

/// Whether a partner has sessions under its pin, on the listener of a loss.
fn is_connected(snapshot: &Snapshot, pins: &PinTable, lost: &Lost, now: Moment) -> bool {
    let mut listeners = snapshot.listeners.iter();
    let listener = listeners.find(|listener| listener.state.name == lost.listener);
    let pin = listener.and_then(|listener| {
        let key = PinKey::of_partner(&listener.pin_scope, &lost.partner);
        pins.inspect(&key, now)
    });
    pin.is_some_and(|pin| pin.sessions > 0)
}
