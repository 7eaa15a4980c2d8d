//! The admin API: HTTP/1.1 on a unix socket or a loopback address, and on others for reading only.
//!
//! Reads [`Shared`], asks the governor for its view and control for changes; decides nothing itself.
//! What it answers is in [`answers`]; `/metrics` and the refusals aside, it has no other words.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use self::views::{Prepared, Views};
use super::Shared;
use super::error::StartError;
use crate::config::model::{Admin, Config};

pub mod answers;
mod asker;
mod attention;
mod connection;
mod drill;
mod explain;
mod guard;
mod listings;
mod metrics;
mod named;
mod probing;
mod readiness;
mod refusal;
mod routes;
mod status;
#[cfg(test)]
mod tests;
mod views;

pub(super) use attention::is_crowded;

/// Where the admin API listens.
#[derive(Debug)]
pub enum Socket {
    /// A unix socket, and its file.
    Unix(UnixListener, PathBuf),
    /// A loopback address.
    Tcp(TcpListener),
}

impl Socket {
    /// The file of a unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(_, path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

/// The sockets of the admin API at the start, bound and not served yet.
#[derive(Debug)]
pub(super) struct Sockets {
    own: Option<Socket>,
    readable: Prepared,
}

impl Sockets {
    /// Binds all that `config` names.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            own: bind(&config.server.admin)?,
            readable: Views::default().prepare(config)?,
        })
    }

    /// Serves them on the runtime of the caller, until that ends.
    pub(super) fn serve(self, shared: &Arc<Shared>) -> Addresses {
        let mut addresses = Addresses::default();
        if let Some(socket) = self.own {
            addresses.file = socket.path().map(Path::to_path_buf);
            serve(socket, Arc::clone(shared));
        }
        addresses.views.commit(self.readable, shared);
        addresses
    }
}

/// Where the admin API answers.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// The file of its own socket, where that is a unix one.
    file: Option<PathBuf>,
    /// For reading only.
    pub(super) views: Views,
}

impl Addresses {
    /// Takes the files of sockets away, at the end.
    pub(super) fn close(&mut self) {
        if let Some(path) = &self.file {
            let _ = std::fs::remove_file(path);
        }
        self.views.close();
    }
}

/// Opens the admin API's socket; `None` where it is switched off.
///
/// # Errors
///
/// The address is in use, or not allowed.
pub fn bind(admin: &Admin) -> Result<Option<Socket>, StartError> {
    // While it is within reach.
    let _ = asker::accounts();
    let refuse = |place: String| move |cause| StartError::Admin { place, cause };
    match admin {
        Admin::Off => Ok(None),
        Admin::Unix(path) => bind_unix(path)
            .map(|listener| Some(Socket::Unix(listener, path.clone())))
            .map_err(refuse(format!("unix:{}", path.display()))),
        Admin::Tcp(address) => std::net::TcpListener::bind(address)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .map(|listener| Some(Socket::Tcp(listener)))
            .map_err(refuse(address.to_string())),
    }
}

/// A file that an instance which was killed has left behind is replaced; one that answers is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        // Whoever mistypes the path must not lose a file by it.
        Ok(_) => {
            let what = "a file that is no socket is there";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves the admin API on the runtime of the caller, until that ends.
pub fn serve(socket: Socket, shared: Arc<Shared>) {
    let gate = connection::Gate::new(shared, connection::Realm::Everything);
    tokio::spawn(gate.accept(socket));
}
