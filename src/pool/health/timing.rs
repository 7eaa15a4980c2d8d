//! When an endpoint is asked, and what the answers weigh.

use std::time::Duration;

use crate::config::model::{Flap, Pool, Probe, ProbeKind, ReturnAfter};

/// When an endpoint is asked, and what the answers weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What is asked; [`ProbeKind::None`] means that the endpoint is up unless traffic shows otherwise.
    pub kind: ProbeKind,
    /// Between probes at rest and while down.
    pub interval: Duration,
    /// Between probes while in doubt.
    pub fast_interval: Duration,
    /// Deadline of an answer; one that comes later still is a sign of life.
    pub timeout: Duration,
    /// Silence condemns only once it has lasted this long.
    pub silence: Duration,
    /// Failures that condemn; also clients by UDP who are told that nobody is there.
    pub fall: u32,
    /// Good answers in a row that bring back what was down.
    pub rise: u32,
    /// How long it then is held.
    pub return_after: ReturnAfter,
    /// Over which time it then takes its full share of new sessions.
    pub warm_up: Duration,
    /// How often it may go down before it is kept there.
    pub flap: Option<Flap>,
}

impl Timing {
    /// The timing of a listener's probe and its pool.
    #[must_use]
    pub fn new(probe: &Probe, pool: &Pool) -> Self {
        Self {
            return_after: pool.return_after,
            warm_up: pool.warm_up,
            flap: pool.flap,
            ..Self::retired(probe)
        }
    }

    /// The timing of what takes no sessions any more.
    #[must_use]
    pub const fn retired(probe: &Probe) -> Self {
        Self {
            kind: probe.kind,
            interval: probe.interval,
            fast_interval: probe.fast_interval,
            timeout: probe.timeout,
            silence: probe.silence,
            fall: probe.fall,
            rise: probe.rise,
            return_after: ReturnAfter::Manual,
            warm_up: Duration::ZERO,
            flap: None,
        }
    }

    /// Whether anything is asked at all.
    pub(super) const fn probes(&self) -> bool {
        !matches!(self.kind, ProbeKind::None)
    }
}
