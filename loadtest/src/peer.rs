//! Balancers as programs: each is told the same in its own words and started in a directory of its
//! own.
//!
//! Owns what a balancer under test is for the harness: addresses, a process, a version. How one of
//! them is told what to serve is in the file of its name; those files make text and touch nothing.
//! What each is told is the equivalent of Pinfold at its defaults, with what its own manual offers
//! for the purpose: health checks as often, sessions of a dead server ended where it can.

mod certificates;
mod haproxy;
mod nginx;
mod pinfold;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::Target;
use crate::process::{Directory, Process, Signal, all_listening, free_ports, wait_until};
use crate::scenario::{Balancer, Generation, Listener};

/// How long one may take to listen.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How long one may take to end in order.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Balancers that the harness can start.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pinfold at its defaults.
    Pinfold,
    /// HAProxy with `option splice-auto`.
    Haproxy,
    /// HAProxy with splicing forced both ways.
    HaproxySplice,
    /// HAProxy with `option splice-auto` and whatever else its manual has for speed, much of which Pinfold
    /// does by itself.
    HaproxyTuned,
    /// nginx with its `stream` module.
    Nginx,
    /// Nobody: clients go to the nodes by themselves.
    Direct,
}

/// The name of a balancer that others run.
pub const ELSEWHERE: &str = "elsewhere";

impl Kind {
    /// Its name in commands, figures and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pinfold => "pinfold",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::HaproxyTuned => "haproxy-tuned",
            Self::Nginx => "nginx",
            Self::Direct => "direct",
        }
    }

    /// Why it cannot serve `listener`.
    #[must_use]
    pub fn refuses(self, listener: &Listener) -> Option<&'static str> {
        match (self, listener.service.as_str()) {
            (Self::Direct, _) if listener.terminate.is_some() => {
                Some("without a balancer nobody ends TLS")
            }
            (Self::Haproxy | Self::HaproxySplice | Self::HaproxyTuned, "udp") => {
                Some("HAProxy does not relay UDP")
            }
            _ => None,
        }
    }

    /// Why it cannot be told to read its configuration again.
    #[must_use]
    pub const fn refuses_to_reload(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::HaproxySplice | Self::HaproxyTuned => {
                Some("HAProxy reloads by a new process, which this harness does not follow")
            }
            Self::Direct => Some("there is no balancer that could reload"),
            Self::Pinfold | Self::Nginx => None,
        }
    }

    /// The program of that name, beside this one or on the path.
    const fn program(self) -> &'static str {
        match self {
            Self::Pinfold => "pinfold",
            Self::Haproxy | Self::HaproxySplice | Self::HaproxyTuned => "haproxy",
            Self::Nginx => "nginx",
            Self::Direct => "",
        }
    }

    const fn version_option(self) -> &'static str {
        match self {
            Self::Pinfold => "--version",
            Self::Haproxy
            | Self::HaproxySplice
            | Self::HaproxyTuned
            | Self::Nginx
            | Self::Direct => "-v",
        }
    }

    /// Where its program is.
    ///
    /// # Errors
    /// It is nowhere; the message says how to get it.
    pub fn find(self) -> io::Result<PathBuf> {
        let name = self.program();
        let beside = std::env::current_exe().map(|this| this.with_file_name(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Where Debian puts daemons, and an unprivileged user does not look.
        let system = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
        let folders = std::env::split_paths(&path).chain(system);
        let mut found = beside
            .into_iter()
            .chain(folders.map(|folder| folder.join(name)));
        found.find(|file| file.is_file()).ok_or_else(|| {
            let remedy = match self {
                Self::Pinfold => "cargo build --release --workspace",
                Self::Haproxy | Self::HaproxySplice | Self::HaproxyTuned => {
                    "apt-get install haproxy"
                }
                Self::Nginx => "apt-get install nginx libnginx-mod-stream",
                Self::Direct => "",
            };
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{self} is not installed: no program \"{name}\" ({remedy})"),
            )
        })
    }

    /// What it says of its version.
    #[must_use]
    pub fn version(self, program: &Path) -> String {
        let output = Command::new(program).arg(self.version_option()).output();
        let output = output.map(|output| [output.stdout, output.stderr].concat());
        let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
        // Some say where they come from as well.
        let first = text.lines().next().unwrap_or_default();
        let version = first.split(" - ").next().unwrap_or_default();
        version.trim().to_owned()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a balancer is to serve.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Its listeners and threads.
    pub balancer: &'a Balancer,
    /// Name and address of each node.
    pub nodes: &'a [(String, SocketAddr)],
    /// Who will call as a partner.
    pub partners: &'a [PartnerAddress],
    /// How many descriptors a process here may open.
    pub descriptors: u64,
}

/// A partner by its address.
#[derive(Clone, Debug)]
pub struct PartnerAddress {
    /// Its name.
    pub name: String,
    /// Where it calls from.
    pub address: IpAddr,
    /// What software it runs.
    pub generation: Generation,
}

/// A balancer that runs, or the addresses of one that others run.
#[derive(Debug)]
pub struct Peer {
    targets: Vec<Target>,
    running: Option<Running>,
}

/// The order of fields is the order of ending.
#[derive(Debug)]
struct Running {
    kind: Kind,
    process: Process,
    reloads: u32,
    directory: Directory,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The workers of nginx outlive a master that is killed: it must end them itself.
        if self.kind == Kind::Nginx && self.process.signal(Signal::TERM).is_ok() {
            let _ = self.process.wait_exit(STOP_LIMIT);
        }
    }
}

impl Peer {
    /// Starts `program`, which is a `kind`, and waits until it listens.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time; what it said is in the message.
    pub fn start(kind: Kind, program: &Path, description: &Description<'_>) -> io::Result<Self> {
        if kind == Kind::Direct {
            return Ok(Self::direct(description));
        }
        let directory = Directory::create()?;
        let listeners = description.balancer.listeners.iter();
        let listeners = listeners.filter(|listener| kind.refuses(listener).is_none());
        let ports = free_ports(listeners.clone().count())?;
        let targets: Vec<_> = listeners
            .zip(ports)
            .map(|(listener, port)| Target {
                listener: listener.name.clone(),
                addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            })
            .collect();
        let mut command = Command::new(program);
        match kind {
            Kind::Haproxy | Kind::HaproxySplice | Kind::HaproxyTuned => {
                haproxy::arguments(&mut command, &directory)
            }
            Kind::Nginx => nginx::arguments(&mut command, &directory),
            Kind::Pinfold | Kind::Direct => pinfold::arguments(&mut command, &directory),
        }
        certificates::write(&directory, description.balancer)?;
        let text = configuration(kind, description, &targets, &directory, 0);
        fs::write(directory.file(CONFIGURATION), text)?;
        let process = Process::spawn(&mut command)?;
        let mut peer = Self {
            targets,
            running: Some(Running {
                kind,
                process,
                reloads: 0,
                directory,
            }),
        };
        peer.wait_until_it_listens()?;
        Ok(peer)
    }

    /// No balancer: every listener is the nodes themselves.
    #[must_use]
    pub fn direct(description: &Description<'_>) -> Self {
        let nodes: Vec<_> = description
            .nodes
            .iter()
            .map(|(_, address)| *address)
            .collect();
        let listeners = description.balancer.listeners.iter();
        Self::at(
            listeners
                .map(|listener| Target {
                    listener: listener.name.clone(),
                    addresses: nodes.clone(),
                })
                .collect(),
        )
    }

    /// A balancer that others run.
    #[must_use]
    pub const fn at(targets: Vec<Target>) -> Self {
        Self {
            targets,
            running: None,
        }
    }

    /// Where clients go.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The process that its cost is counted from.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.pid())
    }

    /// The last of what it has said.
    #[must_use]
    pub fn last_words(&self) -> String {
        const LINES: usize = 12;
        let running = self.running.as_ref();
        let said = running.map_or_else(String::new, |running| running.process.output());
        let lines: Vec<_> = said.lines().collect();
        let last = lines.len().saturating_sub(LINES);
        lines.get(last..).unwrap_or_default().join("\n")
    }

    /// Lets it read its configuration again, with a change that makes no difference.
    ///
    /// # Errors
    /// It cannot, or is not ours.
    pub fn reload(&mut self, description: &Description<'_>) -> io::Result<()> {
        let running = self
            .running
            .as_mut()
            .ok_or_else(|| io::Error::other("a balancer that others run is not reloaded"))?;
        if let Some(why) = running.kind.refuses_to_reload() {
            return Err(io::Error::other(why));
        }
        running.reloads += 1;
        let (kind, reloads) = (running.kind, running.reloads);
        let text = configuration(
            kind,
            description,
            &self.targets,
            &running.directory,
            reloads,
        );
        fs::write(running.directory.file(CONFIGURATION), text)?;
        running.process.signal(Signal::HUP)?;
        if kind == Kind::Pinfold {
            return pinfold::wait_for_reload(&running.directory, reloads);
        }
        Ok(())
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        // A connect would be a session, and one more line in the balancer's own books.
        let ports = self.targets.iter().flat_map(|target| &target.addresses);
        let ports: Vec<_> = ports.map(SocketAddr::port).collect();
        let kind = running.kind;
        let stands = wait_until(START_LIMIT, || {
            let ended = running.process.wait_exit(Duration::ZERO).is_some();
            let ready = all_listening(&ports)
                && (kind != Kind::Pinfold || pinfold::is_ready(&running.directory));
            (ended || ready).then_some(ready && !ended)
        });
        if stands == Some(true) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{kind} did not start:\n{}",
            running.process.output()
        )))
    }
}

const CONFIGURATION: &str = "configuration";

fn configuration(
    kind: Kind,
    description: &Description<'_>,
    targets: &[Target],
    directory: &Directory,
    reloads: u32,
) -> String {
    let haproxy = |tuning| haproxy::configuration(description, targets, directory, tuning);
    match kind {
        Kind::Haproxy => haproxy(haproxy::Tuning::Auto),
        Kind::HaproxyTuned => haproxy(haproxy::Tuning::Speed),
        Kind::HaproxySplice => haproxy(haproxy::Tuning::Forced),
        Kind::Nginx => nginx::configuration(description, targets, directory),
        Kind::Pinfold | Kind::Direct => {
            pinfold::configuration(description, targets, directory, reloads)
        }
    }
}

/// What `listener` is told to bind.
fn bind(targets: &[Target], listener: &str) -> Option<SocketAddr> {
    let target = targets.iter().find(|target| target.listener == listener)?;
    target.addresses.first().copied()
}

#[cfg(test)]
mod tests;
