//! Which node one session dials now, and which after that.
//!
//! Owns the order of preference and the balance of new clients. Does not remember anything: pins
//! come in as `pinned`, health as [`Standing`], nodes dialled in vain as `tried`.
//!
//! Invariants: a better [`Standing`] always wins; asking again with the last answer tried ends
//! after every candidate was offered once; a node that is [`Standing::Never`] is never offered.
//! Each candidate is read once, so standings may change meanwhile. Nothing is allocated.

use std::cmp::Reverse;
use std::sync::Arc;

use super::placement::{PlacementKey, Score, Subject};
use crate::config::model::Balance;

/// The most nodes of one pool that are looked at; what [`Positions`] has bits for.
pub const NODES_MAX: usize = 64;

/// The warmth of a node that has been up for long: its whole share of new sessions, in percent.
pub const WARM: u8 = 100;

/// What a node is good for at the moment, best first. Fits in an atomic by [`Standing::as_u8`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Standing {
    /// Active and up: takes sessions.
    Takes = 0,
    /// Active and in doubt: takes sessions; new clients rather go to one that is not.
    Suspect = 1,
    /// Active and up again, not yet for long enough: keeps its pinned clients, takes others only
    /// when nobody better is there.
    Held = 2,
    /// Draining, and up or in doubt: only when nobody better is there.
    Draining = 3,
    /// Active and not probed since it appeared: keeps its pinned clients, takes no new pins.
    Unproven = 4,
    /// Down: dialled only when nobody else is left. So is a draining node that was never probed.
    Down = 5,
    /// Disabled: not even then.
    Never = 6,
}

impl Standing {
    /// For an atomic.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// From an atomic; what was never stored there reads as [`Standing::Unproven`].
    #[must_use]
    pub const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Takes,
            1 => Self::Suspect,
            2 => Self::Held,
            3 => Self::Draining,
            5 => Self::Down,
            6 => Self::Never,
            _ => Self::Unproven,
        }
    }

    /// For metrics and the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Takes => "takes",
            Self::Suspect => "suspect",
            Self::Held => "held",
            Self::Draining => "draining",
            Self::Unproven => "unproven",
            Self::Down => "down",
            Self::Never => "never",
        }
    }

    /// Whether somebody may be pinned here anew.
    #[must_use]
    pub const fn takes_pins(self) -> bool {
        matches!(self, Self::Takes | Self::Suspect | Self::Held)
    }

    /// Whether a client pinned here stays, although others may be better.
    #[must_use]
    pub const fn keeps_pinned(self) -> bool {
        match self {
            Self::Takes | Self::Suspect | Self::Held | Self::Unproven => true,
            Self::Draining | Self::Down | Self::Never => false,
        }
    }
}

/// A node as a session sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its share relative to the others.
    pub weight: u32,
    /// What it is good for.
    pub standing: Standing,
    /// Its share of new sessions in percent: 100 unless it has just come back.
    pub warmth: u8,
    /// Sessions it has.
    pub sessions: u32,
}

/// A set of positions among the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions(u64);

impl Positions {
    /// None.
    pub const NONE: Self = Self(0);

    /// With `index` added; positions beyond [`NODES_MAX`] are not offered and change nothing.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        if index < NODES_MAX {
            Self(self.0 | 1 << index)
        } else {
            self
        }
    }

    /// Whether `index` is among them.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < NODES_MAX && self.0 & 1 << index != 0
    }

    /// Those of `candidates` that `is_such` selects.
    pub fn of<'a, T: 'a>(
        candidates: impl IntoIterator<Item = &'a T>,
        is_such: impl Fn(&T) -> bool,
    ) -> Self {
        let numbered = candidates.into_iter().enumerate();
        let such = numbered.filter(|(_, candidate)| is_such(candidate));
        such.fold(Self::NONE, |set, (index, _)| set.with(index))
    }

    /// How many they are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// What a session asks.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Key of placement.
    pub key: &'a PlacementKey,
    /// Who is to be placed. A partner whose `pin` is not `partner` comes as its prefix.
    pub subject: &'a Subject,
    /// How those without a pin are placed; partners always are by rendezvous.
    pub balance: Balance,
    /// Position of the node that the pin names.
    pub pinned: Option<usize>,
    /// A counter that grows by one for each session, for round-robin.
    pub turn: u64,
    /// What was dialled in vain.
    pub tried: Positions,
    /// Nodes that have their share of legacy partners already; others of the same standing are taken first.
    pub full: Positions,
}

impl Request<'_> {
    /// Whether a node that is not pinned is to be chosen rather than its equals: one that holds
    /// its share of legacy partners is not, and one that has just come back gets its part of those who
    /// are no partners, spread evenly over the turns.
    fn is_welcome(&self, index: usize, node: &Candidate<'_>) -> bool {
        if self.subject.is_partner() {
            return !self.full.contains(index);
        }
        let place = match self.balance {
            Balance::SourceHash => self.key.percentile(self.subject, node.name),
            Balance::LeastSessions | Balance::RoundRobin => golden(self.turn),
        };
        place < node.warmth
    }
}

/// A place from 0 to 99 for each turn; consecutive turns lie far apart.
fn golden(turn: u64) -> u8 {
    // 2^64 divided by the golden ratio: Knuth, The Art of Computer Programming 3, section 6.4.
    let spread = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u8::try_from((spread * 100) >> 32).unwrap_or(u8::MAX)
}

/// The node to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Position among the candidates.
    pub index: usize,
    /// Why this one.
    pub why: Why,
}

/// Why a node was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pin names it.
    Pinned,
    /// Placed anew; a pin may be made.
    Placed,
    /// Nobody is left but nodes that drain: to be said loudly.
    Draining,
    /// Nobody is left but nodes that were never probed: no pin is made.
    Unproven,
    /// Nobody is left but nodes that are down: to be said loudly; pins stay as they are.
    FailStatic,
}

/// The node to dial; `None` when all were tried or are disabled.
#[must_use]
pub fn choose<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    request: &Request<'_>,
) -> Option<Choice> {
    let mut seats: [Option<Candidate<'a>>; NODES_MAX] = [None; NODES_MAX];
    let mut count = 0;
    let mut best: Option<Standing> = None;
    let offered = candidates.into_iter().enumerate().take(NODES_MAX);
    for ((index, candidate), seat) in offered.zip(&mut seats) {
        count = index + 1;
        if candidate.standing == Standing::Never || request.tried.contains(index) {
            continue;
        }
        best = Some(best.map_or(candidate.standing, |best| best.min(candidate.standing)));
        *seat = Some(candidate);
    }
    let best = best?;
    if let Some(index) = request.pinned
        && let Some(Some(node)) = seats.get(index)
        && (node.standing == best || node.standing.keeps_pinned())
    {
        let why = if node.standing.keeps_pinned() {
            Why::Pinned
        } else {
            reason(best)
        };
        return Some(Choice { index, why });
    }
    let equals = seats
        .iter()
        .take(count)
        .enumerate()
        .filter_map(|(index, seat)| seat.map(|node| (index, node)))
        .filter(|(_, node)| node.standing == best);
    let welcome = equals
        .clone()
        .filter(|(index, node)| request.is_welcome(*index, node));
    let index = balance(welcome, request).or_else(|| balance(equals, request))?;
    Some(Choice {
        index,
        why: reason(best),
    })
}

/// Why a node of the best standing is chosen when no pin holds.
const fn reason(best: Standing) -> Why {
    match best {
        Standing::Takes | Standing::Suspect | Standing::Held => Why::Placed,
        Standing::Draining => Why::Draining,
        Standing::Unproven => Why::Unproven,
        Standing::Down | Standing::Never => Why::FailStatic,
    }
}

/// The one among equals.
fn balance<'a>(
    equals: impl Iterator<Item = (usize, Candidate<'a>)> + Clone,
    request: &Request<'_>,
) -> Option<usize> {
    let rendezvous = || {
        equals
            .clone()
            .max_by(|a, b| by_hash(a.1, request).cmp(&by_hash(b.1, request)))
            .map(|(index, _)| index)
    };
    if request.subject.is_partner() {
        return rendezvous();
    }
    match request.balance {
        Balance::SourceHash => rendezvous(),
        Balance::LeastSessions => equals
            .min_by(|(_, a), (_, b)| {
                let left = u64::from(a.sessions) * u64::from(b.weight);
                let right = u64::from(b.sessions) * u64::from(a.weight);
                left.cmp(&right)
                    .then_with(|| by_hash(*b, request).cmp(&by_hash(*a, request)))
            })
            .map(|(index, _)| index),
        Balance::RoundRobin => in_turn(equals, request.turn),
    }
}

/// Attraction by rendezvous; among equals the earlier name wins, on every appliance.
fn by_hash<'a>(node: Candidate<'a>, request: &Request<'_>) -> (Score, Reverse<&'a str>) {
    let score = request.key.score(request.subject, node.name, node.weight);
    (score, Reverse(&**node.name))
}

/// Each node `weight` times in a row, then the next.
fn in_turn<'a>(
    equals: impl Iterator<Item = (usize, Candidate<'a>)> + Clone,
    turn: u64,
) -> Option<usize> {
    let total: u64 = equals.clone().map(|(_, node)| u64::from(node.weight)).sum();
    let mut place = turn.checked_rem(total)?;
    for (index, node) in equals {
        match place.checked_sub(u64::from(node.weight)) {
            Some(rest) => place = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests;
