//! Waiting for a moment, exactly.
//!
//! The runtime's own timers count in milliseconds, which is more than what is measured here.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel.
#[derive(Debug)]
pub(super) struct Pace {
    timer: AsyncFd<OwnedFd>,
}

impl Pace {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for who closes the descriptor early; an OwnedFd cannot"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Waits until `at`. If that has passed, others only have their turn: who is behind must not
    /// keep the thread to itself.
    pub(super) async fn until(&self, at: Instant) -> io::Result<()> {
        let wait = at.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: never,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        // timerfd_create(2): setting it takes the last expiry back, so nobody needs to read it.
        while Instant::now() < at {
            self.timer.readable().await?.clear_ready();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_moment_is_never_early_and_the_past_does_not_wait() {
        let pace = Pace::new().unwrap();
        for micros in [0, 50, 700, 3_000] {
            let at = Instant::now() + Duration::from_micros(micros);
            pace.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_shorten_the_next() {
        let pace = Pace::new().unwrap();
        for _ in 0..5 {
            let given_up = pace.until(Instant::now() + Duration::from_millis(2));
            let _ = tokio::time::timeout(Duration::from_millis(1), given_up).await;
            let at = Instant::now() + Duration::from_millis(4);
            pace.until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }
}
