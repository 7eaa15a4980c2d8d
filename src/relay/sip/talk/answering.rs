//! What a client is told in the place of a node, and what is kept for that while its node may still answer.

use super::Talk;
use crate::inspect::sip::{Answer, Message};
use crate::relay::sip::RETRY_AFTER;
use crate::relay::sip::outstanding::{Key, Outstanding};

impl Talk<'_> {
    /// The client waits for the answer to a request. Where there is no memory for it, or for all that it waits for, its
    /// node's death will leave that to the client's own timers.
    pub(super) fn remember(&mut self, key: Key, message: &Message<'_>) {
        let answer = Answer::Unavailable {
            retry_after: RETRY_AFTER,
        };
        if self.gear().memory().leaves_half(ANSWER_ROOM) {
            let write = |text: &mut Vec<u8>| answer.write(message, fastrand::u64(..), text);
            let is_invite = message.method() == Some(INVITE);
            self.outstanding.begin(key, is_invite, write);
            self.count_outstanding();
        }
    }

    pub(super) fn count_outstanding(&mut self) {
        let held = self.outstanding.held();
        if held != self.counted.0 {
            self.counted = (held, None);
            let gear = self.gear();
            let has_room = gear.memory().leaves_half(held);
            self.counted.1 = has_room.then(|| gear.count(held));
            if self.counted.1.is_none() && held > ANSWER_ROOM {
                self.outstanding = Outstanding::default();
                self.counted = (0, None);
            }
        }
    }

    /// The node is gone: what it owes answers to is answered in its place, how many that were; what its own requests
    /// are answered goes nowhere. `is_within` a message of the client whose beginning it had: the rest goes nowhere.
    /// What waited for that node goes nowhere either, since it is answered with the others.
    pub(in crate::relay::sip) fn lose_node(&mut self, is_within: bool) -> usize {
        self.passage.lose_node(is_within);
        self.orphaned.take_over(&mut self.asked);
        self.answer_outstanding()
    }

    /// There is no node for what waits.
    pub(in crate::relay::sip) fn give_up_parked(&mut self) -> usize {
        self.passage.begin(false);
        self.answer_outstanding()
    }

    fn answer_outstanding(&mut self) -> usize {
        let count = self.outstanding.len();
        if count == 0 {
            return 0;
        }
        let (outstanding, refused) = (&mut self.outstanding, &mut self.refused);
        let (is_deferred, deferred) = (self.is_client_within, &mut self.deferred);
        let gear = &self.life.context().gear;
        let mut answer = |text: &mut Vec<u8>| {
            outstanding.answer(|key, answer| {
                text.extend(answer);
                if let Some(key) = key {
                    refused.add(key);
                }
            });
        };
        match is_deferred {
            true => answer(deferred),
            false => self.to_client.add(gear, answer),
        }
        let answer = Answer::Unavailable {
            retry_after: RETRY_AFTER,
        };
        self.slot().count_answers(answer, count as u64);
        self.count_outstanding();
        count
    }

    /// Tells the client what `write` appends, between the messages of its node.
    pub(super) fn say<A>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> A) -> A {
        match self.is_client_within {
            true => write(&mut self.deferred),
            false => self.to_client.add(&self.life.context().gear, write),
        }
    }
}

/// Whose final response is acknowledged.
pub(super) const INVITE: &str = "INVITE";
/// What an answer may take.
const ANSWER_ROOM: usize = 1024;
