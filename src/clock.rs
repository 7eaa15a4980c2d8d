//! Monotonic time as a plain number, so that it fits in an atomic and in a test.
//!
//! Owns the only place where the monotonic clock is read. The pure layer never calls
//! [`Moment::now`]: it is given a moment.

use std::ops::Add;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Microseconds of monotonic time. The process begins twenty years after the first of them, so that what
/// an earlier process has seen has its moment, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Before all others, and before the process.
    pub const START: Self = Self(0);

    /// After all others.
    pub const NEVER: Self = Self(u64::MAX);

    /// The present.
    #[must_use]
    pub fn now() -> Self {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        Self::START + BEFORE + ORIGIN.get_or_init(Instant::now).elapsed()
    }

    /// The moment `micros` microseconds after [`Moment::START`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since [`Moment::START`].
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `duration` earlier; what lies before [`Moment::START`] is taken for it.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// Time passed since `earlier`; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Twenty years: no pin is older.
const BEFORE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_a_later_moment_is_zero_and_sums_saturate() {
        let early = Moment::from_micros(5);
        let late = early + Duration::from_millis(1);
        assert_eq!(late.since(early), Duration::from_millis(1));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(
            Moment::from_micros(u64::MAX) + Duration::MAX,
            Moment::from_micros(u64::MAX)
        );
    }

    #[test]
    fn what_was_before_the_process_has_its_moment() {
        let now = Moment::now();
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(now.since(now.before(year)), year);
        assert_eq!(Moment::from_micros(5).before(year), Moment::START);
    }
}
