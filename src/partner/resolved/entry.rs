//! One question over time: when it is due, what was last answered, and how it fails.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{BACK_OFF_MAX, TTL_MAX, TTL_MIN};
use crate::clock::Moment;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time.
    Timeout,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name has no such records.
    Empty,
    /// A server answered that it cannot or will not.
    ServerFailure,
    /// An answer that nothing can be made of.
    Unusable,
    /// There is no server to ask, or it cannot be reached.
    NoServer,
}

impl Failure {
    /// As people read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "no answer",
            Self::NoSuchName => "no such name",
            Self::Empty => "no records",
            Self::ServerFailure => "the server failed or refused",
            Self::Unusable => "nothing usable in the answer",
            Self::NoServer => "no server can be reached",
        }
    }

    /// Whether DNS itself says that there is nothing, and works.
    #[must_use]
    pub const fn is_word(self) -> bool {
        matches!(self, Self::NoSuchName | Self::Empty)
    }
}

/// A good answer.
#[derive(Clone, Debug)]
pub struct Good<T> {
    /// What it says.
    pub value: T,
    /// How long it holds by its own word.
    pub ttl: Duration,
    /// When it came.
    pub at: Moment,
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) due: Moment,
    pub(super) is_asked: bool,
    pub(super) good: Option<Good<T>>,
    pub(super) failure: Option<Failure>,
    failures: u32,
    /// When it was last answered or failed.
    heard_at: Option<Moment>,
    /// What was said to be wrong with the last answer.
    noted: BTreeSet<Noted>,
}

/// What an answer may contain that is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Noted {
    Address(IpAddr),
    Target(Arc<str>),
}

impl From<&IpAddr> for Noted {
    fn from(address: &IpAddr) -> Self {
        Self::Address(*address)
    }
}

impl From<&Arc<str>> for Noted {
    fn from(target: &Arc<str>) -> Self {
        Self::Target(Arc::clone(target))
    }
}

impl<T> Entry<T> {
    /// Never asked, and due.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            due: now,
            is_asked: false,
            good: None,
            failure: None,
            failures: 0,
            heard_at: None,
            noted: BTreeSet::new(),
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        !self.is_asked && self.due <= now
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        (!self.is_asked).then_some(self.due)
    }

    pub(super) const fn is_known(&self) -> bool {
        self.good.is_some()
    }

    /// Makes it due now, unless it was heard of just now.
    pub(super) fn hasten(&mut self, now: Moment) {
        if self.heard_at.is_none_or(|at| now.since(at) >= HASTE_MIN) {
            self.due = self.due.min(now);
        }
    }

    /// An answer; whether it failed before.
    pub(super) fn answered(&mut self, good: Good<T>) -> bool {
        self.is_asked = false;
        self.failures = 0;
        self.heard_at = Some(good.at);
        self.due = good.at + good.ttl.clamp(TTL_MIN, TTL_MAX);
        self.good = Some(good);
        self.failure.take().is_some()
    }

    /// No answer; whether it is the first time since one.
    pub(super) fn failed(
        &mut self,
        failure: Failure,
        now: Moment,
        random: &mut fastrand::Rng,
    ) -> bool {
        self.is_asked = false;
        self.heard_at = Some(now);
        let longest = BACK_OFF_FIRST * 2_u32.saturating_pow(self.failures.min(10));
        let longest = longest.min(BACK_OFF_MAX);
        self.failures = self.failures.saturating_add(1);
        // Half of it at least, so that many names do not ask at once when a server is back.
        self.due = now + longest.mul_f64(0.5 + random.f64() / 2.0);
        self.failure.replace(failure).is_none()
    }

    /// Of what is wrong with an answer, that which was not wrong with the last one; a few of them.
    pub(super) fn newly_noted<'f, N, W>(&mut self, found: &'f [(N, W)]) -> Vec<&'f (N, W)>
    where
        Noted: for<'n> From<&'n N>,
    {
        let noted: BTreeSet<Noted> = found
            .iter()
            .take(NOTED_MAX)
            .map(|(what, _)| Noted::from(what))
            .collect();
        let before = std::mem::replace(&mut self.noted, noted);
        let is_new = |(what, _): &&(N, W)| !before.contains(&Noted::from(what));
        found.iter().take(NOTED_MAX).filter(is_new).collect()
    }
}

/// However often an administrator reloads.
const HASTE_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_FIRST: Duration = Duration::from_secs(2);
const NOTED_MAX: usize = 8;
