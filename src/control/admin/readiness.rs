//! Whether clients are served here, and if not, why.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use crate::control::Shared;

/// Why `/ready` says no; nothing where it says yes.
pub(super) fn reasons(shared: &Shared) -> Vec<String> {
    let mut reasons = shut(shared);
    if shared.is_serving.load(Relaxed) {
        for (pool, listeners) in without_node(shared) {
            let listeners = listeners.join(", ");
            reasons.push(format!("no node of pool \"{pool}\" is up for {listeners}"));
        }
    }
    reasons
}

/// Why clients cannot come in.
pub(super) fn shut(shared: &Shared) -> Vec<String> {
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
    let closed = bound.iter().filter(|bound| !bound.is_open);
    closed
        .map(|bound| {
            format!(
                "listener \"{}\" is closed on {}",
                bound.listener, bound.address
            )
        })
        .collect()
}

/// Listeners that have no node up, by pool.
pub(super) fn without_node(shared: &Shared) -> BTreeMap<String, Vec<String>> {
    let verdicts = shared.verdicts.borrow();
    let snapshot = shared.snapshot.load();
    let mut pools = BTreeMap::<_, Vec<_>>::new();
    for listener in &snapshot.listeners {
        if verdicts.without_node.contains(&listener.state.name) {
            let listeners = pools.entry(listener.pool.to_string()).or_default();
            listeners.push(listener.state.name.to_string());
        }
    }
    pools
}
