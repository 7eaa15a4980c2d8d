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
    /// When the first client asked that waits for an answer now, of those that were answered before.
    pub asked: Option<Moment>,
    /// When the first one did that comes from another address.
    pub also_asked: Option<Moment>,
    /// When a byte last came from the node, to anybody.
    pub heard: Option<Moment>,
    /// When we ourselves were last late to look: what was silent before may be our own doing.
    pub late: Option<Moment>,
}

impl Traffic {
    /// Since when nothing at all has come although somebody waits, and although we listened.
    #[must_use]
    pub fn silent_since(&self) -> Option<Moment> {
        let asked = self.asked?;
        [Some(asked), self.heard, self.late]
            .into_iter()
            .flatten()
            .max()
    }

    /// Whether the node is mute at `now`, where one of its siblings was last heard at `sibling_heard`. The
    /// second client must have waited for a while as well: a node may be quiet, and one client ask in vain for
    /// long, without being dead when the next one asks.
    #[must_use]
    pub fn is_mute(&self, sibling_heard: Option<Moment>, now: Moment) -> bool {
        let Some(since) = self.silent_since() else {
            return false;
        };
        now.since(since) >= MUTE_AFTER
            && self
                .also_asked
                .is_some_and(|at| now.since(at) >= ALSO_AFTER)
            && sibling_heard.is_some_and(|heard| heard > since)
    }
}

/// Longer than a node thinks about several clients at once, and short enough that all is over within three
/// seconds.
pub const MUTE_AFTER: Duration = Duration::from_millis(1500);

/// And the second one has waited for so long.
const ALSO_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    const FROZEN: Traffic = Traffic {
        asked: Some(Moment::from_micros(1_000_000)),
        also_asked: Some(Moment::from_micros(1_400_000)),
        heard: Some(Moment::from_micros(999_000)),
        late: None,
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
            also_asked: None,
            ..FROZEN
        };
        assert!(!one.is_mute(Some(ms(90_000)), ms(90_000)));
        let just_asked = Traffic {
            also_asked: Some(ms(89_001)),
            ..FROZEN
        };
        assert!(!just_asked.is_mute(Some(ms(90_000)), ms(90_000)));
        assert!(just_asked.is_mute(Some(ms(90_000)), ms(90_001)));
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
    fn silence_from_before_we_were_late_ourselves_does_not_count() {
        let late = Traffic {
            late: Some(ms(2000)),
            ..FROZEN
        };
        assert!(!late.is_mute(Some(ms(3000)), ms(3499)));
        assert!(
            !late.is_mute(Some(ms(1999)), ms(9000)),
            "nor does a sibling's word"
        );
        assert!(late.is_mute(Some(ms(3000)), ms(3500)));
    }

    #[test]
    fn a_quiet_node_of_which_nobody_wants_anything_is_not_mute() {
        let quiet = Traffic {
            asked: None,
            also_asked: None,
            heard: Some(ms(5)),
            late: None,
        };
        assert!(!quiet.is_mute(Some(ms(90_000)), ms(90_000)));
    }
}
