//! What all benches share: the processor's clock instead of the wall's, and the allocator of the
//! appliance.
//!
//! On a machine that others use too, wall time tells of them. Time of the processor leaves out
//! whatever ran in between; caches that others have emptied it cannot leave out.

use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures by what the processor spends on the measuring thread.
pub(crate) struct CpuTime;

/// Criterion, as the command line wants it.
pub(crate) fn criterion() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .configure_from_args()
}

/// What the processor has spent on this thread.
pub(crate) fn read() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        read()
    }

    fn end(&self, start: Duration) -> Duration {
        read().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        // Criterion divides by it, and a clock may stand still between two readings.
        value.as_nanos().max(1) as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        static LIKE_WALL_TIME: WallTime = WallTime;
        LIKE_WALL_TIME.formatter()
    }
}
