//! What DNS says of partners, put in force.

use std::sync::Arc;

use super::Control;
use super::doors::tell;
use crate::clock::Moment;
use crate::config::model::{Config, Pin};
use crate::pool::pins::PinKey;
use crate::pool::placement::Subject;
use crate::resolve::{self, Asking, Kept};
use crate::snapshot::{Listener, Snapshot};
use crate::store::Book;
use crate::worker::Order;

/// Begins to ask, with what `book` has from before.
pub(super) fn begin(config: &Config, book: Book<Kept>, pages: Vec<(String, Kept)>) -> Asking {
    let keep = move |key, page: Option<&Kept>| match page {
        Some(page) => book.put(key, page),
        None => book.remove(key),
    };
    resolve::begin(config, pages, Box::new(keep))
}

impl Control {
    /// Publishes whose which address is, as another edition of the snapshot in force.
    pub(super) async fn publish_names(&mut self) {
        let found = Arc::clone(&self.shared.asking.found().borrow());
        let before = self.shared.snapshot.load_full();
        if **before.partners.resolved() == *found {
            return;
        }
        let snapshot = Arc::new(self.registry.name(&before, found));
        // First, so that no connection of the partner finds it without its pin.
        self.take_pins_along(&before, &snapshot);
        self.shared.snapshot.store(snapshot);
        tell(&self.orders(), || Order::Refresh).await;
    }

    /// Where an address turns out to be a partner's, the partner is where the address is.
    fn take_pins_along(&self, before: &Snapshot, snapshot: &Snapshot) {
        let (table, now) = (&snapshot.partners, Moment::now());
        for (address, named) in table.resolved().iter() {
            let known = table.by_name(&named.partner);
            let was = before.partners.named(address);
            let is_configured = table.find(address).is_some();
            let Some(known) = known.filter(|known| known.pin == Pin::Partner) else {
                continue;
            };
            if is_configured || was.is_some_and(|was| was.name == known.name) {
                continue;
            }
            let pinned = |each: &&Arc<Listener>| each.config.pin == Pin::Partner;
            for listener in snapshot.listeners.iter().filter(pinned) {
                let address = Subject::of_client(address, listener.config.pin_prefix);
                let from = PinKey::new(&listener.pin_scope, address);
                let to = PinKey::of_partner(&listener.pin_scope, &known.name);
                self.shared.pins.rekey(&from, &to, now);
            }
        }
    }
}
