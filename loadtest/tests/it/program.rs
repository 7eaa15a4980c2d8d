//! The program under test, and scenarios small enough for tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pinfold_loadtest::process::{Directory, Process};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pinfold-loadtest");

/// Far beyond any run here.
const LIMIT: Duration = Duration::from_secs(60);

/// What one call of the program came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    /// What it wrote, to either stream.
    pub(crate) text: String,
}

impl Answer {
    /// Holds it to its exit code and to words of it.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "no \"{word}\" in:\n{}", self.text);
        }
    }

    /// Holds it to the width of a terminal.
    #[track_caller]
    pub(crate) fn fits(&self) {
        for line in self.text.lines() {
            assert!(line.chars().count() <= 80, "too wide: {line}");
        }
    }
}

/// Calls the program.
pub(crate) fn loadtest(arguments: &[&str]) -> Answer {
    finish(start(arguments))
}

/// Calls it and does not wait.
pub(crate) fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(PROGRAM);
    // Or help and mistakes would be as wide as whatever terminal is behind this.
    command.args(arguments).env("COLUMNS", "80");
    Process::spawn(&mut command).unwrap()
}

/// Waits for its end.
pub(crate) fn finish(mut process: Process) -> Answer {
    let status = process.wait_exit(LIMIT).expect("it ends");
    // No line pleases: so this is until both streams have ended.
    assert!(process.wait_line(LIMIT, |_| false).is_none());
    Answer {
        code: status.code().unwrap(),
        text: process.output(),
    }
}

/// A scenario file in a directory of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Tiny {
    directory: Directory,
}

impl Tiny {
    /// A second of little, two nodes, and `more`.
    pub(crate) fn new(more: &str) -> Self {
        let directory = Directory::create().unwrap();
        let text = format!("{SCENARIO}{more}");
        fs::write(directory.file("tiny.toml"), text).unwrap();
        Self { directory }
    }

    /// The path of a file beside it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// The scenario's own path.
    pub(crate) fn scenario(&self) -> String {
        self.file("tiny.toml")
    }
}

const SCENARIO: &str = r#"
title = "Little, for a moment"
about = "It holds <anywhere> & always."

[run]
warm_up = "100ms"
measure = "1s"
rounds = 1

[balancer]
return_after = "100ms"

[nodes]
count = 2

[[round-trips]]
name = "talk"
connections = 4
rate = 200

[[partners]]
name = "stubborn"
generation = "ocs-2007"
partners = 1
interval = "10ms"
"#;

/// What holds of [`SCENARIO`] wherever nothing fails.
pub(crate) const CALM: &str = r#"
[[expect]]
figure = "talk.troubles"
at_most = 0

[[expect]]
figure = "talk.per_second"
at_least = 50

[[expect]]
figure = "stubborn.disturbed_elsewhere"
at_most = 0
"#;
