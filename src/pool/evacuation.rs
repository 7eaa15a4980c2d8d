//! Where partners go whose node is taken away: by its death, or by an administrator.
//!
//! Pure. Does not move anybody. Invariant: nobody is sent where nobody is to be placed; then they stay.

use super::placement::{PlacementKey, Subject};
use super::select::{Candidate, Choice, Positions, Request, Standing, WARM, Why, choose};
use crate::config::model::Balance;

/// Position of the node that takes `subject` when `leaving` is gone; `full` have their share of its kind.
/// `None`: nobody else is to take it.
pub fn refuge<'a>(
    key: &PlacementKey,
    subject: &Subject,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    leaving: &str,
    full: Positions,
) -> Option<usize> {
    let candidates = candidates.into_iter().map(|candidate| Candidate {
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
    let request = Request {
        key,
        subject,
        balance: Balance::SourceHash,
        pinned: None,
        turn: 0,
        tried: Positions::NONE,
        full,
    };
    let choice = choose(candidates, &request).filter(is_home)?;
    Some(choice.index)
}

fn is_home(choice: &Choice) -> bool {
    choice.why == Why::Placed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn go(standings: &[Standing], leaving: &str, full: Positions) -> Option<usize> {
        let names: Vec<Arc<str>> = (0..standings.len())
            .map(|at| format!("edge{at}").into())
            .collect();
        let candidates = names
            .iter()
            .zip(standings)
            .map(|(name, standing)| Candidate {
                name,
                weight: 1,
                standing: *standing,
                warmth: 0,
                sessions: 9,
            });
        let subject = Subject::Partner("fabrikam".into());
        refuge(
            &PlacementKey::from_bytes([7; 16]),
            &subject,
            candidates,
            leaving,
            full,
        )
    }

    #[test]
    fn a_partner_goes_to_another_node_that_takes_sessions_or_stays() {
        use Standing::{Down, Draining, Never, Suspect, Takes, Unproven};
        assert_eq!(go(&[Takes, Takes], "edge0", Positions::NONE), Some(1));
        assert_eq!(go(&[Takes, Takes], "edge1", Positions::NONE), Some(0));
        assert_eq!(go(&[Takes, Suspect], "edge0", Positions::NONE), Some(1));
        for nobody in [Down, Draining, Never, Unproven] {
            assert_eq!(
                go(&[Takes, nobody], "edge0", Positions::NONE),
                None,
                "{nobody:?}"
            );
        }
        assert_eq!(go(&[Takes], "edge0", Positions::NONE), None);
    }

    #[test]
    fn a_node_with_its_share_is_the_last_that_is_taken() {
        use Standing::Takes;
        let full = Positions::NONE.with(1);
        assert_eq!(go(&[Takes, Takes, Takes], "edge0", full), Some(2));
        assert_eq!(
            go(&[Takes, Takes], "edge0", full),
            Some(1),
            "rather than nobody"
        );
    }
}
