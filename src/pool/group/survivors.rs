//! Whether anybody has outlived a member that is down.
//!
//! A survivor must have given a sign of life *after* the first thing that spoke against the
//! victim: when a switch dies, the nodes behind it die together, and the one that happens to be
//! condemned first must not be cut in favour of others that are just as dead.

use super::{Member, Seat};
use crate::config::model::NodeState;
use crate::pool::health::State;

/// What the siblings of a victim say, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outlook {
    /// An active one has outlived it.
    Survivor,
    /// All active ones are down, and one that drains has outlived it; or the victim was removed,
    /// and so was one that has outlived it.
    Draining,
    /// One may have; probes will tell.
    Undecided,
    /// All are down or disabled, or there are none.
    Nobody,
}

/// Looks at the siblings of the seat at `victim`: at active ones, and only where those are all down
/// at draining ones. Removed ones save nobody, since nobody can go there; but they can tell that
/// one of their own is dead while we are well, and nobody waits for a place on that one.
pub(super) fn outlook(seats: &[Seat], victim: usize) -> Outlook {
    let among = |is_such: &dyn Fn(&Member) -> bool| {
        let siblings = seats.iter().enumerate();
        siblings
            .filter(|(index, seat)| *index != victim && is_such(&seat.member))
            .map(|(_, sibling)| {
                seats
                    .get(victim)
                    .map_or(Outlook::Nobody, |seat| compare(seat, sibling))
            })
            .min()
            .unwrap_or(Outlook::Nobody)
    };
    let stands = |admin| move |member: &Member| !member.is_removed && member.admin == admin;
    let removed = || {
        let is_victim_removed = seats.get(victim).is_some_and(|seat| seat.member.is_removed);
        among(&|member| is_victim_removed && member.is_removed)
    };
    match among(&stands(NodeState::Active)) {
        Outlook::Nobody => match among(&stands(NodeState::Draining)).min(removed()) {
            Outlook::Survivor => Outlook::Draining,
            other @ (Outlook::Draining | Outlook::Undecided | Outlook::Nobody) => other,
        },
        decided @ (Outlook::Survivor | Outlook::Draining | Outlook::Undecided) => decided,
    }
}

fn compare(victim: &Seat, sibling: &Seat) -> Outlook {
    match sibling.state() {
        State::Down => Outlook::Nobody,
        State::Unproven | State::Suspect => Outlook::Undecided,
        State::Up => {
            let against = victim.first_evidence();
            let outlived = sibling.health.last_life() > against;
            if outlived {
                Outlook::Survivor
            } else {
                Outlook::Undecided
            }
        }
    }
}
