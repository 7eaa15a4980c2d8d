//! What a child writes: drained all the time, kept within a bound.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that are kept; a failure is explained by the last ones.
const LINES_MAX: usize = 20_000;

/// A longer line is cut in pieces.
const LINE_MAX: u64 = 64 * 1024;

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    /// Streams that may still bring more.
    open: usize,
}

#[derive(Debug, Default)]
pub(super) struct Output {
    kept: Mutex<Kept>,
    grown: Condvar,
}

impl Output {
    pub(super) fn wait_line(
        &self,
        limit: Duration,
        pleases: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut kept = self.kept();
        loop {
            if let Some(line) = kept.lines.iter().find(|line| pleases(line)) {
                return Some(line.clone());
            }
            if kept.open == 0 {
                return None;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.grown.wait_timeout(kept, left);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn text(&self) -> String {
        self.kept()
            .lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }

    fn push(&self, line: String) {
        let mut kept = self.kept();
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
        drop(kept);
        self.grown.notify_all();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `stream` to its end on a thread of its own, which ends with the child.
pub(super) fn drain(stream: impl Read + Send + 'static, output: Arc<Output>) {
    output.kept().open += 1;
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            output.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
        output.kept().open -= 1;
        output.grown.notify_all();
    });
}
