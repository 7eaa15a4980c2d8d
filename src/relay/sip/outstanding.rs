//! Requests that nobody has finally answered: RFC 3261, section 17.
//!
//! Owns what a client is told of its requests when their node is gone: the answer is written down when the request
//! passes, one text behind the other, so that a busy session allocates nothing for a message and an idle one holds
//! nothing. Invariants: never more than [`REQUESTS_MAX`] requests and [`TEXT_MAX`] bytes of answers that may still be
//! given; the oldest is forgotten first, which its client's own timers then end. No timers.

use std::collections::VecDeque;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::inspect::sip::Message;

/// Requests of one client at a time.
pub(super) const REQUESTS_MAX: usize = 1024;
/// Bytes of their answers.
pub(super) const TEXT_MAX: usize = 256 * 1024;
/// Room that is kept when nothing is outstanding.
const KEPT_MAX: usize = 2 * 1024;

/// By what a response is known to belong to a request: branch, sender and method of its transaction (RFC 3261,
/// section 17.1.3), hashed. Where a branch is missing, what RFC 2543 has instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// The transaction of `message`. That of an ACK is the INVITE that it acknowledges (section 17.2.3).
    pub(super) fn of(message: &Message<'_>) -> Self {
        let mut hasher = SipHasher13::new();
        let mut add = |part: &[u8]| {
            hasher.write_usize(part.len());
            hasher.write(part);
        };
        let via = message.via();
        let cseq = message.cseq();
        let method = match cseq.map_or("", |cseq| cseq.method) {
            "ACK" => "INVITE",
            method => method,
        };
        add(method.as_bytes());
        add(via.map_or(b"", |via| via.sent_by));
        match via.and_then(|via| via.branch()) {
            Some(branch) => add(branch),
            None => {
                add(message.call_id().unwrap_or_default());
                add(&cseq.map_or(0, |cseq| cseq.number).to_be_bytes());
            }
        }
        Self(hasher.finish())
    }
}

/// A client's requests, and what it is told of each if the node is gone.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Oldest first, as their texts are.
    entries: VecDeque<Entry>,
    texts: Vec<u8>,
    /// Bytes of `texts` that belong to no entry any more.
    wasted: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    /// Its answer is acknowledged.
    is_invite: bool,
    begin: usize,
    length: usize,
}

impl Outstanding {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.texts.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// A request passes, whose answer `write` appends. One that comes again is the same request.
    pub(super) fn begin(
        &mut self,
        key: Key,
        is_invite: bool,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        if self.position(key).is_some() {
            return;
        }
        let begin = self.texts.len();
        let is_written = write(&mut self.texts);
        let length = self.texts.len() - begin;
        if !is_written || length > TEXT_MAX {
            self.texts.truncate(begin);
            return;
        }
        self.entries.push_back(Entry {
            key,
            is_invite,
            begin,
            length,
        });
        while self.entries.len() > REQUESTS_MAX || self.texts.len() - self.wasted > TEXT_MAX {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.wasted += oldest.length;
        }
        self.tidy();
    }

    /// It was finally answered; whether it was known.
    pub(super) fn end(&mut self, key: Key) -> bool {
        let Some(entry) = self.position(key).and_then(|at| self.entries.remove(at)) else {
            return false;
        };
        self.wasted += entry.length;
        self.tidy();
        true
    }

    /// Nobody will answer any more: hands out each answer, oldest first, and its key where it will be acknowledged.
    pub(super) fn answer(&mut self, mut give: impl FnMut(Option<Key>, &[u8])) {
        let texts = std::mem::take(&mut self.texts);
        for entry in self.entries.drain(..) {
            let answer = texts.get(entry.begin..entry.begin + entry.length);
            give(
                Some(entry.key).filter(|_| entry.is_invite),
                answer.unwrap_or_default(),
            );
        }
        *self = Self::default();
    }

    fn position(&self, key: Key) -> Option<usize> {
        self.entries.iter().position(|entry| entry.key == key)
    }

    fn tidy(&mut self) {
        if self.entries.is_empty() {
            self.wasted = 0;
            self.texts.clear();
            if self.held() > KEPT_MAX {
                *self = Self::default();
            }
        } else if self.wasted > KEPT_MAX && self.wasted > self.texts.len() / 2 {
            let mut end = 0;
            for entry in &mut self.entries {
                let from = entry.begin;
                self.texts.copy_within(from..from + entry.length, end);
                entry.begin = end;
                end += entry.length;
            }
            self.texts.truncate(end);
            self.wasted = 0;
        }
    }
}

/// Keys, of which the oldest is forgotten when there are too many.
#[derive(Debug, Default)]
pub(super) struct Keys(VecDeque<Key>);

impl Keys {
    /// Many more than a peer has under way, and all that may be refused at once.
    pub(super) const MAX: usize = REQUESTS_MAX;

    /// Remembers one more.
    pub(super) fn add(&mut self, key: Key) {
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(key);
    }

    /// Whether it is there.
    pub(super) fn has(&self, key: Key) -> bool {
        self.0.contains(&key)
    }

    /// Forgets it; whether it was there.
    pub(super) fn take(&mut self, key: Key) -> bool {
        let at = self.0.iter().position(|known| *known == key);
        let was_there = at.and_then(|at| self.0.remove(at)).is_some();
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        was_there
    }

    /// Takes over all that `other` has.
    pub(super) fn take_over(&mut self, other: &mut Self) {
        for key in std::mem::take(other).0 {
            self.add(key);
        }
    }
}

#[cfg(test)]
#[path = "outstanding/tests.rs"]
mod tests;
