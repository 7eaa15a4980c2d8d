//! Why a command failed, in one line, and with which exit code.

use std::io;
use std::path::PathBuf;

use super::address::AdminAddress;
use crate::control::admin::answers::Refused;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the address.
    #[error("no pinfold answers at {address} ({cause}){}", hint(.cause))]
    NoDaemon {
        address: AdminAddress,
        cause: io::Error,
    },
    /// What answers there is not what was expected.
    #[error("{address} answers, but not as pinfold does: {what}")]
    Strange { address: AdminAddress, what: String },
    /// The daemon refused.
    #[error("{}", lines(.0))]
    Refused(Refused),
    /// A file that an option names.
    #[error("cannot read {path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
    /// A file that is to be written.
    #[error("cannot write {path}: {cause}")]
    Unwritten { path: PathBuf, cause: io::Error },
    /// The system refuses something that every command needs.
    #[error("cannot {what}: {cause}")]
    System {
        what: &'static str,
        cause: io::Error,
    },
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::NoDaemon { .. } | Self::Strange { .. } => 69,
            Self::Refused(refused) => refused.exit_code.unwrap_or(69),
            Self::File { .. } | Self::Unwritten { .. } | Self::System { .. } => 71,
        }
    }
}

/// Diagnostics first: the last line is the one that is read.
fn lines(refused: &Refused) -> String {
    let mut lines = refused.diagnostics.clone();
    lines.push(refused.error.clone());
    lines.join("\n")
}

fn hint(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        ": use sudo, or join the group of the socket"
    } else {
        ": start it with `pinfold serve --config FILE`, or say where it is with --admin"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_daemon_is_one_line_that_names_the_address_and_says_what_to_do() {
        let failure = Failure::NoDaemon {
            address: "unix:/run/p.sock".parse().unwrap(),
            cause: io::ErrorKind::NotFound.into(),
        };
        assert_eq!(
            failure.to_string(),
            "no pinfold answers at unix:/run/p.sock (entity not found): \
             start it with `pinfold serve --config FILE`, or say where it is with --admin"
        );
        assert_eq!(failure.exit_code(), 69);
    }

    #[test]
    fn a_refused_reload_shows_every_line_and_exits_as_the_daemon_says() {
        let failure = Failure::Refused(Refused {
            error: "reload refused: 2 errors".into(),
            diagnostics: vec!["a.toml:1:1: x".into(), "a.toml:2:1: y".into()],
            exit_code: Some(78),
        });
        let expected = "a.toml:1:1: x\na.toml:2:1: y\nreload refused: 2 errors";
        assert_eq!(
            (failure.to_string().as_str(), failure.exit_code()),
            (expected, 78)
        );
    }
}
