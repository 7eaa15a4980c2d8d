//! The certificates of those who vouch for others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::files::{self, Problem, Unusable};
use super::{Fingerprint, fingerprint};

/// Authorities from a file.
#[derive(Clone)]
pub struct Authorities {
    /// The file.
    pub file: PathBuf,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) fingerprint: Fingerprint,
}

impl Authorities {
    /// Reads the file. One odd certificate among many, as bundles of a system have, is passed over.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or no certificate in it can vouch for anybody.
    pub fn load(file: &Path) -> Result<Self, Unusable> {
        let bytes = files::read(file)?;
        let certificates = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(Unusable::new(file, Problem::NoAuthority));
        }
        Ok(Self {
            file: file.to_path_buf(),
            roots: Arc::new(roots),
            fingerprint: fingerprint([&*bytes]),
        })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Authorities");
        shown
            .field("file", &self.file)
            .field("count", &self.roots.len());
        shown.finish_non_exhaustive()
    }
}
