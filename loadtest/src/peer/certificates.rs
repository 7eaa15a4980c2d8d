//! The certificates that balancers end TLS with, as files.
//!
//! Balancers of one process are given the same certificate, in the shape that each of them wants.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::process::Directory;
use crate::scenario::Balancer;
use crate::tls::certificate_of;

/// The certificate of `listener`.
pub(super) fn chain(directory: &Directory, listener: &str) -> PathBuf {
    directory.file(&format!("{listener}.chain.pem"))
}

/// Its key.
pub(super) fn key(directory: &Directory, listener: &str) -> PathBuf {
    directory.file(&format!("{listener}.key.pem"))
}

/// Both in one file.
pub(super) fn both(directory: &Directory, listener: &str) -> PathBuf {
    directory.file(&format!("{listener}.both.pem"))
}

/// Writes those of all listeners that end TLS.
pub(super) fn write(directory: &Directory, balancer: &Balancer) -> io::Result<()> {
    for listener in &balancer.listeners {
        let Some(termination) = listener.terminate else {
            continue;
        };
        let pair = certificate_of(termination.key)?;
        fs::write(chain(directory, &listener.name), &pair.chain)?;
        fs::write(key(directory, &listener.name), &pair.key)?;
        let joined = format!("{}{}", pair.chain, pair.key);
        fs::write(both(directory, &listener.name), joined)?;
    }
    Ok(())
}
