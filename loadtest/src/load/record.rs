//! What a load lives through.
//!
//! Owns counting and timing. One thread writes, another reads at the edges of the window that
//! counts: the lock is free whenever a message takes it, which costs tens of nanoseconds beside the
//! microseconds of its system calls.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::latency::Latency;
use super::partners::Life;
use crate::partner::Watch;

/// When connections that had been answered ended, by the node that had answered them.
pub type Ends = BTreeMap<String, Vec<Instant>>;

/// Ends of one node, and nodes, that are remembered: a balancer that loses more has gone mad.
const ENDS_MAX: usize = 100_000;
const NODES_MAX: usize = 1_000;

/// What a load counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A message and its answer.
    RoundTrip,
    /// A byte of payload.
    Byte,
    /// A connection, from its beginning to its end.
    Connection,
    /// A session that stands.
    Session,
    /// A datagram and its answer.
    Packet,
}

/// What can go wrong for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The connection was refused.
    Refused,
    /// It was reset.
    Reset,
    /// It ended in order, though there was more to say.
    Closed,
    /// Nothing came in time.
    Silent,
    /// Another node answered than before on the same connection.
    WrongNode,
    /// The answer was not the one to the question.
    WrongBytes,
    /// The message was due and could not be sent.
    Unsent,
    /// TLS began with another handshake than asked for: whole instead of resumed, or the other way round.
    Handshake,
    /// This machine is short of descriptors or ports: not the balancer's fault.
    Ours,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Reset,
        Self::Closed,
        Self::Silent,
        Self::WrongNode,
        Self::WrongBytes,
        Self::Unsent,
        Self::Handshake,
        Self::Ours,
    ];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::WrongNode => "wrong_node",
            Self::WrongBytes => "wrong_bytes",
            Self::Unsent => "unsent",
            Self::Handshake => "handshake",
            Self::Ours => "ours",
        }
    }

    /// What an error of a socket means.
    #[must_use]
    pub fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "io::ErrorKind is open-ended"
        )]
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted => Self::Reset,
            Kind::UnexpectedEof => Self::Closed,
            Kind::TimedOut => Self::Silent,
            Kind::InvalidData => Self::WrongBytes,
            _ => Self::Ours,
        }
    }
}

/// The record of one load.
#[derive(Debug)]
pub struct Record {
    name: String,
    unit: Unit,
    units: AtomicU64,
    standing: AtomicU64,
    is_settled: AtomicBool,
    detail: Mutex<Detail>,
}

#[derive(Debug, Default)]
struct Detail {
    latency: Option<Latency>,
    /// When what is not answered yet was due, and how much was due then.
    waiting: BTreeMap<Instant, u32>,
    troubles: BTreeMap<Trouble, u64>,
    ends: Ends,
    partners: Vec<Watch>,
}

impl Record {
    pub(super) fn new(name: &str, unit: Unit) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            units: AtomicU64::new(0),
            standing: AtomicU64::new(0),
            is_settled: AtomicBool::new(false),
            detail: Mutex::default(),
        }
    }

    /// The load's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it counts.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }

    /// So many units are done since the start.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units.load(Relaxed)
    }

    /// So many sessions stand.
    #[must_use]
    pub fn standing(&self) -> u64 {
        self.standing.load(Relaxed)
    }

    /// Whether what comes before the work is done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Relaxed)
    }

    /// For `length` from `at` on latencies count; troubles and ends count from now on.
    pub fn open_window(&self, at: Instant, length: Duration) {
        let mut detail = self.detail();
        detail.latency = Some(Latency::new(at, length));
        detail.troubles.clear();
        detail.ends.clear();
        detail.partners.iter().for_each(|it| it.open_window(at));
    }

    /// Takes what the window has gathered. Whoever waits a moment after its end has the answers to
    /// what was due at its end, too; what is not answered even then has taken at least until now.
    pub fn close_window(&self) -> (Option<Latency>, BTreeMap<Trouble, u64>) {
        let mut detail = self.detail();
        let mut latency = detail.latency.take();
        if let Some(latency) = &mut latency {
            let now = Instant::now();
            for (due, count) in &detail.waiting {
                latency.add_unanswered(*due, now, *count);
            }
        }
        (latency, detail.troubles.clone())
    }

    /// What the window has gathered of troubles so far.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<Trouble, u64> {
        self.detail().troubles.clone()
    }

    /// Takes what the window has gathered of ends.
    pub fn take_ends(&self) -> Ends {
        std::mem::take(&mut self.detail().ends)
    }

    /// What each partner has lived through so far; empty for other loads.
    #[must_use]
    pub fn partners(&self) -> Vec<Life> {
        self.detail().partners.iter().map(Life::of).collect()
    }

    pub(super) fn settle(&self) {
        self.is_settled.store(true, Relaxed);
    }

    pub(super) fn count(&self, units: u64) {
        self.units.fetch_add(units, Relaxed);
    }

    /// What was due at `due` is asked, until the question is answered or dropped.
    pub(super) fn ask(self: &Arc<Self>, due: Instant) -> Question {
        self.asked(due);
        Question {
            record: Arc::clone(self),
            due,
            is_answered: false,
        }
    }

    /// What was due at `due` waits for its answer.
    pub(super) fn asked(&self, due: Instant) {
        *self.detail().waiting.entry(due).or_default() += 1;
    }

    /// The answer to what was due at `due` is there now.
    pub(super) fn answered(&self, due: Instant) {
        let mut detail = self.detail();
        detail.forget(due);
        if let Some(latency) = &mut detail.latency {
            latency.add(due, Instant::now());
        }
    }

    /// Nobody waits any longer for the answer to what was due at `due`.
    pub(super) fn forgotten(&self, due: Instant) {
        self.detail().forget(due);
    }

    /// A unit that was due at `due` is begun now.
    pub(super) fn begun(&self, due: Instant, now: Instant) {
        if let Some(latency) = &mut self.detail().latency {
            latency.add_lateness(now.saturating_duration_since(due));
        }
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.failed(trouble, 1);
    }

    pub(super) fn failed(&self, trouble: Trouble, count: u64) {
        if count > 0 {
            *self.detail().troubles.entry(trouble).or_default() += count;
        }
    }

    /// A connection that `node` had answered has ended, though it was to be kept.
    pub(super) fn lost(&self, node: &[u8]) {
        let (now, node) = (Instant::now(), String::from_utf8_lossy(node));
        let ends = &mut self.detail().ends;
        if let Some(ends) = ends.get_mut(&*node) {
            if ends.len() < ENDS_MAX {
                ends.push(now);
            }
        } else if ends.len() < NODES_MAX {
            ends.insert(node.into_owned(), vec![now]);
        }
    }

    /// One more session stands, until what is given back is dropped.
    pub(super) fn stand(&self) -> Standing<'_> {
        self.one_more_stands();
        Standing(self)
    }

    /// Tells how many stand with it.
    pub(super) fn one_more_stands(&self) -> u64 {
        self.standing.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn one_less_stands(&self) {
        self.standing.fetch_sub(1, Relaxed);
    }

    pub(super) fn set_standing(&self, count: u64) {
        self.standing.store(count, Relaxed);
    }

    pub(super) fn watch(&self, partners: Vec<Watch>) {
        self.detail().partners = partners;
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Detail {
    fn forget(&mut self, due: Instant) {
        if let Entry::Occupied(mut waiting) = self.waiting.entry(due) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }
}

/// What has been asked; dropping it gives the answer up, of which whoever drops it tells the reason.
#[derive(Debug)]
pub(super) struct Question {
    record: Arc<Record>,
    due: Instant,
    is_answered: bool,
}

impl Question {
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// The answer is there, and with it the unit is done.
    pub(super) fn done(self) {
        self.record.count(1);
        self.heard();
    }

    /// The answer is there, and the unit goes on.
    pub(super) fn heard(mut self) {
        self.is_answered = true;
        self.record.answered(self.due);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_answered {
            self.record.forgotten(self.due);
        }
    }
}

/// A session that stands, until it is dropped.
pub(super) struct Standing<'a>(&'a Record);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.one_less_stands();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_without_a_window_and_latencies_do_not() {
        let record = Arc::new(Record::new("talk", Unit::RoundTrip));
        record.ask(Instant::now()).done();
        assert_eq!(record.units(), 1);
        assert!(record.close_window().0.is_none());
    }

    #[test]
    fn what_is_not_answered_when_the_window_closes_has_taken_until_then() {
        let record = Arc::new(Record::new("talk", Unit::RoundTrip));
        let start = Instant::now() - Duration::from_secs(2);
        record.open_window(start, Duration::from_secs(1));
        let before = record.ask(start - Duration::from_secs(1));
        let twice = [record.ask(start), record.ask(start)];
        let after = record.ask(start + Duration::from_secs(1));
        record.ask(start).done();
        drop(record.ask(start));
        let latency = record.close_window().0.unwrap();
        assert_eq!(latency.unanswered(), 3);
        // And the answered one.
        assert_eq!(latency.all().len(), 4);
        assert!(latency.all().min() >= 1_990_000);
        drop((before, twice, after));
    }

    #[test]
    fn troubles_before_the_window_do_not_count() {
        let record = Record::new("talk", Unit::RoundTrip);
        record.trouble(Trouble::Reset);
        record.open_window(Instant::now(), Duration::from_secs(1));
        record.trouble(Trouble::Refused);
        let (latency, troubles) = record.close_window();
        assert!(latency.is_some());
        assert_eq!(
            troubles.into_iter().collect::<Vec<_>>(),
            [(Trouble::Refused, 1)]
        );
    }
}
