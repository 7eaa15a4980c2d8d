//! Log lines: through `tracing`, as text or JSON, to standard error.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::clock::Moment;
use crate::config::model::{Log, LogFormat, LogLevel};

type Level = reload::Handle<Targets, Registry>;

static LEVEL: OnceLock<Level> = OnceLock::new();

/// Starts logging. Once for the process; later calls change nothing but the level.
pub fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    if LEVEL.set(handle).is_err() {
        return set_level(log.level);
    }
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).boxed(),
    };
    // A test that logs already has its own subscriber.
    let _ = Registry::default()
        .with(lines.with_filter(filter))
        .try_init();
}

/// Changes the least severe level that is written. The format stays as it was at the start.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.modify(|current| *current = filter(level));
    }
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // It warns of every answer that it does not like: a server could fill the log.
    let of_dns = match level {
        LevelFilter::TRACE => LevelFilter::TRACE,
        _ => LevelFilter::OFF,
    };
    Targets::new()
        .with_default(level)
        .with_target("hickory", of_dns)
}

/// Lets a burst of lines through in a while, and counts the others.
#[derive(Debug, Default)]
pub struct Limiter {
    window: Cell<Option<Moment>>,
    written: Cell<u32>,
    suppressed: Cell<u64>,
}

impl Limiter {
    /// Whether a line may be written now: with how many were not since the last one.
    pub fn allow(&self) -> Option<u64> {
        self.allow_at(Moment::now())
    }

    fn allow_at(&self, now: Moment) -> Option<u64> {
        if self
            .window
            .get()
            .is_none_or(|start| now.since(start) >= WINDOW)
        {
            self.window.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() == BURST {
            self.suppressed.set(self.suppressed.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.suppressed.take())
    }
}

/// Enough for every partner of a failover, too few to hide the rest of the log.
const BURST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_the_rest_is_counted() {
        let limiter = Limiter::default();
        let at = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        let written = (0..100)
            .filter(|_| limiter.allow_at(at(1)).is_some())
            .count();
        assert_eq!(written, 20);
        assert_eq!(limiter.allow_at(at(5)), None);
        assert_eq!(limiter.allow_at(at(6)), Some(81));
        assert_eq!(limiter.allow_at(at(6)), Some(0));
    }
}
