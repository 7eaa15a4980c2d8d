//! What `serve` gives away once it has started, and what a reload can therefore no longer have.
//!
//! Owns what this service needs later: [`needs`] reads it from the checked configuration. How rights are given away
//! is [`confine`](crate::confine)'s. A measure that cannot be taken is told and keeps nobody from being served.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Access;

use super::error::StartError;
use crate::config::Reads;
use crate::config::model::{Admin, Config, SourceAddress, View};
use crate::confine::files::Rule;
use crate::confine::{self, CapabilitySet, Measure, Needs, Outcome};
use crate::store::StateError;

/// The sandbox of a running service.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// The measures in force.
    pub in_force: Vec<Measure>,
    /// Whether listeners may have nodes see the clients' own addresses.
    has_raw_sockets: bool,
}

impl Sandbox {
    /// Takes the measures that `config` names. Before any other thread is started, and after all that needs more rights
    /// than this leaves.
    ///
    /// # Errors
    ///
    /// The state directory is out of reach afterwards: nothing could be kept.
    pub fn enter(config: &Config, reads: &Reads) -> Result<Self, StartError> {
        let needs = needs(config, reads, std::env::var_os("NOTIFY_SOCKET").as_deref());
        let outcome = confine::apply(&config.server.sandbox, &needs);
        tell(&outcome);
        let sandbox = Self {
            in_force: outcome.in_force,
            has_raw_sockets: needs.raw_sockets,
        };
        if sandbox.is_in_force(Measure::Capabilities) {
            reach(config, reads)?;
        }
        Ok(sandbox)
    }

    fn is_in_force(&self, measure: Measure) -> bool {
        self.in_force.contains(&measure)
    }

    /// Whether all that `config` asks for can still be had.
    ///
    /// # Errors
    ///
    /// It cannot, and a restart would help.
    pub(super) fn permit(&self, config: &Config) -> Result<(), StartError> {
        let is_raw_gone =
            self.is_in_force(Measure::Capabilities) || self.is_in_force(Measure::SystemCalls);
        if self.has_raw_sockets || !is_raw_gone {
            return Ok(());
        }
        match transparent(config).next() {
            Some(listener) => Err(StartError::Sandbox {
                listener: listener.into(),
            }),
            None => Ok(()),
        }
    }
}

/// The listeners whose nodes see the clients' own addresses.
fn transparent(config: &Config) -> impl Iterator<Item = &str> {
    let listeners = config.listeners.iter();
    let transparent = listeners.filter(|each| each.source == SourceAddress::Transparent);
    transparent.map(|each| each.name.as_str())
}

/// What serving `config` takes, reloads included: `notify_socket` is where the service manager listens.
fn needs(config: &Config, reads: &Reads, notify_socket: Option<&OsStr>) -> Needs {
    let raw_sockets = transparent(config).next().is_some();
    // A reload may bring a listener on a port below 1024.
    let mut capabilities = CapabilitySet::NET_BIND_SERVICE;
    if raw_sockets {
        // Raw sockets, foreign addresses and marks are all had by this one, since Linux 5.17.
        capabilities |= CapabilitySet::NET_RAW;
    }
    let mut files: Vec<_> = SYSTEM_FILES
        .iter()
        .map(|file| Rule::ReadBeside(file.into()))
        .collect();
    files.extend(
        SYSTEM_FOLDERS
            .iter()
            .map(|folder| Rule::Read(folder.into())),
    );
    files.extend(reads.files.iter().cloned().map(Rule::ReadBeside));
    files.extend(reads.folders.iter().cloned().map(Rule::Read));
    files.extend(config.server.state_dir.iter().cloned().map(Rule::Keep));
    let later = Path::new(VIEW);
    files.extend(
        sockets(config)
            .chain([later])
            .map(|socket| Rule::Socket(socket.into())),
    );
    Needs {
        capabilities,
        files,
        abstract_sockets: notify_socket.is_some_and(|name| name.as_bytes().starts_with(b"@")),
        raw_sockets,
    }
}

/// The files of the sockets that this service makes.
fn sockets(config: &Config) -> impl Iterator<Item = &Path> {
    let admin = match &config.server.admin {
        Admin::Unix(path) => Some(path.as_path()),
        Admin::Off | Admin::Tcp(_) => None,
    };
    let views = config.server.view.iter().filter_map(|view| match view {
        View::Unix(path) => Some(path.as_path()),
        View::Tcp(_) => None,
    });
    admin.into_iter().chain(views)
}

/// Where the package means views to be, so that a reload may bring the first one.
const VIEW: &str = "/run/pinfold-view/view.sock";
/// The system's servers of DNS, accounts by which those who ask are named, and local time.
const SYSTEM_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/passwd", "/etc/localtime"];
/// Time zones of windows, and what the kernel says: of the ports that it gives, and of who has logged in.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/share/zoneinfo", "/proc"];

fn tell(outcome: &Outcome) {
    for refused in &outcome.refused {
        tracing::warn!(remedy = refused.remedy, "sandbox: not in force: {refused}");
    }
    if !outcome.unknown_to_landlock.is_empty() {
        tracing::info!(
            "sandbox: landlock of this kernel does not guard {}",
            outcome.unknown_to_landlock.join(", ")
        );
    }
    let labels = outcome.in_force.iter().map(|measure| measure.label());
    match labels.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => tracing::info!("sandbox: off"),
        some => tracing::info!("sandbox: in force: {some}"),
    }
}

/// Root reaches any file by capabilities that are gone: what it has read so far may be out of its reach from here on,
/// which must not be found out at the reload that renews a certificate.
fn reach(config: &Config, reads: &Reads) -> Result<(), StartError> {
    for file in &reads.files {
        if rustix::fs::access(file, Access::READ_OK) == Err(rustix::io::Errno::ACCESS) {
            tracing::warn!(
                file = %file.display(),
                remedy = "let the user that pinfold runs as read it; root has no right to others' files in the sandbox",
                "sandbox: a reload will not be able to read this file again"
            );
        }
    }
    let Some(path) = &config.server.state_dir else {
        return Ok(());
    };
    let refused = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK);
    if refused == Err(rustix::io::Errno::ACCESS) {
        let cause = "it is another user's, and root has no right to others' files in the sandbox: run pinfold as that \
                     user";
        return Err(StateError::Unusable {
            what: "write",
            path: path.clone(),
            cause: io::Error::new(io::ErrorKind::PermissionDenied, cause),
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(server: &str, listener: &str) -> Config {
        let text = format!(
            "version = 1\n[server]\n{server}\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\n\
             address = \"198.51.100.1\"\n[[listener]]\nname = \"audio\"\nbind = \"203.0.113.10:3478\"\n\
             service = \"udp\"\npool = \"edge\"\n{listener}\n"
        );
        match parse("/etc/pinfold/pinfold.toml", &text) {
            Ok(loaded) => loaded.config,
            Err(mistakes) => panic!("{mistakes}"),
        }
    }

    const TRANSPARENT: &str = "source = \"transparent\"";

    #[test]
    fn raw_sockets_and_the_right_to_them_stay_only_where_nodes_see_the_clients() {
        let plain = needs(&config("", ""), &Reads::default(), None);
        assert_eq!(plain.capabilities, CapabilitySet::NET_BIND_SERVICE);
        assert!(!plain.raw_sockets);
        let transparent = needs(&config("", TRANSPARENT), &Reads::default(), None);
        let both = CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW;
        assert_eq!(transparent.capabilities, both);
        assert!(transparent.raw_sockets);
    }

    #[test]
    fn files_of_the_configuration_are_read_the_state_is_kept_and_sockets_are_made() {
        let server = "state_dir = \"/var/lib/pinfold\"\nadmin = \"unix:/run/pinfold/admin.sock\"";
        let reads = Reads {
            files: ["/etc/pinfold/pinfold.toml".into(), "/srv/a.pem".into()].into(),
            folders: ["/etc/pinfold/partners.d".into()].into(),
        };
        let files = needs(&config(server, ""), &reads, None).files;
        for rule in [
            Rule::ReadBeside("/etc/pinfold/pinfold.toml".into()),
            Rule::ReadBeside("/srv/a.pem".into()),
            Rule::Read("/etc/pinfold/partners.d".into()),
            Rule::Keep("/var/lib/pinfold".into()),
            Rule::Socket("/run/pinfold/admin.sock".into()),
            Rule::ReadBeside("/etc/resolv.conf".into()),
        ] {
            assert!(files.contains(&rule), "{rule:?} in {files:?}");
        }
        let writes = |rule: &&Rule| matches!(rule, Rule::Keep(_) | Rule::Socket(_));
        let none = needs(&config("admin = \"off\"", ""), &reads, None).files;
        let left: Vec<_> = none.iter().filter(writes).collect();
        assert_eq!(left, [&Rule::Socket(VIEW.into())]);
    }

    #[test]
    fn a_service_manager_without_a_file_stays_within_reach() {
        let asks = |socket: &str| {
            let socket = OsStr::new(socket);
            needs(&config("", ""), &Reads::default(), Some(socket)).abstract_sockets
        };
        assert!(asks("@/org/freedesktop/systemd1/notify/1"));
        assert!(!asks("/run/systemd/notify"));
    }

    #[test]
    fn what_was_given_away_is_refused_to_a_reload_that_wants_it() {
        let sandbox = |in_force: &[Measure], has_raw_sockets| Sandbox {
            in_force: in_force.into(),
            has_raw_sockets,
        };
        let (plain, wants) = (config("", ""), config("", TRANSPARENT));
        for measure in [Measure::Capabilities, Measure::SystemCalls] {
            let closed = sandbox(&[measure], false);
            assert!(closed.permit(&plain).is_ok());
            let refusal = closed.permit(&wants).unwrap_err().to_string();
            assert!(
                refusal.contains("\"audio\"") && refusal.contains("restart"),
                "{refusal}"
            );
            assert!(sandbox(&[measure], true).permit(&wants).is_ok());
        }
        assert!(sandbox(&[Measure::Landlock], false).permit(&wants).is_ok());
    }
}
