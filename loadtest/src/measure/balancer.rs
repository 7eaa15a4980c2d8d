//! The balancer under measurement: its files, its process, its admin socket.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::http;
use crate::process::{Process, Signal, wait_until};

/// Where the stubborn partner calls from.
pub(super) const PARTNER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const START_LIMIT: Duration = Duration::from_secs(15);
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// Two values that differ without a difference, for reloads.
const IDLE_TIMEOUTS: [&str; 2] = ["2h", "119m"];

/// A running balancer with a directory of its own; dropping it ends and removes both.
#[derive(Debug)]
pub(super) struct Balancer {
    process: Process,
    address: SocketAddr,
    nodes: String,
    reloads: usize,
    directory: Directory,
}

impl Balancer {
    pub(super) fn start<'a>(
        program: &Path,
        nodes: impl Iterator<Item = (&'a str, SocketAddr)>,
    ) -> io::Result<Self> {
        let directory = Directory::create()?;
        let nodes = nodes.fold(String::new(), |mut text, (name, address)| {
            let _ = write!(
                text,
                "[[pool.node]]\nname = \"{name}\"\naddress = \"{address}\"\n\n"
            );
            text
        });
        fs::write(directory.config(), config(&directory, &nodes, 0))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(directory.config());
        let process = Process::spawn(&mut command)?;
        let bound = wait_until(START_LIMIT, || bound_address(&directory.admin()));
        let address = bound.ok_or_else(|| {
            io::Error::other(format!("the balancer did not start:\n{}", process.output()))
        })?;
        Ok(Self {
            process,
            address,
            nodes,
            reloads: 0,
            directory,
        })
    }

    /// Where clients connect.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn output(&self) -> String {
        self.process.output()
    }

    /// How many nodes it believes to be up.
    pub(super) fn nodes_up(&self) -> io::Result<usize> {
        let answer = http::get(&self.directory.admin(), "/v1/nodes")?.json()?;
        let up = list(&answer, "nodes").iter().filter(|node| {
            let services = list(node, "services");
            !services.is_empty() && services.iter().all(|service| service["health"] == "up")
        });
        Ok(up.count())
    }

    /// Reloads with a harmless change and waits until it is in force.
    pub(super) fn reload(&mut self) -> io::Result<()> {
        let before = self.revision()?;
        self.reloads += 1;
        let text = config(&self.directory, &self.nodes, self.reloads);
        fs::write(self.directory.config(), text)?;
        self.process.signal(Signal::HUP)?;
        let changed = wait_until(RELOAD_LIMIT, || {
            self.revision().ok().filter(|revision| *revision != before)
        });
        changed
            .map(drop)
            .ok_or_else(|| io::Error::other("a reload did not come into force"))
    }

    fn revision(&self) -> io::Result<Value> {
        let mut status = http::get(&self.directory.admin(), "/v1/status")?.json()?;
        Ok(status["revision"].take())
    }
}

fn bound_address(admin: &Path) -> Option<SocketAddr> {
    let status = http::get(admin, "/v1/status").ok()?.json().ok()?;
    let listener = list(&status, "listeners").first()?;
    list(listener, "bound").first()?.as_str()?.parse().ok()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn config(directory: &Directory, nodes: &str, reloads: usize) -> String {
    let (admin, state) = (directory.admin(), directory.0.join("state"));
    let idle_timeout = IDLE_TIMEOUTS.get(reloads % 2).copied().unwrap_or_default();
    // A node that was healed must be of use in the next round, so it returns sooner than it
    // does by default; all that decides how soon a fault is found is as shipped.
    format!(
        r#"version = 1

[server]
admin = "unix:{admin}"
state_dir = "{state}"

[[pool]]
name = "edge"
return_after = "100ms"

{nodes}[[listener]]
name = "federation"
bind = "127.0.0.1:0"
service = "federation"
pool = "edge"
idle_timeout = "{idle_timeout}"

[[partner]]
name = "stubborn"
addresses = ["{PARTNER_ADDRESS}/32"]
generation = "ocs-2007"
"#,
        admin = admin.display(),
        state = state.display(),
    )
}

/// A directory of its own under the system's temporary one, removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> io::Result<Self> {
        let name = format!(
            "pinfold-loadtest-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let directory = Self(std::env::temp_dir().join(name));
        fs::create_dir(&directory.0)?;
        fs::create_dir(directory.0.join("state"))?;
        Ok(directory)
    }

    fn config(&self) -> PathBuf {
        self.0.join("pinfold.toml")
    }

    fn admin(&self) -> PathBuf {
        self.0.join("admin.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
