//! How good a node is to listeners of one affinity, which may see it differently.
//!
//! Pure, and the only judge of it: sessions and failovers ask here. A pin holds on all listeners of its affinity,
//! so a node is as good as on the listener where it is worst. Where nobody can be placed anywhere by that (each
//! node lacks something, or a service is down everywhere), it is as good as where it is best: then a pin stays
//! while its node serves any listener, and sessions of the others are served elsewhere without moving it.
//!
//! Invariant: what is said of a node depends on standings alone, never on the listener that asks; so a pin
//! moves no more often than standings change, and two listeners never send it to and fro.

use std::cmp::{max, min};

use super::select::Standing;

/// What counts of a node's standings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The worst: a node is there that takes pins on every listener.
    Worst,
    /// The best: none is.
    Best,
}

impl Measure {
    /// What counts where `nodes` may be chosen; of each, how it stands on every listener.
    pub fn of<S: IntoIterator<Item = Standing>>(nodes: impl IntoIterator<Item = S>) -> Self {
        let takes_pins = |standings: S| {
            let worst = Self::Worst.judge(standings);
            worst.is_some_and(Standing::takes_pins)
        };
        match nodes.into_iter().any(takes_pins) {
            true => Self::Worst,
            false => Self::Best,
        }
    }

    /// How good a node with these standings is; `None` where no listener has it.
    pub fn judge(self, standings: impl IntoIterator<Item = Standing>) -> Option<Standing> {
        standings.into_iter().reduce(match self {
            Self::Worst => max,
            Self::Best => min,
        })
    }

    /// How good a node is to a session of a listener where it stands as `own`, if it is `shared` to its pin: no
    /// session goes where its own listener is not served while another node serves it.
    #[must_use]
    pub fn to_session(own: Standing, shared: Standing) -> Standing {
        max(own, shared)
    }
}
