//! What follows from an observation, for the governor to carry out in this order.

use std::sync::Arc;

use crate::clock::Moment;
use crate::pool::health::{Evidence, State};
use crate::pool::select::Standing;

/// What the governor has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin a probe, dated the moment of the call that asked for it.
    Probe {
        /// Whom to ask.
        node: Arc<str>,
    },
    /// The node stands differently; for its atomic.
    Standing {
        /// Which node.
        node: Arc<str>,
        /// How.
        standing: Standing,
    },
    /// The state changed; for the log and the metrics.
    Changed {
        /// Which node.
        node: Arc<str>,
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why.
        evidence: Option<Evidence>,
    },
    /// End the node's sessions and move its pins. May come again in one downfall, for sessions and
    /// pins that were left to it while its siblings were in doubt or only draining.
    Cut {
        /// Which node.
        node: Arc<str>,
        /// The first thing that spoke against it, for the ledger.
        first_evidence: Moment,
    },
    /// The node is down and nobody has outlived it: nothing is cut, pins stay. Once per downfall.
    FailStatic {
        /// Which node.
        node: Arc<str>,
    },
    /// What was said by [`Effect::FailStatic`] is over: the node is back, or its sessions were cut
    /// because another is up.
    Recovered {
        /// Which node.
        node: Arc<str>,
    },
}
