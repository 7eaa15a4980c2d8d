//! What becomes of the message of a client that is passing, and of what waits for a node.
//!
//! Invariant: what is answered in the place of a node passes to none.

use crate::inspect::sip::Found;

/// Where a client's messages stand.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// What was found, and waits.
    parked: Option<Found>,
    /// The rest of the message does not pass.
    is_discarding: bool,
}

impl Passage {
    /// What waits, and whether it still passes.
    pub(super) fn resume(&mut self) -> Option<(Found, bool)> {
        let found = self.parked.take()?;
        Some((found, !self.is_discarding))
    }

    /// It waits until there is a node, or its turn comes to be left out.
    pub(super) fn park(&mut self, found: Found) {
        self.parked = Some(found);
    }

    /// A message has begun, which `passes` or not.
    pub(super) fn begin(&mut self, passes: bool) {
        self.is_discarding = !passes;
    }

    /// Whether the message that has begun passes.
    pub(super) const fn goes_on(&self) -> bool {
        !self.is_discarding
    }

    /// What was found is done with.
    pub(super) fn done(&mut self, found: Found) {
        self.is_discarding &= !ends(found);
    }

    /// The node is gone, and what it has not answered is answered: what waits for it too, and, where the node
    /// `has_beginning` of a message, that.
    pub(super) fn lose_node(&mut self, has_beginning: bool) {
        self.is_discarding |= has_beginning || self.parked.is_some();
    }
}

/// Whether a message ends with what was found.
const fn ends(found: Found) -> bool {
    match found {
        Found::Incomplete => false,
        Found::LineEnd { .. } => true,
        Found::Head { body, .. } => body == 0,
        Found::Body { is_last, .. } => is_last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Found = Found::Head {
        length: 100,
        body: 10,
        is_declared: true,
    };
    const REST: Found = Found::Body {
        length: 10,
        is_last: true,
    };

    #[test]
    fn what_has_waited_for_a_node_passes_when_there_is_one() {
        let mut passage = Passage::default();
        passage.begin(true);
        passage.park(HEAD);
        assert_eq!(passage.resume(), Some((HEAD, true)));
        passage.done(HEAD);
        assert!(passage.goes_on());
    }

    #[test]
    fn what_has_waited_for_a_node_that_is_gone_passes_to_no_other_and_the_next_message_does() {
        let mut passage = Passage::default();
        passage.begin(true);
        passage.park(HEAD);
        passage.lose_node(false);
        assert_eq!(passage.resume(), Some((HEAD, false)));
        passage.done(HEAD);
        assert!(!passage.goes_on(), "nor does its body");
        passage.done(REST);
        assert!(passage.goes_on());
    }

    #[test]
    fn the_rest_of_a_message_passes_to_nobody_else() {
        let mut passage = Passage::default();
        passage.begin(true);
        passage.done(HEAD);
        passage.lose_node(true);
        assert!(!passage.goes_on());
        passage.done(REST);
        passage.lose_node(false);
        assert!(passage.goes_on());
        assert_eq!(passage.resume(), None);
    }
}
