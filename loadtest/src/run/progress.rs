//! How far a run is, for whoever waits.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, where that is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For so much measuring in all.
    #[must_use]
    pub fn new(measuring: Duration) -> Self {
        let bar = ProgressBar::new(millis(measuring));
        // Fits 80 columns; a template that does not parse would be a mistake in this line alone.
        if let Ok(style) = ProgressStyle::with_template("{prefix:.bold} {bar:20} {msg}") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Self { bar }
    }

    /// What is run.
    pub fn title(&self, title: String) {
        self.bar.set_prefix(title);
    }

    pub(super) fn phase(&self, phase: &'static str) {
        self.bar.set_message(phase);
    }

    pub(super) fn advance(&self, by: Duration) {
        self.bar.inc(millis(by));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
