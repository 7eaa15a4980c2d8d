//! Who is who, as far as a worker has heard.
//!
//! A session is recognised when it arrives. What is told later (a reload, an answer from DNS, a certificate)
//! may make a partner of whoever is there already: the turn of the names tells whether anything was told since.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::partner::table::PartnerTable;

/// The names that a worker goes by. Belongs to its thread.
#[derive(Debug, Default)]
pub struct Names {
    partners: RefCell<Arc<PartnerTable>>,
    turn: Cell<u64>,
}

impl Names {
    /// A snapshot says who is who; news only if it has another table.
    pub fn take_up(&self, partners: &Arc<PartnerTable>) {
        if !Arc::ptr_eq(&self.partners.borrow(), partners) {
            self.partners.replace(Arc::clone(partners));
            self.renew();
        }
    }

    /// Something was learned: whose an address is may be another than before.
    pub fn renew(&self) {
        self.turn.set(self.turn.get() + 1);
    }

    /// Grows by one with all that is told.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// Asks who is who, without a count that cores share.
    pub fn with_partners<A>(&self, ask: impl FnOnce(&PartnerTable) -> A) -> A {
        ask(&self.partners.borrow())
    }

    /// Who is who by configuration and by DNS.
    #[must_use]
    pub fn partners(&self) -> Arc<PartnerTable> {
        Arc::clone(&self.partners.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_table_is_news() {
        let (names, table) = (Names::default(), Arc::new(PartnerTable::default()));
        names.take_up(&table);
        let turn = names.turn();
        names.take_up(&Arc::clone(&table));
        assert_eq!(names.turn(), turn, "a reload that leaves partners alone");
        names.take_up(&Arc::new(PartnerTable::default()));
        assert!(names.turn() > turn);
        let turn = names.turn();
        names.renew();
        assert!(names.turn() > turn);
    }
}
