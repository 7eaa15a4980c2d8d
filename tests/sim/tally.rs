//! What happened, so that a simulation in which nothing happens is noticed.

/// Counts of what happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) sessions: u64,
    pub(crate) downs: u64,
    pub(crate) cuts: u64,
    pub(crate) fail_static: u64,
    pub(crate) pins_moved: u64,
    pub(crate) dial_failed: u64,
    pub(crate) evicted: u64,
    pub(crate) lapsed: u64,
    pub(crate) stuns: u64,
    pub(crate) reloads: u64,
    pub(crate) voids: u64,
    pub(crate) held: u64,
    /// Strangers that had to wait for their place.
    pub(crate) paced: u64,
    /// Strangers that would have had to wait too long.
    pub(crate) refused: u64,
    /// Partners that went elsewhere because a node had its share.
    pub(crate) shared: u64,
    pub(crate) sent_back: u64,
    pub(crate) reverted: u64,
    /// Nodes found by their traffic alone.
    pub(crate) muted: u64,
    /// Nodes that were down where they were needed.
    pub(crate) lacked: u64,
    /// Nodes kept down because they came and went.
    pub(crate) damped: u64,
    /// Sessions of partners that ended by their node's doing.
    pub(crate) lost: u64,
    /// Partners that were back after a failover, and timed.
    pub(crate) timed: u64,
    pub(crate) never_came_back: u64,
    /// Pins of strangers that look legacy, moved by a failover.
    pub(crate) strangers_moved: u64,
    /// Partners sent away for maintenance.
    pub(crate) sent_away: u64,
    /// Pins that undoing put back.
    pub(crate) put_back: u64,
    /// Pins that undoing left where others had moved them.
    pub(crate) left_alone: u64,
    /// A second maintenance of the pool that was refused.
    pub(crate) busy: u64,
}

impl Tally {
    fn fields(&mut self) -> [&mut u64; 29] {
        [
            &mut self.steps,
            &mut self.sessions,
            &mut self.downs,
            &mut self.cuts,
            &mut self.fail_static,
            &mut self.pins_moved,
            &mut self.dial_failed,
            &mut self.evicted,
            &mut self.lapsed,
            &mut self.stuns,
            &mut self.reloads,
            &mut self.voids,
            &mut self.held,
            &mut self.paced,
            &mut self.refused,
            &mut self.shared,
            &mut self.sent_back,
            &mut self.reverted,
            &mut self.muted,
            &mut self.lacked,
            &mut self.damped,
            &mut self.lost,
            &mut self.timed,
            &mut self.never_came_back,
            &mut self.strangers_moved,
            &mut self.sent_away,
            &mut self.put_back,
            &mut self.left_alone,
            &mut self.busy,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (sum, more) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    pub(crate) fn assert_everything_happened(mut self) {
        let text = format!("{self:?}");
        assert!(self.fields().into_iter().all(|count| *count > 0), "{text}");
    }
}
