//! Waiting for less than the runtime's own timers can count, which is a millisecond: `timerfd_create(2)`.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::sys::watch::watch;

/// A timer of the kernel.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Rc<OwnedFd>>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    ///
    /// No descriptor; not on a runtime's thread.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: watch(Rc::new(timer))?,
        })
    }

    /// Waits for so long, a second at most.
    ///
    /// # Errors
    ///
    /// The runtime is gone.
    pub async fn after(&self, pause: Duration) -> io::Result<()> {
        // Zero would stop the timer.
        let nanos = pause.min(LONGEST).as_nanos().max(1);
        let once = Itimerspec {
            it_interval: NEVER,
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: nanos.try_into().unwrap_or(1),
            },
        };
        // Setting it takes the last expiry back, so that nobody needs to read it.
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        self.timer.readable().await?.clear_ready();
        Ok(())
    }
}

const NEVER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
const LONGEST: Duration = Duration::from_nanos(999_999_999);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_alarm_is_never_early_and_rings_each_time() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 100, 700, 3_000, 50] {
            let (begun, pause) = (Instant::now(), Duration::from_micros(micros));
            let rings = alarm.after(pause);
            let limit = Duration::from_secs(10);
            tokio::time::timeout(limit, rings).await.unwrap().unwrap();
            assert!(begun.elapsed() >= pause);
        }
    }
}
