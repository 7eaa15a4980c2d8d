//! What Pinfold tells of itself: counters and log lines.

pub mod counters;
pub mod log;
pub mod outcome;
pub mod panics;
