//! Who is who, as far as a worker has heard.
//!
//! A session is recognised when it arrives. What is told later (a reload, an answer from DNS, a certificate)
//! may make a partner of whoever is there already: the turn of the names tells whether anything was told since.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::Policy;
use crate::partner::table::PartnerTable;
use crate::snapshot::{Listener, Snapshot};

/// The names that a worker goes by. Belongs to its thread.
#[derive(Debug, Default)]
pub struct Names {
    partners: RefCell<Arc<PartnerTable>>,
    listeners: RefCell<Vec<Arc<Listener>>>,
    revision: Cell<u64>,
    turn: Cell<u64>,
}

impl Names {
    /// A snapshot says who is who; news only if it has another table.
    pub fn take_up(&self, snapshot: &Snapshot) {
        let partners = &snapshot.partners;
        self.listeners.replace(snapshot.listeners.clone());
        self.revision.set(snapshot.revision);
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

    /// How a listener pins today; `None` once it is gone. A session goes by what its listener said when it began.
    #[must_use]
    pub fn listener(&self, number: u32) -> Option<Arc<Listener>> {
        let listeners = self.listeners.borrow();
        let mut listeners = listeners.iter();
        let listener = listeners.find(|listener| listener.state.number == number);
        listener.map(Arc::clone)
    }

    /// What a session would go by that began now, where this one goes by `known`. Where nothing has changed, no count
    /// that cores share is touched.
    #[must_use]
    pub fn today(&self, known: &Policy) -> Today {
        let listeners = self.listeners.borrow();
        let number = known.listener.state.number;
        let mut listeners = listeners.iter();
        match listeners.find(|listener| listener.state.number == number) {
            Some(now) if Arc::ptr_eq(now, &known.listener) => Today::Same,
            Some(now) => Today::Changed(Policy {
                listener: Arc::clone(now),
                partners: self.partners(),
                revision: self.revision.get(),
            }),
            None => Today::Gone,
        }
    }
}

/// What a session would go by that began now.
#[derive(Debug)]
pub enum Today {
    /// What it goes by.
    Same,
    /// Another policy of its listener.
    Changed(Policy),
    /// Its listener is gone.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::snapshot::Registry;

    const FILE: &str = "version = 1\n[[pool]]\nname = \"edge\"\n\
        [[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
        [[listener]]\nname = \"sip\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\npool = \"edge\"\n";
    const PARTNER: &str = "[[partner]]\nname = \"fabrikam\"\naddresses = [\"192.0.2.1\"]\n";

    #[test]
    fn only_another_table_is_news() {
        let (names, mut registry) = (Names::default(), Registry::new(1));
        let mut take_up = |text: &str| {
            let config = parse("a", text).unwrap().config;
            names.take_up(&registry.build(&Arc::new(config)));
        };
        take_up(FILE);
        let turn = names.turn();
        take_up(FILE);
        assert_eq!(names.turn(), turn, "a reload that leaves partners alone");
        take_up(&format!("{FILE}{PARTNER}"));
        assert!(names.turn() > turn);
        let turn = names.turn();
        names.renew();
        assert!(names.turn() > turn);
    }
}
