//! What many sessions are doing, told in a few numbers.

use super::Session;
use crate::clock::Moment;

/// What some sessions are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many they are.
    pub sessions: usize,
    /// To how many of them their node has sent bytes.
    pub answered: usize,
    /// When a byte last passed in one of them, either way.
    pub active_at: Option<Moment>,
    /// Two of the clients who have sent bytes since their node, which had answered them before, sent any.
    pub waiting: Vec<u32>,
    /// When the first of those bytes were sent.
    pub asked_at: Option<Moment>,
}

impl Survey {
    pub(super) fn take(&mut self, session: &Session) {
        self.sessions += 1;
        self.answered += usize::from(session.is_answered.get());
        let active_at = session.active_at.get();
        self.active_at = self.active_at.max(Some(active_at));
        let (asked, heard) = (session.asked_at.get(), session.heard_at.get());
        if session.is_answered.get() && asked > heard {
            self.wait(session.client.get());
            self.asked_at = Some(self.asked_at.map_or(asked, |first| first.min(asked)));
        }
    }

    fn wait(&mut self, client: u32) {
        if self.waiting.len() < 2 && !self.waiting.contains(&client) {
            self.waiting.push(client);
        }
    }

    /// Adds what other sessions are doing.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.answered += other.answered;
        self.active_at = self.active_at.max(other.active_at);
        self.asked_at = self.asked_at.into_iter().chain(other.asked_at).min();
        other.waiting.iter().for_each(|client| self.wait(*client));
    }
}
