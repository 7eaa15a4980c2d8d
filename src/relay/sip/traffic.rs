//! Counts of messages, by listener and partner.
//!
//! Each worker counts in cache lines of its own, by plain loads and stores. A lock is taken where a session begins or
//! gets a name, to find what it counts in. Names come from the configuration, what is counted from closed lists:
//! nothing that a peer sends becomes a label.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::inspect::sip::Answer;
use crate::telemetry::counters::Counter;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

impl Way {
    /// Its label.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Up, "up"), (Self::Down, "down")];

    const fn index(self) -> usize {
        self as usize
    }
}

/// Methods that are counted by name; the last is any other. RFC 3261, 3262, 3265, 3311, 3428, 3515, 3903, 6086;
/// `[MS-SIPRE]` has SERVICE and BENOTIFY, `[MS-CONMGMT]` NEGOTIATE.
pub const METHODS: [&str; 18] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "INFO",
    "UPDATE",
    "PRACK",
    "REFER",
    "PUBLISH",
    "SERVICE",
    "BENOTIFY",
    "NEGOTIATE",
    "other",
];

/// Codes of responses that are counted by themselves, beside their class.
pub const CODES: [u16; 8] = [403, 404, 408, 480, 486, 488, 503, 504];

/// What Pinfold answers itself.
pub const ANSWERS: [u16; 6] = [400, 403, 413, 488, 503, 513];

/// Classes of responses.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

/// What one worker counts of one partner on one listener.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Slot {
    requests: [[Counter; METHODS.len()]; 2],
    classes: [[Counter; CLASSES.len()]; 2],
    codes: [[Counter; CODES.len()]; 2],
    answers: [Counter; ANSWERS.len()],
    rehomed: Counter,
    opaque: Counter,
}

impl Slot {
    /// A request with `method` has come.
    pub fn count_request(&self, way: Way, method: &str) {
        let known = METHODS.iter().position(|known| *known == method);
        let [.., other] = &self.requests[way.index()];
        let counter = known.and_then(|at| self.requests[way.index()].get(at));
        counter.unwrap_or(other).add(1);
    }

    /// A response with `code` has come, or was given.
    pub fn count_response(&self, way: Way, code: u16) {
        let class = usize::from(code / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.classes[way.index()].get(class)) {
            counter.add(1);
        }
        if let Some(at) = CODES.iter().position(|known| *known == code) {
            self.codes[way.index()][at].add(1);
        }
    }

    /// Pinfold has answered so itself `times` times.
    pub fn count_answers(&self, answer: Answer, times: u64) {
        let code = answer.code();
        if let Some(at) = ANSWERS.iter().position(|known| *known == code) {
            self.answers[at].add(times);
        }
        (0..times).for_each(|_| self.count_response(Way::Down, code));
    }

    /// A session goes on with another node.
    pub fn count_rehomed(&self) {
        self.rehomed.add(1);
    }

    /// A session is relayed without being looked at any more.
    pub fn count_opaque(&self) {
        self.opaque.add(1);
    }
}

/// What is counted of one partner on one listener, by worker.
#[derive(Clone, Debug)]
pub struct Counts(Arc<[Slot]>);

impl Counts {
    /// What `worker` counts in.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &Slot {
        &self.0[worker % self.0.len()]
    }

    /// Requests with the method at `at` of [`METHODS`].
    #[must_use]
    pub fn requests(&self, way: Way, at: usize) -> u64 {
        self.sum(|slot| slot.requests[way.index()].get(at))
    }

    /// Responses of the class at `at` of [`CLASSES`].
    #[must_use]
    pub fn responses(&self, way: Way, at: usize) -> u64 {
        self.sum(|slot| slot.classes[way.index()].get(at))
    }

    /// Responses with the code at `at` of [`CODES`].
    #[must_use]
    pub fn codes(&self, way: Way, at: usize) -> u64 {
        self.sum(|slot| slot.codes[way.index()].get(at))
    }

    /// Answers of Pinfold with the code at `at` of [`ANSWERS`].
    #[must_use]
    pub fn answers(&self, at: usize) -> u64 {
        self.sum(|slot| slot.answers.get(at))
    }

    /// How often a session went on with another node.
    #[must_use]
    pub fn rehomed(&self) -> u64 {
        self.sum(|slot| Some(&slot.rehomed))
    }

    /// Sessions that were relayed without being looked at.
    #[must_use]
    pub fn opaque(&self) -> u64 {
        self.sum(|slot| Some(&slot.opaque))
    }

    fn sum<'a>(&'a self, of: impl Fn(&'a Slot) -> Option<&'a Counter>) -> u64 {
        self.0.iter().filter_map(of).map(Counter::value).sum()
    }
}

/// Whose messages: the names of a listener and of a partner, which is empty for strangers.
type Whose = (Arc<str>, Arc<str>);

/// The counts of the process.
#[derive(Debug)]
pub struct Traffic {
    workers: usize,
    counts: Mutex<BTreeMap<Whose, Counts>>,
}

impl Traffic {
    /// Nothing has come yet; so many workers count.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            counts: Mutex::default(),
        }
    }

    /// What is counted of `partner` on `listener`.
    #[must_use]
    pub fn of(&self, listener: &Arc<str>, partner: Arc<str>) -> Counts {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = counts.entry((Arc::clone(listener), partner));
        let made = || Counts((0..self.workers).map(|_| Slot::default()).collect());
        entry.or_insert_with(made).clone()
    }

    /// All counts, by whose they are.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Whose, Counts> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_counts_for_itself_and_all_are_summed_up() {
        let traffic = Traffic::new(2);
        let listener: Arc<str> = Arc::from("federation");
        let counts = traffic.of(&listener, Arc::from("fabrikam"));
        let at = |method| METHODS.iter().position(|known| *known == method).unwrap();
        for (worker, method) in [
            (0, "INVITE"),
            (1, "INVITE"),
            (1, "Invite"),
            (0, "NEWMETHOD"),
        ] {
            counts.slot(worker).count_request(Way::Up, method);
        }
        assert_eq!(counts.requests(Way::Up, at("INVITE")), 2);
        assert_eq!(counts.requests(Way::Up, at("other")), 2, "case matters");
        assert_eq!(counts.requests(Way::Down, at("INVITE")), 0);
        let again = traffic.of(&listener, Arc::from("fabrikam"));
        again.slot(0).count_response(Way::Down, 486);
        again.slot(0).count_response(Way::Down, 799);
        let unavailable = Answer::Unavailable { retry_after: 1 };
        again.slot(1).count_answers(unavailable, 2);
        let classes: Vec<_> = (0..6).map(|at| counts.responses(Way::Down, at)).collect();
        assert_eq!(classes, [0, 0, 0, 1, 2, 0]);
        assert_eq!(
            (counts.codes(Way::Down, 4), counts.codes(Way::Down, 6)),
            (1, 2)
        );
        assert_eq!(counts.answers(4), 2);
        assert_eq!(traffic.all().len(), 1);
        assert_eq!(traffic.of(&listener, Arc::default()).answers(4), 0);
    }
}
