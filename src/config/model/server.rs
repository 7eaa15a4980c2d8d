//! `[server]`, `[log]` and `[resolve]`: the process itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::confine::Measure;
use ipnet::IpNet;

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Number of worker threads; `None`: one per core. Needs a restart.
    pub workers: Option<usize>,
    /// Where the admin API listens. Needs a restart.
    pub admin: Admin,
    /// File with the bearer token for changes over TCP.
    pub admin_token_file: Option<PathBuf>,
    /// Directory of what must outlive the process. Needs a restart.
    pub state_dir: Option<PathBuf>,
    /// How long sessions live on that a reload has orphaned.
    pub drain_timeout: Duration,
    /// How long SIGTERM waits for sessions.
    pub stop_timeout: Duration,
    /// Key of placement, shared by the appliances of a pair; `None`: made once, kept in `state_dir`.
    /// Needs a restart.
    pub placement_key: Option<Secret>,
    /// Whether a listener may bind an address that this machine does not hold.
    pub freebind: bool,
    /// Bytes that all slow readers together may hold.
    pub buffer_memory: u64,
    /// Whether the kernel goes on with connections in TLS that carry bulk, where it can.
    pub kernel_tls: bool,
    /// Pins of addresses that are remembered.
    pub max_pins: usize,
    /// Where the admin API can be read as well, and nothing be changed.
    pub view: Vec<View>,
    /// Who may use those of them that are TCP; empty: this machine alone.
    pub view_from: Vec<IpNet>,
    /// By which measures `serve` gives rights away once it has started. Needs a restart.
    pub sandbox: BTreeSet<Measure>,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// A unix socket; the permissions of the file decide who may use it.
    Unix(PathBuf),
    /// A loopback TCP address; changes need the token.
    Tcp(SocketAddr),
}

/// Where the admin API can be read, and nothing be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// A unix socket, which answers every GET; the permissions of the file decide who may use it.
    Unix(PathBuf),
    /// A TCP address, which tells whether clients are served, and figures, to whom `view_from` names.
    Tcp(SocketAddr),
}

impl fmt::Display for View {
    /// As the file writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

/// Text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// The least severe line that is written.
    pub level: LogLevel,
    /// Which sessions leave a line when they end.
    pub sessions: LogSessions,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Severity, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// Which sessions leave a line when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSessions {
    /// None.
    Off,
    /// Those of configured partners.
    Partners,
    /// All.
    All,
}

impl LogSessions {
    /// Whether a session leaves a line that is, or is not, a partner's.
    #[must_use]
    pub const fn wants(self, is_partner: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Partners => is_partner,
            Self::All => true,
        }
    }
}

/// `[resolve]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// DNS servers; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// Whether names are resolved at all.
    pub names: bool,
}
