//! What many sessions are doing, told in a few numbers.

use std::ops::{Add, AddAssign};

use super::Session;
use crate::clock::Moment;

/// How many sessions something concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// All of them.
    pub sessions: usize,
    /// Those of SIP among them, which go on with another node where one takes them.
    pub sip: usize,
}

impl Concerned {
    /// How many end by losing their node.
    #[must_use]
    pub const fn ending(self) -> usize {
        self.sessions.saturating_sub(self.sip)
    }
}

impl Add for Concerned {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            sessions: self.sessions + more.sessions,
            sip: self.sip + more.sip,
        }
    }
}

impl AddAssign for Concerned {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl<'a> FromIterator<&'a Session> for Concerned {
    fn from_iter<I: IntoIterator<Item = &'a Session>>(sessions: I) -> Self {
        let each = sessions.into_iter().map(|session| Self {
            sessions: 1,
            sip: usize::from(session.rehomes.get()),
        });
        each.fold(Self::default(), Self::add)
    }
}

/// What some sessions are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many they are.
    pub sessions: usize,
    /// To how many of them their node has sent bytes.
    pub answered: usize,
    /// When a byte last passed in one of them, either way.
    pub active_at: Option<Moment>,
    /// Those two clients that have waited longest for their node, which had answered them before: told
    /// apart by a number, and since when.
    pub waiting: Vec<(u32, Moment)>,
    /// When a worker was last late to look at its connections.
    pub late: Option<Moment>,
}

impl Survey {
    pub(super) fn take(&mut self, session: &Session) {
        self.sessions += 1;
        self.answered += usize::from(session.is_answered.get());
        let active_at = session.active_at.get();
        self.active_at = self.active_at.max(Some(active_at));
        let (asked, heard) = (session.asked_at.get(), session.heard_at.get());
        if session.is_answered.get() && asked > heard {
            self.wait(session.client.get(), asked);
        }
    }

    fn wait(&mut self, client: u32, since: Moment) {
        match self.waiting.iter_mut().find(|(known, _)| *known == client) {
            Some((_, known)) => *known = since.min(*known),
            None => self.waiting.push((client, since)),
        }
        self.waiting.sort_by_key(|(_, since)| *since);
        self.waiting.truncate(2);
    }

    /// Since when the client waits that has waited longest, or next to longest, for 0 and 1.
    #[must_use]
    pub fn waits_since(&self, place: usize) -> Option<Moment> {
        self.waiting.get(place).map(|(_, since)| *since)
    }

    /// Adds what other sessions are doing.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.answered += other.answered;
        self.active_at = self.active_at.max(other.active_at);
        self.late = self.late.max(other.late);
        for (client, since) in &other.waiting {
            self.wait(*client, *since);
        }
    }
}
