//! What a load lives through.
//!
//! Owns counting and timing. One thread writes, another reads at the edges of the window that
//! counts: the lock is free whenever a message takes it, which costs tens of nanoseconds beside the
//! microseconds of its system calls. A latency belongs to the slice of the window in which its
//! message was due.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::partners::Life;
use crate::partner::Watch;

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
    /// This machine is short of descriptors or ports: not the balancer's fault.
    Ours,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Reset,
        Self::Closed,
        Self::Silent,
        Self::WrongNode,
        Self::WrongBytes,
        Self::Unsent,
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
    troubles: BTreeMap<Trouble, u64>,
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

    /// From `at` on, for `length`, latencies and troubles count.
    pub fn open_window(&self, at: Instant, length: Duration) {
        let mut detail = self.detail();
        detail.latency = Some(Latency::new(at, length));
        detail.troubles.clear();
    }

    /// Takes what the window has gathered. Whoever waits a moment after its end has the answers to
    /// what was due at its end, too.
    pub fn close_window(&self) -> (Option<Latency>, BTreeMap<Trouble, u64>) {
        let mut detail = self.detail();
        let troubles = detail.troubles.clone();
        (detail.latency.take(), troubles)
    }

    /// What the window has gathered of troubles so far.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<Trouble, u64> {
        self.detail().troubles.clone()
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

    /// A unit that was due at `due` is done now.
    pub(super) fn done(&self, due: Instant) {
        self.count(1);
        self.time(due);
    }

    /// What counts of a unit that was due at `due` is there now.
    pub(super) fn time(&self, due: Instant) {
        if let Some(latency) = &mut self.detail().latency {
            latency.add(due, Instant::now());
        }
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

/// A session that stands, until it is dropped.
pub(super) struct Standing<'a>(&'a Record);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.one_less_stands();
    }
}

/// Short beside a noisy neighbour's turn, long enough for a percentile of its own.
const SLICE: Duration = Duration::from_millis(250);
/// Whoever waits longer than this has been lost.
const LONGEST_US: u64 = 60_000_000;

/// How long units took, by slices of the window.
#[derive(Debug)]
pub struct Latency {
    start: Instant,
    slices: Vec<Histogram<u64>>,
    lateness: Histogram<u64>,
}

impl Latency {
    fn new(start: Instant, length: Duration) -> Self {
        let slices = length.as_nanos().div_ceil(SLICE.as_nanos());
        let slices = usize::try_from(slices).unwrap_or(1).clamp(1, 100_000);
        Self {
            start,
            // Not cloned: so the memory of a slice comes to be when it is written to.
            slices: (0..slices).map(|_| histogram()).collect(),
            lateness: histogram(),
        }
    }

    fn add(&mut self, due: Instant, now: Instant) {
        let Some(since) = due.checked_duration_since(self.start) else {
            return;
        };
        let slice = usize::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX);
        if let Some(slice) = self.slices.get_mut(slice) {
            slice.saturating_record(micros(now.saturating_duration_since(due)));
        }
    }

    fn add_lateness(&mut self, lateness: Duration) {
        self.lateness.saturating_record(micros(lateness));
    }

    /// All latencies, in microseconds.
    #[must_use]
    pub fn all(&self) -> Histogram<u64> {
        self.sum(self.slices.iter())
    }

    /// The latencies of the calmer half of the slices, by their 99th percentile: a neighbour on the
    /// machine disturbs some slices, a slow balancer all of them.
    #[must_use]
    pub fn calm(&self) -> Histogram<u64> {
        let mut slices: Vec<_> = self
            .slices
            .iter()
            .filter(|slice| !slice.is_empty())
            .collect();
        slices.sort_by_key(|slice| slice.value_at_quantile(0.99));
        let half = slices.len().div_ceil(2);
        self.sum(slices.into_iter().take(half))
    }

    /// The 99th percentile of each slice, in microseconds; zero where nothing was due.
    #[must_use]
    pub fn course(&self) -> Vec<u64> {
        let p99 = |slice: &Histogram<u64>| slice.value_at_quantile(0.99);
        self.slices.iter().map(p99).collect()
    }

    /// How late this program itself was in sending, in microseconds.
    #[must_use]
    pub const fn lateness(&self) -> &Histogram<u64> {
        &self.lateness
    }

    fn sum<'a>(&self, slices: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
        let mut sum = histogram();
        for slice in slices {
            // Of one shape, so nothing can be refused.
            let _ = sum.add(slice);
        }
        sum
    }
}

/// Three digits: a thousandth of any figure.
fn histogram() -> Histogram<u64> {
    // With explicit bounds: one that grows by itself saturates at two microseconds.
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constants in order")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_from_the_time_it_was_due_and_only_within_the_window() {
        let record = Record::new("talk", Unit::RoundTrip);
        let start = Instant::now();
        let mut latency = Latency::new(start, Duration::from_secs(1));
        latency.add(start - Duration::from_millis(1), start);
        latency.add(
            start + Duration::from_secs(2),
            start + Duration::from_secs(3),
        );
        assert!(latency.all().is_empty());
        latency.add(start, start + Duration::from_millis(40));
        assert!(latency.all().max().abs_diff(40_000) < 100);
        record.done(start);
        assert_eq!(record.units(), 1);
        assert!(record.close_window().0.is_none());
    }

    #[test]
    fn the_calm_half_leaves_a_disturbed_slice_out_and_keeps_a_slow_balancer() {
        let start = Instant::now();
        let mut latency = Latency::new(start, Duration::from_secs(1));
        for (slice, millis) in [(0, 2), (1, 90), (2, 2), (3, 3)] {
            let due = start + SLICE * slice;
            for _ in 0..100 {
                latency.add(due, due + Duration::from_millis(millis));
            }
        }
        assert!(latency.calm().max() < 2_100);
        assert!(latency.all().max() >= 90_000);
        assert_eq!(latency.course().len(), 4);
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
