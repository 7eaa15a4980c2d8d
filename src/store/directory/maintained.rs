//! The administrator's word on a node under maintenance, and what it was before.
//!
//! Pure: whoever keeps the words brings the time.

use super::{Administered, Maintenance, Wanted};
use crate::config::model::NodeState;

impl Administered {
    /// What is wanted of `node` of `pool` from the beginning of its maintenance on: it drains, if it took
    /// sessions. It was `state` so far, by `word` or by the file. One that has begun goes on.
    #[must_use]
    pub fn maintained(
        (pool, node): (&str, &str),
        word: Option<Self>,
        state: NodeState,
        begun: &Maintenance,
    ) -> Self {
        let begin = |before: Option<&Self>| {
            let before = before.cloned().map(Box::new);
            Some(Maintenance {
                before,
                ..begun.clone()
            })
        };
        match word {
            Some(word) if word.maintenance.is_some() => word,
            Some(word) if word.state != Wanted::Active => Self {
                maintenance: begin(Some(&word)),
                ..word
            },
            word => Self {
                pool: pool.into(),
                node: node.into(),
                state: match state {
                    NodeState::Active | NodeState::Draining => Wanted::Draining,
                    NodeState::Disabled => Wanted::Disabled,
                },
                since: begun.since,
                by: begun.by.clone(),
                reason: begun.reason.clone(),
                deadline: None,
                maintenance: begin(word.as_ref()),
            },
        }
    }

    /// What is wanted once the maintenance is undone: what was before; none: what the file says.
    #[must_use]
    pub fn as_before(word: Option<Self>) -> Option<Self> {
        match word {
            Some(Self {
                maintenance: Some(maintenance),
                ..
            }) => maintenance.before.map(|before| *before),
            other => other,
        }
    }

    /// Of `words` that of another node than `node`, among those that `is_concerned`, which is under maintenance.
    pub fn in_the_way<'w>(
        words: &'w [Self],
        node: &str,
        is_concerned: impl Fn(&Self) -> bool,
    ) -> Option<&'w Self> {
        words
            .iter()
            .find(|word| word.node != node && word.maintenance.is_some() && is_concerned(word))
    }
}
