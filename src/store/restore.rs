//! Putting back the pins of an earlier instance, as far as the configuration still has what they name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codec::{Key, Present, Record, Whom};
use super::{Contents, Store};
use crate::pool::pins::{PinKey, PinScope, PinTable};
use crate::pool::placement::Subject;
use crate::snapshot::Snapshot;

/// What became of the pins that were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They stand again.
    pub restored: usize,
    /// Their life had run out.
    pub lapsed: usize,
    /// The configuration has no such node, partner, pool or affinity any more.
    pub homeless: usize,
    /// More addresses than `max_pins`.
    pub beyond: usize,
}

impl Store {
    /// Puts the pins of an earlier instance into the table, which is empty, and keeps from here on what
    /// changes in it. Addresses with the longest life come first.
    pub fn take_up(
        &self,
        pins: &Arc<PinTable>,
        contents: &mut Contents,
        snapshot: &Snapshot,
        now: Present,
    ) -> Tally {
        let found = std::mem::take(&mut contents.pins);
        let (tally, outdated) = restore(pins, found, snapshot, now);
        self.keep(pins);
        for key in outdated {
            pins.note(&key);
        }
        tally
    }
}

/// Puts `found` into the table; what became of it, and the keys whose records are to be written anew.
pub(super) fn restore(
    pins: &PinTable,
    mut found: Vec<(Key, Record)>,
    snapshot: &Snapshot,
    now: Present,
) -> (Tally, Vec<PinKey>) {
    let places = Places::of(snapshot);
    let max = snapshot.config.server.max_pins;
    let (mut tally, mut outdated) = (Tally::default(), Vec::new());
    found.sort_by_key(|(_, record)| std::cmp::Reverse(record.lapses.unwrap_or(u64::MAX)));
    for (key, record) in found {
        let is_address = matches!(key.subject, Whom::Prefix(_));
        let pin = places.key(&key);
        let node = places.node(&key, &record, snapshot);
        match node.map(|node| record.kept(&key, node, now)) {
            None => tally.homeless += 1,
            Some(None) => tally.lapsed += 1,
            Some(Some(_)) if is_address && pins.counts().addresses >= max => tally.beyond += 1,
            Some(Some(kept)) => {
                pins.put(&pin, kept, now.moment);
                tally.restored += 1;
                // Who was in use is so no more: that is to be written. All others stand as they are.
                if record.lapses.is_some() || !is_address {
                    let _ = pins.record(&pin, now.moment);
                    continue;
                }
            }
        }
        outdated.push(pin);
    }
    (tally, outdated)
}

/// What the configuration has that pins name.
struct Places {
    scopes: HashMap<(String, String), Arc<PinScope>>,
    nodes: HashMap<String, HashSet<Arc<str>>>,
}

impl Places {
    fn of(snapshot: &Snapshot) -> Self {
        let scopes = snapshot.listeners.iter().map(|listener| {
            let scope = &listener.pin_scope;
            let name = (scope.pool.to_string(), scope.affinity.to_string());
            (name, Arc::clone(scope))
        });
        let nodes = snapshot.config.pools.iter().map(|pool| {
            let nodes = pool.nodes.iter().map(|node| Arc::from(&*node.name));
            (pool.name.clone(), nodes.collect())
        });
        Self {
            scopes: scopes.collect(),
            nodes: nodes.collect(),
        }
    }

    fn key(&self, key: &Key) -> PinKey {
        let scope = self.scopes.get(&(key.pool.clone(), key.affinity.clone()));
        let scope = scope.map_or_else(
            || {
                Arc::new(PinScope {
                    pool: Arc::from(&*key.pool),
                    affinity: Arc::from(&*key.affinity),
                })
            },
            Arc::clone,
        );
        let subject = match &key.subject {
            Whom::Partner(name) => Subject::Partner(Arc::from(&**name)),
            Whom::Prefix(net) => Subject::Prefix(*net),
        };
        PinKey { scope, subject }
    }

    /// The node, where the configuration has it, and everything else that the pin names.
    fn node(&self, key: &Key, record: &Record, snapshot: &Snapshot) -> Option<&Arc<str>> {
        let place = (key.pool.clone(), key.affinity.clone());
        let is_known = match &key.subject {
            Whom::Partner(name) => snapshot.partners.by_name(name).is_some(),
            Whom::Prefix(_) => true,
        };
        let is_served = is_known && self.scopes.contains_key(&place);
        let nodes = self.nodes.get(&key.pool).filter(|_| is_served)?;
        nodes.get(&*record.node)
    }
}
