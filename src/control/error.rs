//! Why the process cannot start, or a reload cannot be applied.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::diagnostics::Diagnostics;
use crate::config::model::Unavailable;
use crate::store::StateError;

/// Why the process cannot start. One line: the object, then the cause.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes.
    #[error("the configuration has mistakes")]
    Configuration(Diagnostics),
    /// The configuration asks for what this version cannot do.
    #[error("{}", refusals(.0))]
    Unavailable(Vec<Unavailable>),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (listener \"{listener}\"){}", hint(.cause))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The listener.
        listener: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The admin API cannot listen.
    #[error("cannot open the admin API at {place}")]
    Admin {
        /// Where.
        place: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// An address of `view` cannot be listened on.
    #[error("cannot open view \"{place}\"{}", remedy.map_or_else(|| hint(.cause).into(), |remedy| format!(" — {remedy}")))]
    View {
        /// Where.
        place: String,
        /// What to do, where it is known better than by the cause.
        remedy: Option<&'static str>,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A file that the configuration names cannot be read.
    #[error("cannot read {path} ({key})")]
    File {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system refuses a thread, a descriptor or a signal handler.
    #[error("cannot start {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The sandbox no longer allows what a listener needs.
    #[error(
        "listener \"{listener}\": source = \"transparent\" takes a right that the sandbox has given away, because \
         no listener needed it at the start: restart pinfold, or leave `sandbox` without \"capabilities\" and \
         \"system-calls\""
    )]
    Sandbox {
        /// The listener.
        listener: String,
    },
    /// A thread of the data plane has ended: nothing can be relied on any more.
    #[error("{0} has died")]
    Died(&'static str),
}

impl StartError {
    /// The exit code: `sysexits.h`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 78,
            Self::Unavailable(_) | Self::State(StateError::Locked(_)) => 69,
            Self::Listen { .. }
            | Self::Admin { .. }
            | Self::View { .. }
            | Self::File { .. }
            | Self::State(StateError::Unusable { .. } | StateError::Gone { .. })
            | Self::System { .. }
            | Self::Sandbox { .. }
            | Self::Died(_) => 71,
        }
    }
}

/// Why a reload was not applied. The running configuration stands.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file has mistakes.
    #[error("{0}")]
    Configuration(Diagnostics),
    /// It cannot be applied.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl ReloadError {
    /// All that is to be said, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Configuration(diagnostics) => diagnostics.error_lines(),
            Self::Start(error) => vec![chain(error)],
        }
    }
}

/// An error with its causes, joined by colons.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn refusals(list: &[Unavailable]) -> String {
    let lines = list.iter().map(|one| {
        format!(
            "{}: {} is not available in this version",
            one.place, one.what
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What an administrator would look for next.
fn hint(cause: &io::Error) -> &'static str {
    let kind = cause.kind();
    if kind == io::ErrorKind::AddrInUse {
        " — is another instance or service running there?"
    } else if kind == io::ErrorKind::PermissionDenied {
        " — ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities)"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        " — the address is on no interface, and freebind is off"
    } else {
        ""
    }
}
