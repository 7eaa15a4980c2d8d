//! Log lines: through `tracing`, as text or JSON, to standard error.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::clock::Moment;
use crate::config::model::{Log, LogFormat, LogLevel};

type Level = reload::Handle<LevelFilter, Registry>;

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

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Lets one line through in a while, and counts the others.
#[derive(Debug, Default)]
pub struct Limiter {
    last: Cell<Option<Moment>>,
    suppressed: Cell<u64>,
}

impl Limiter {
    /// Whether a line may be written now: with how many were not since the last.
    pub fn allow(&self) -> Option<u64> {
        let now = Moment::now();
        if self
            .last
            .get()
            .is_some_and(|last| now.since(last) < LINE_INTERVAL)
        {
            self.suppressed.set(self.suppressed.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.suppressed.take())
    }
}

/// Often enough to see that it goes on, seldom enough to read the rest of the log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
