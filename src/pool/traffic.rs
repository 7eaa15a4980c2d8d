//! What traffic alone says of a node whose probes cannot see whether its process is awake.
//!
//! A frozen process has a kernel that goes on accepting connections and acknowledging bytes, so neither a
//! connection nor TCP itself tells it from a node that has nothing to say. Its clients do, if there are
//! several, and if somebody else answers meanwhile: then it is not the clients, not the network, and not us.

use std::time::Duration;

use crate::clock::Moment;

/// The traffic of one node as its workers see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Client addresses that have sent bytes since the node last sent them any, and that it had answered
    /// before; counted up to 2.
    pub waiting: usize,
    /// When the first of those bytes were sent.
    pub asked: Option<Moment>,
    /// When a byte last came from the node, to anybody.
    pub heard: Option<Moment>,
}

impl Traffic {
    /// Since when nothing at all has come although somebody waits.
    #[must_use]
    pub fn silent_since(&self) -> Option<Moment> {
        self.asked
            .map(|asked| self.heard.map_or(asked, |heard| heard.max(asked)))
    }

    /// Whether the node is mute at `now`, where one of its siblings was last heard at `sibling_heard`.
    #[must_use]
    pub fn is_mute(&self, sibling_heard: Option<Moment>, now: Moment) -> bool {
        self.waiting >= 2
            && self.silent_since().is_some_and(|since| {
                now.since(since) >= MUTE_AFTER && sibling_heard.is_some_and(|heard| heard > since)
            })
    }
}

/// Longer than a node thinks about several clients at once, and short enough that all is over within three
/// seconds.
pub const MUTE_AFTER: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    const FROZEN: Traffic = Traffic {
        waiting: 2,
        asked: Some(Moment::from_micros(1_000_000)),
        heard: Some(Moment::from_micros(999_000)),
    };

    #[test]
    fn several_clients_in_vain_while_a_sibling_answers_are_enough() {
        assert!(FROZEN.is_mute(Some(ms(2000)), ms(2500)));
        assert!(
            !FROZEN.is_mute(Some(ms(2000)), ms(2499)),
            "not before its time"
        );
    }

    #[test]
    fn one_client_proves_nothing() {
        let one = Traffic {
            waiting: 1,
            ..FROZEN
        };
        assert!(!one.is_mute(Some(ms(90_000)), ms(90_000)));
    }

    #[test]
    fn when_nobody_answers_it_is_not_the_node() {
        assert!(!FROZEN.is_mute(None, ms(90_000)));
        assert!(
            !FROZEN.is_mute(Some(ms(900)), ms(90_000)),
            "the sibling was heard before only"
        );
    }

    #[test]
    fn a_byte_to_anybody_begins_the_time_anew() {
        let heard = Traffic {
            heard: Some(ms(2000)),
            ..FROZEN
        };
        assert!(!heard.is_mute(Some(ms(3400)), ms(3499)));
        assert!(heard.is_mute(Some(ms(3400)), ms(3500)));
    }

    #[test]
    fn a_quiet_node_of_which_nobody_wants_anything_is_not_mute() {
        let quiet = Traffic {
            waiting: 0,
            asked: None,
            heard: Some(ms(5)),
        };
        assert!(!quiet.is_mute(Some(ms(90_000)), ms(90_000)));
    }
}
