//! Where partners go whose node is taken away: by its death, or by an administrator.
//!
//! Pure, and the only judge of it: a failover, a drill, maintenance and a session that finds its node gone all
//! ask here. Does not move anybody.
//!
//! Invariants: nobody is sent where nobody is to be placed; then they stay. Partners leave in order of their
//! names, and where each goes does not depend on who of the others has gone already.

use std::sync::Arc;

use super::placement::{PlacementKey, Subject};
use super::select::{Candidate, Positions, Request, Standing, WARM, Why, choose};
use super::share::Share;
use crate::config::model::Balance;

/// Partners of one pool and affinity that leave a node, one after the other.
#[derive(Clone, Debug)]
pub struct Evacuation<'a> {
    key: &'a PlacementKey,
    leaving: Arc<str>,
    nodes: Vec<Candidate<'a>>,
    /// Of legacy partners, where it is limited.
    share: Option<Share>,
}

impl<'a> Evacuation<'a> {
    /// All that are on `leaving` are to go to others of `candidates`.
    pub fn new(
        key: &'a PlacementKey,
        leaving: &str,
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        share: Option<Share>,
    ) -> Self {
        let nodes = candidates.into_iter().map(|candidate| Candidate {
            standing: if **candidate.name == *leaving {
                Standing::Never
            } else {
                candidate.standing
            },
            // Who cannot fail over by itself goes where the key says, whatever the others do.
            warmth: WARM,
            sessions: 0,
            ..candidate
        });
        Self {
            key,
            leaving: leaving.into(),
            nodes: nodes.collect(),
            share,
        }
    }

    /// Position of the node that takes `subject`, the next that leaves; `None`: nobody else is to take it.
    /// `is_counted`: it is a legacy partner, which counts in the share.
    pub fn next(&mut self, subject: &Subject, is_counted: bool) -> Option<usize> {
        let full = match is_counted {
            true => self.make_room(),
            false => Positions::NONE,
        };
        let request = Request {
            key: self.key,
            subject,
            balance: Balance::SourceHash,
            pinned: None,
            turn: 0,
            tried: Positions::NONE,
            full,
        };
        let choice = choose(self.nodes.iter().copied(), &request);
        let to = choice.filter(|choice| choice.why == Why::Placed);
        let to = to.map(|choice| choice.index);
        if let Some(share) = self.share.as_mut().filter(|_| is_counted) {
            let node = to.and_then(|index| self.nodes.get(index));
            share.enter(Arc::clone(node.map_or(&self.leaving, |node| node.name)));
        }
        to
    }

    /// Nodes that have their share already when the next one leaves that counts.
    #[must_use]
    pub fn full(mut self) -> Positions {
        self.make_room()
    }

    /// One leaves that counts.
    fn make_room(&mut self) -> Positions {
        let Some(share) = &mut self.share else {
            return Positions::NONE;
        };
        share.leave(&self.leaving);
        share.full(&self.nodes)
    }
}

#[cfg(test)]
mod tests;
