//! What all connections of one simulated node share: its phase, its faults, its counters.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

/// Whether a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Running,
    /// Accepts nothing and says nothing; the kernel goes on for it.
    Frozen,
    Dead,
}

/// Stands for "without end" where a number of bytes is kept.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct State {
    pub(super) name: String,
    pub(super) phase: watch::Sender<Phase>,
    /// Whether its port is to refuse while what stands goes on.
    pub(super) refusing: watch::Sender<bool>,
    /// Whether its port listens.
    pub(super) listening: watch::Sender<bool>,
    pub(super) mute: AtomicBool,
    pub(super) refuse_tls: AtomicBool,
    pub(super) slow_micros: AtomicU64,
    pub(super) reset_after: AtomicU64,
    pub(super) doomed: AtomicU32,
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) lines: AtomicU64,
    pub(super) datagrams: AtomicU64,
}

impl State {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            phase: watch::Sender::new(Phase::Dead),
            refusing: watch::Sender::new(false),
            listening: watch::Sender::new(false),
            mute: AtomicBool::new(false),
            refuse_tls: AtomicBool::new(false),
            slow_micros: AtomicU64::new(0),
            reset_after: AtomicU64::new(NEVER),
            doomed: AtomicU32::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
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

    /// Does `service` to its end, and stands still while the node is frozen.
    pub(super) async fn unless_frozen(&self, service: impl Future<Output = ()>) {
        let mut phase = self.phase.subscribe();
        let mut service = pin!(service);
        loop {
            let _ = phase.wait_for(|phase| *phase != Phase::Frozen).await;
            tokio::select! {
                biased;
                turned = phase.changed() => if turned.is_err() { return },
                () = &mut service => return,
            }
        }
    }
}
