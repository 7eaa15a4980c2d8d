//! The last lines of the log, for the view.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The last lines of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    /// The latest `count` lines, oldest first.
    pub(super) fn latest(&self, count: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .skip(lines.len().saturating_sub(count))
            .cloned()
            .collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines() {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(line.trim().to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the log here instead of to standard error, where it would tear the view.
pub(super) fn capture() -> Lines {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time();
    let warnings = tracing::level_filters::LevelFilter::INFO;
    // Only fails where the process logs already: then there is nothing to capture.
    let _ = tracing_subscriber::registry()
        .with(warnings)
        .with(layer)
        .try_init();
    lines
}

const KEPT: usize = 32;
