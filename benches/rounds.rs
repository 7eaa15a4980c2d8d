//! Measuring work that has to be made ready first, and cleared away afterwards: in rounds large enough
//! that reading the clock, a system call, does not count.

use std::time::Duration;

use crate::cpu_time::read;

/// Time of `iterations`, where each `round` does `size` of them and answers the time they took.
pub(crate) fn in_rounds(
    iterations: u64,
    size: usize,
    mut round: impl FnMut() -> Duration,
) -> Duration {
    let rounds = iterations.div_ceil(size as u64);
    let total: Duration = (0..rounds).map(|_| round()).sum();
    total.mul_f64(iterations as f64 / (rounds * size as u64) as f64)
}

/// Time that this thread spends on `work`; dropping what it answers is not counted.
pub(crate) fn spent<T>(work: impl FnOnce() -> T) -> Duration {
    let start = read();
    let result = work();
    let time = read().saturating_sub(start);
    drop(result);
    time
}
