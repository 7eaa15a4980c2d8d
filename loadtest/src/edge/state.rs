//! What all connections of one simulated node share: its phase, its faults, its counters.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::sync::watch;

/// Whether a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Accepts nothing and says nothing; the kernel goes on for it.
    Frozen,
    Dead,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) refuse_tls: AtomicBool,
    pub(super) slow_micros: AtomicU64,
    pub(super) doomed: AtomicU32,
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) lines: AtomicU64,
}

impl State {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            phase: watch::Sender::new(Phase::Dead),
            refuse_tls: AtomicBool::new(false),
            slow_micros: AtomicU64::new(0),
            doomed: AtomicU32::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    /// Whether this connection is one of those that must die before their first byte.
    pub(super) fn take_doom(&self) -> bool {
        self.doomed
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    pub(super) fn slowness(&self) -> Duration {
        Duration::from_micros(self.slow_micros.load(Relaxed))
    }
}
