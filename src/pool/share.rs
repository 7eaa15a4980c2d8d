//! How many legacy partners each node has, against the most that one of them may have while more are up.
//!
//! Counts pins, not sessions: who cannot fail over by itself hurts where it is pinned. Does not choose:
//! [`super::select`] prefers those of the best standing that are not full.

use std::collections::HashMap;
use std::sync::Arc;

use super::pins::{PinKey, PinScope, PinTable};
use super::select::{Candidate, Positions};
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

    /// Those of `candidates` on which one who is not counted would be one too many. The most that a node may
    /// have is rounded up, and is no less than what the best of them need to hold all: so a single one has a
    /// place, and so have all of them where few nodes are left.
    #[must_use]
    pub fn full(&self, candidates: &[Candidate<'_>]) -> Positions {
        let best = candidates.iter().map(|node| node.standing).min();
        let takers = candidates.iter().filter(|node| Some(node.standing) == best);
        let total = self.total + 1;
        let share = (total * usize::from(self.percent)).div_ceil(100);
        let most = share.max(total.div_ceil(takers.count().max(1)));
        let count = |node: &Candidate<'_>| self.nodes.get(node.name).copied().unwrap_or(0);
        Positions::of(candidates, |node| count(node) + 1 > most)
    }
}

#[cfg(test)]
mod tests {
    use super::super::select::{Standing, WARM};
    use super::*;

    fn share(percent: u8, nodes: &[&str]) -> Share {
        Share::new(percent, nodes.iter().map(|node| Arc::from(*node)))
    }

    /// Which of nodes are full, among `taking` and one that is down.
    fn full<'n>(share: &Share, taking: &[&'n str]) -> Vec<&'n str> {
        let names: Vec<Arc<str>> = taking.iter().map(|name| Arc::from(*name)).collect();
        let down = Arc::from("down");
        let candidate = |name, standing| Candidate {
            name,
            weight: 1,
            standing,
            warmth: WARM,
            sessions: 0,
        };
        let up = names.iter().map(|name| candidate(name, Standing::Takes));
        let candidates: Vec<_> = up.chain([candidate(&down, Standing::Down)]).collect();
        let positions = share.full(&candidates);
        let numbered = taking.iter().enumerate();
        let full = numbered.filter(|(index, _)| positions.contains(*index));
        full.map(|(_, name)| *name).collect()
    }

    #[test]
    fn a_node_is_full_when_one_more_would_exceed_its_share() {
        let full_of = |percent, nodes: &[&str]| full(&share(percent, nodes), &["a", "b", "c"]);
        assert!(full_of(100, &["a", "a", "a"]).is_empty());
        assert!(full_of(1, &[]).is_empty(), "it has to be somewhere");
        assert_eq!(full_of(50, &["a"]), ["a"]);
        assert!(
            full_of(50, &["a", "b"]).is_empty(),
            "two of three, rounded up"
        );
        assert!(full_of(70, &["a", "a", "b"]).is_empty());
        assert_eq!(full_of(70, &["a", "a", "a"]), ["a"]);
    }

    #[test]
    fn where_few_nodes_are_left_each_has_its_part_however_small_the_share_is() {
        let pinned = share(10, &["a", "a", "b", "down", "down"]);
        assert_eq!(full(&pinned, &["a", "b", "c"]), ["a"]);
        assert!(full(&pinned, &["a", "b"]).is_empty(), "three each");
        assert!(full(&pinned, &["a"]).is_empty(), "all of them");
    }

    #[test]
    fn however_they_come_and_go_somebody_is_free_and_no_node_gets_more_than_its_share() {
        for percent in [1, 34_u8, 50, 70, 99] {
            let mut share = share(percent, &[]);
            let names = ["a", "b", "c"];
            let mut placed: Vec<&str> = Vec::new();
            for turn in 0..300_usize {
                if turn % 7 == 3 && !placed.is_empty() {
                    share.leave(placed.swap_remove(turn % placed.len()));
                }
                // The first that is not full: the greediest who asks.
                let full = full(&share, &names);
                let Some(node) = names.iter().find(|node| !full.contains(node)) else {
                    panic!("{percent} %: nobody is free")
                };
                placed.push(node);
                share.enter(Arc::from(*node));
                let most = (placed.len() * usize::from(percent.max(34))).div_ceil(100);
                let count = placed.iter().filter(|other| *other == node).count();
                assert!(count <= most, "{percent} %: {count} of {}", placed.len());
            }
        }
    }
}
