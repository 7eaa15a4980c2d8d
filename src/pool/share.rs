//! How many legacy partners each node has, against the most that one of them may have while more are up.
//!
//! Counts pins, not sessions: who cannot fail over by itself hurts where it is pinned. Does not choose:
//! [`super::select`] prefers those of the best standing that are not full.

use std::collections::HashMap;
use std::sync::Arc;

use super::pins::{PinKey, PinScope, PinTable};
use crate::clock::Moment;

/// The counted legacy partners of one pool and affinity.
#[derive(Clone, Debug)]
pub struct Share {
    percent: u8,
    total: usize,
    nodes: HashMap<Arc<str>, usize>,
}

impl Share {
    /// The share of nodes that may have `percent` of all legacy partners, where each of `pinned` names the
    /// node of one of them.
    #[must_use]
    pub fn new(percent: u8, pinned: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut share = Self {
            percent,
            total: 0,
            nodes: HashMap::new(),
        };
        pinned.into_iter().for_each(|node| share.enter(node));
        share
    }

    /// The share as the pins of `partners` in `scope` stand.
    #[must_use]
    pub fn of_pins<'a>(
        percent: u8,
        (pins, scope): (&PinTable, &Arc<PinScope>),
        partners: impl IntoIterator<Item = &'a Arc<str>>,
        now: Moment,
    ) -> Self {
        let node = |partner: &Arc<str>| {
            let key = PinKey::of_partner(scope, partner);
            pins.look_up(&key, now)
        };
        Self::new(percent, partners.into_iter().filter_map(node))
    }

    /// One more is on `node`.
    pub fn enter(&mut self, node: Arc<str>) {
        *self.nodes.entry(node).or_default() += 1;
        self.total += 1;
    }

    /// One has left `node`.
    pub fn leave(&mut self, node: &str) {
        if let Some(count) = self.nodes.get_mut(node).filter(|count| **count > 0) {
            *count -= 1;
            self.total -= 1;
        }
    }

    /// Whether one who is not counted would be one too many on `node`. A single one never is: the most
    /// that a node may have is rounded up.
    #[must_use]
    pub fn is_full(&self, node: &str) -> bool {
        let most = ((self.total + 1) * usize::from(self.percent)).div_ceil(100);
        self.nodes.get(node).copied().unwrap_or(0) + 1 > most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(percent: u8, nodes: &[&str]) -> Share {
        Share::new(percent, nodes.iter().map(|node| Arc::from(*node)))
    }

    #[test]
    fn a_node_is_full_when_one_more_would_exceed_its_share() {
        assert!(!share(100, &["a", "a", "a"]).is_full("a"));
        assert!(
            !share(1, &[]).is_full("a"),
            "a single one has to be somewhere"
        );
        assert!(share(50, &["a"]).is_full("a"));
        assert!(!share(50, &["a"]).is_full("b"));
        assert!(
            !share(50, &["a", "b"]).is_full("a"),
            "two of three, rounded up"
        );
        assert!(!share(70, &["a", "a", "b"]).is_full("a"));
        assert!(share(70, &["a", "a", "a"]).is_full("a"));
    }

    #[test]
    fn however_they_come_and_go_no_node_gets_more_than_its_share_while_another_is_free() {
        for percent in [34_u8, 50, 70, 99] {
            let mut share = share(percent, &[]);
            let names = ["a", "b", "c"];
            let mut placed: Vec<&str> = Vec::new();
            for turn in 0..300_usize {
                if turn % 7 == 3 && !placed.is_empty() {
                    share.leave(placed.swap_remove(turn % placed.len()));
                }
                // The first that is not full: the greediest who asks.
                let Some(node) = names.iter().find(|node| !share.is_full(node)) else {
                    panic!("{percent} %: nobody is free")
                };
                placed.push(node);
                share.enter(Arc::from(*node));
                let most = (placed.len() * usize::from(percent)).div_ceil(100);
                let count = placed.iter().filter(|other| *other == node).count();
                assert!(count <= most, "{percent} %: {count} of {}", placed.len());
            }
        }
    }
}
