//! Counters that only one thread writes and any thread reads.
//!
//! Each worker has a cache line of its own, so that counting is a plain load and store and no line
//! travels between cores per message. Readers see every value soon, and none of them out of thin
//! air; they must not rely on two counters agreeing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Moment;

/// A number that one thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning thread may call this.
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Takes `count` away. Only the owning thread may call this.
    pub fn subtract(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).saturating_sub(count), Relaxed);
    }

    /// The value as last seen.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts of one listener; `OUTCOMES` ways for a session to end.
#[derive(Debug)]
#[repr(align(64))]
pub struct ListenerSlot<const OUTCOMES: usize> {
    /// Sessions now.
    pub active: Counter,
    /// Bytes from clients to nodes.
    pub bytes_up: Counter,
    /// Bytes from nodes to clients.
    pub bytes_down: Counter,
    /// Ended sessions by outcome.
    pub ended: [Counter; OUTCOMES],
    /// Sessions whose first bytes were sent again to another node.
    pub replayed: Counter,
    /// Responses of HTTP by class: 1xx to 5xx.
    pub responses: [Counter; 5],
}

impl<const OUTCOMES: usize> ListenerSlot<OUTCOMES> {
    /// One more response of HTTP.
    pub fn count_response(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.responses.get(class)) {
            counter.add(1);
        }
    }
}

impl<const OUTCOMES: usize> Default for ListenerSlot<OUTCOMES> {
    fn default() -> Self {
        Self {
            active: Counter::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            ended: std::array::from_fn(|_| Counter::default()),
            replayed: Counter::default(),
            responses: Default::default(),
        }
    }
}

/// What one worker sees of one endpoint: its sessions, and when it was asked and heard.
///
/// Times are the worker's coarse ones. A question is a client's byte sent while nothing was
/// unanswered; any byte from the endpoint answers them all.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointSlot {
    /// Sessions now, dials included.
    pub sessions: Counter,
    asked: AtomicU64,
    heard: AtomicU64,
}

impl EndpointSlot {
    /// A client's byte was sent to the endpoint. Only the owning thread may call this.
    pub fn ask(&self, now: Moment) {
        if self.asked.load(Relaxed) <= self.heard.load(Relaxed) {
            self.asked.store(now.as_micros(), Relaxed);
        }
    }

    /// A byte came from the endpoint. Only the owning thread may call this.
    pub fn hear(&self, now: Moment) {
        self.heard.store(now.as_micros(), Relaxed);
    }

    /// Since when a question is unanswered, and when the endpoint was last heard.
    #[must_use]
    pub fn traffic(&self) -> (Option<Moment>, Option<Moment>) {
        let (asked, heard) = (self.asked.load(Relaxed), self.heard.load(Relaxed));
        let asked_at = (asked > heard).then_some(Moment::from_micros(asked));
        let heard_at = (heard > 0).then_some(Moment::from_micros(heard));
        (asked_at, heard_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unanswered_question_stands_until_the_endpoint_is_heard() {
        let slot = EndpointSlot::default();
        assert_eq!(slot.traffic(), (None, None));
        slot.ask(Moment::from_micros(10));
        slot.ask(Moment::from_micros(20));
        assert_eq!(slot.traffic().0, Some(Moment::from_micros(10)));
        slot.hear(Moment::from_micros(30));
        assert_eq!(slot.traffic(), (None, Some(Moment::from_micros(30))));
        slot.ask(Moment::from_micros(40));
        assert_eq!(slot.traffic().0, Some(Moment::from_micros(40)));
    }
}
