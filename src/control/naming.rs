//! What DNS says of partners, put in force.

use std::sync::Arc;

use super::adoption::{Ground, adopt_from_dns, adopted};
use super::doors::tell;
use super::{Control, Shared};
use crate::clock::Moment;
use crate::config::model::Config;
use crate::partner::table::PartnerTable;
use crate::pool::pins::PinTable;
use crate::relay::recognition::Recognition;
use crate::resolve::{self, Asking, Kept};
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
        let Shared {
            recognition, pins, ..
        } = &*self.shared;
        let names = (&*before.partners, &*snapshot.partners);
        take_pins_along(&snapshot.config, names, recognition, pins, Moment::now());
        self.shared.snapshot.store(snapshot);
        tell(&self.orders(), || Order::Refresh).await;
    }
}

/// Where an address turns out to be a partner's by DNS, the partner is where the address is: what that does to
/// the pins when the names of `after` take the place of those of `before`. How many partners' pins were made.
///
/// Apart from [`Control`], so that the simulation of names goes by the same.
pub fn take_pins_along(
    config: &Config,
    (before, after): (&PartnerTable, &PartnerTable),
    recognition: &Recognition,
    pins: &PinTable,
    now: Moment,
) -> usize {
    let ground = |partners| Ground { config, partners };
    let adopted = adopted((ground(before), ground(after)), recognition, pins, now);
    adopt_from_dns(&adopted, pins, now);
    adopted.iter().filter(|each| each.instead.is_none()).count()
}
