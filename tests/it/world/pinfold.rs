//! The binary under test, and what its admin API tells.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use pinfold_loadtest::http::{self, Response};
use pinfold_loadtest::process::{Process, wait_until};
use serde_json::Value;

use super::{Directory, SOON};

/// How much of a log explains a failure.
const LINES_SHOWN: usize = 100;

/// A running `pinfold serve`; dropping it ends it, and shows what it wrote if the test failed.
#[derive(Debug)]
pub(crate) struct Pinfold {
    pub(crate) process: Process,
    admin: PathBuf,
}

impl Pinfold {
    /// Starts it with the configuration of `directory`; it may not be ready yet.
    pub(crate) fn start(directory: &Directory) -> Self {
        Self::start_with(directory, |_| {})
    }

    /// As [`start`](Self::start), with a command that differs.
    pub(crate) fn start_with(directory: &Directory, differ: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
        command.arg("serve").arg("--config").arg(directory.config());
        // What the machine's own service manager says is not meant for this instance.
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC");
        differ(&mut command);
        Self {
            process: Process::spawn(&mut command).unwrap(),
            admin: directory.admin(),
        }
    }

    /// Waits until `/ready` says so.
    pub(crate) fn wait_ready(&self) {
        let ready = wait_until(SOON, || {
            let answer = http::get(&self.admin, "/ready").ok()?;
            (answer.status == 200).then_some(())
        });
        assert!(ready.is_some(), "not ready:\n{}", self.process.output());
    }

    /// The answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> io::Result<Response> {
        http::get(&self.admin, path)
    }

    /// The answer to `POST path`.
    pub(crate) fn post(&self, path: &str) -> io::Result<Response> {
        http::post(&self.admin, path, "")
    }

    /// The answer to `PUT path` or any other method.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> io::Result<Response> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        http::request(&self.admin, method, path, &body)
    }

    /// The answer to `GET path`, which must be JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        self.get(path).unwrap().json().unwrap()
    }

    /// Revision of the configuration in force.
    pub(crate) fn revision(&self) -> u64 {
        self.json("/v1/status")["revision"].as_u64().unwrap()
    }

    /// The first address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let status = self.json("/v1/status");
        let listener = find(&status["listeners"], "name", listener);
        listener["bound"][0].as_str().unwrap().parse().unwrap()
    }

    /// One node of `/v1/nodes`; null if there is none of this name.
    pub(crate) fn node(&self, name: &str) -> Value {
        let mut nodes = self.json("/v1/nodes");
        let nodes = nodes["nodes"].as_array_mut().unwrap();
        let mut nodes = nodes.iter_mut().filter(|node| node["name"] == name);
        nodes.next().map(Value::take).unwrap_or_default()
    }

    /// The node that partner or address `subject` is pinned to.
    pub(crate) fn pin(&self, subject: &str) -> Option<String> {
        let pins = self.json("/v1/pins");
        let mut pins = pins["pins"].as_array().unwrap().iter();
        let pin = pins.find(|pin| pin["subject"]["name"] == subject)?;
        pin["node"].as_str().map(Into::into)
    }

    /// Waits until a node has this health on every listener.
    pub(crate) fn wait_health(&self, node: &str, health: &str) {
        let reached = wait_until(SOON, || {
            let node = self.node(node);
            let services = node["services"].as_array()?;
            let all = services.iter().all(|service| service["health"] == health);
            (all && !services.is_empty()).then_some(())
        });
        assert!(
            reached.is_some(),
            "{node} is not {health}: {}",
            self.node(node)
        );
    }

    /// The value of a metric's sample, by the start of its line.
    pub(crate) fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.get("/metrics").unwrap().body;
        let line = text.lines().find(|line| {
            let rest = line.strip_prefix(sample);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for Pinfold {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.process.output();
            let lines: Vec<_> = output.lines().collect();
            let last = lines.len().saturating_sub(LINES_SHOWN);
            let text = lines.get(last..).unwrap_or_default().join("\n");
            let _ = writeln!(io::stderr(), "--- what pinfold wrote last\n{text}\n---");
        } else {
            let output = self.process.output();
            assert!(!output.contains("invariant-broken"), "{output}");
        }
    }
}

/// The object of `list` whose `key` is `value`.
pub(crate) fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut list = list.as_array().unwrap().iter();
    let found = list.find(|each| each[key] == value);
    found.unwrap_or_else(|| panic!("nothing has {key} = {value}"))
}
