//! Whether clients are served here, and if not, why.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use axum::http::StatusCode;

use super::refusal::Refusal;
use crate::config::did_you_mean;
use crate::control::Shared;
use crate::snapshot::Listener;

/// Which listeners are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All.
    All,
    /// Those of a pool.
    Pool(String),
    /// One.
    Listener(String),
}

impl Scope {
    /// Those of `pool`.
    ///
    /// # Errors
    ///
    /// No listener uses such a pool.
    pub(super) fn pool(shared: &Shared, pool: String) -> Result<Self, Refusal> {
        let known = names(shared, |listener| &listener.pool);
        match known.contains(&pool) {
            true => Ok(Self::Pool(pool)),
            false => Err(unknown("no listener uses a pool", &pool, &known)),
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn listener(shared: &Shared, listener: String) -> Result<Self, Refusal> {
        let known = names(shared, |listener| &listener.state.name);
        match known.contains(&listener) {
            true => Ok(Self::Listener(listener)),
            false => Err(unknown("there is no listener", &listener, &known)),
        }
    }

    fn has(&self, listener: &Listener) -> bool {
        match self {
            Self::All => true,
            Self::Pool(pool) => *listener.pool == **pool,
            Self::Listener(name) => *listener.state.name == **name,
        }
    }
}

/// One name of each listener in force, each once.
fn names(shared: &Shared, name: impl Fn(&Listener) -> &str) -> Vec<String> {
    let snapshot = shared.snapshot.load();
    let mut names: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|listener| name(listener).to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn unknown(what: &str, name: &str, known: &[String]) -> Refusal {
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    let hint = hint.unwrap_or_else(|| format!("there are {}", known.join(", ")));
    let mut refusal = Refusal::new(StatusCode::NOT_FOUND, format!("{what} \"{name}\": {hint}"));
    refusal.exits_with(64);
    refusal
}

/// Why `/ready` says no; nothing where it says yes.
pub(super) fn reasons(shared: &Shared, scope: &Scope) -> Vec<String> {
    let mut reasons = shut(shared, scope);
    if shared.is_serving.load(Relaxed) {
        for (pool, listeners) in without_node(shared, scope) {
            let listeners = listeners.join(", ");
            reasons.push(format!("no node of pool \"{pool}\" is up for {listeners}"));
        }
    }
    reasons
}

/// Why clients cannot come in.
pub(super) fn shut(shared: &Shared, scope: &Scope) -> Vec<String> {
    let bound = shared.bound.load();
    if !shared.is_serving.load(Relaxed) {
        // Addresses are published when the listeners open, and stay until the end.
        let what = if bound.is_empty() {
            "starting: the listeners are not open yet"
        } else {
            "stopping: new clients are no longer accepted"
        };
        return vec![what.into()];
    }
    let snapshot = shared.snapshot.load();
    let mut reasons = Vec::new();
    for listener in snapshot.listeners.iter().filter(|each| scope.has(each)) {
        let name = &*listener.state.name;
        let own = bound.iter().filter(|bound| bound.listener == name);
        let closed = own.filter(|bound| !bound.is_open);
        reasons.extend(
            closed.map(|bound| format!("listener \"{name}\" is closed on {}", bound.address)),
        );
    }
    reasons
}

/// Listeners that have no node up, by pool.
pub(super) fn without_node(shared: &Shared, scope: &Scope) -> BTreeMap<String, Vec<String>> {
    let verdicts = shared.verdicts.borrow();
    let snapshot = shared.snapshot.load();
    let mut pools = BTreeMap::<_, Vec<_>>::new();
    for listener in snapshot.listeners.iter().filter(|each| scope.has(each)) {
        if verdicts.without_node.contains(&listener.state.name) {
            let listeners = pools.entry(listener.pool.to_string()).or_default();
            listeners.push(listener.state.name.to_string());
        }
    }
    pools
}
