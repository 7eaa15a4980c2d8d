//! What new sessions of a worker go by: the snapshot in force, read once per session.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::relay::{Context, Policy};
use crate::snapshot::Snapshot;

/// The policies of one worker, by listener. A session clones an `Rc`, so no count is shared between
/// cores.
#[derive(Debug)]
pub(super) struct Policies {
    cache: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    context: Rc<Context>,
    revision: Cell<u64>,
    by_listener: RefCell<HashMap<u32, Rc<Policy>>>,
}

impl Policies {
    pub(super) fn new(snapshot: Arc<ArcSwap<Snapshot>>, context: &Rc<Context>) -> Self {
        let policies = Self {
            cache: RefCell::new(Cache::new(snapshot)),
            context: Rc::clone(context),
            revision: Cell::new(0),
            by_listener: RefCell::default(),
        };
        policies.refresh();
        policies
    }

    /// The policy of a listener; `None` once a reload has removed it.
    pub(super) fn of(&self, listener: u32) -> Option<Rc<Policy>> {
        self.refresh();
        self.by_listener.borrow().get(&listener).map(Rc::clone)
    }

    /// Takes up the snapshot in force, and lets go of the one before.
    pub(super) fn refresh(&self) {
        let mut cache = self.cache.borrow_mut();
        let snapshot = cache.load();
        if snapshot.revision == self.revision.get() {
            return;
        }
        self.revision.set(snapshot.revision);
        self.context.log_sessions.set(snapshot.config.log.sessions);
        let memory = usize::try_from(snapshot.config.server.buffer_memory).unwrap_or(usize::MAX);
        self.context
            .gear
            .memory()
            .set_limit(memory / self.context.workers.max(1));
        let policies = snapshot.listeners.iter().map(|listener| {
            let policy = Policy {
                listener: Arc::clone(listener),
                partners: Arc::clone(&snapshot.partners),
                revision: snapshot.revision,
            };
            (listener.state.number, Rc::new(policy))
        });
        *self.by_listener.borrow_mut() = policies.collect();
    }
}
