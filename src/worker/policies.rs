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
    edition: Cell<u64>,
    by_listener: RefCell<HashMap<u32, Rc<Policy>>>,
    departed: RefCell<HashMap<u32, Departed>>,
}

/// What a listener went by that a reload has removed. A snapshot is seen the moment it is published,
/// and the orders about doors arrive later: whoever comes in between, or waits in the queue of a door
/// that is closed, comes by the old policy.
#[derive(Debug)]
struct Departed {
    policy: Rc<Policy>,
    since: u64,
}

impl Policies {
    pub(super) fn new(snapshot: Arc<ArcSwap<Snapshot>>, context: &Rc<Context>) -> Self {
        let policies = Self {
            cache: RefCell::new(Cache::new(snapshot)),
            context: Rc::clone(context),
            edition: Cell::new(0),
            by_listener: RefCell::default(),
            departed: RefCell::default(),
        };
        policies.refresh();
        policies
    }

    /// The policy of a listener; `None` once it is long gone.
    pub(super) fn of(&self, listener: u32) -> Option<Rc<Policy>> {
        self.refresh();
        if let Some(policy) = self.by_listener.borrow().get(&listener) {
            return Some(Rc::clone(policy));
        }
        let departed = self.departed.borrow();
        departed.get(&listener).map(|gone| Rc::clone(&gone.policy))
    }

    /// Takes up the snapshot in force, and lets go of the one before.
    pub(super) fn refresh(&self) {
        let mut cache = self.cache.borrow_mut();
        let snapshot = cache.load();
        if snapshot.edition == self.edition.get() {
            return;
        }
        self.edition.set(snapshot.edition);
        self.context.names.take_up(snapshot);
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
        let policies: HashMap<_, _> = policies.collect();
        self.divert(&policies);
        let before = self.by_listener.replace(policies);
        self.keep_departed(before, snapshot.revision);
    }

    /// Opens what speaks to nodes in the names of clients, so that it is known early whether the host is made for it.
    fn divert(&self, policies: &HashMap<u32, Rc<Policy>>) {
        let listeners = policies.values().map(|policy| &policy.listener);
        for listener in listeners.filter(|listener| listener.is_transparent()) {
            for bind in &listener.config.bind {
                self.context.diverted.want(bind.is_ipv6());
            }
        }
    }

    /// Keeps what `before` had and `revision` has not, for as long as its doors may be open: the
    /// orders of a reload are obeyed before the next but one is published.
    fn keep_departed(&self, before: HashMap<u32, Rc<Policy>>, revision: u64) {
        let current = self.by_listener.borrow();
        let mut departed = self.departed.borrow_mut();
        departed.retain(|_, gone| gone.since + 1 >= revision);
        for (listener, policy) in before {
            if !current.contains_key(&listener) {
                let since = revision;
                departed.insert(listener, Departed { policy, since });
            }
        }
    }
}
