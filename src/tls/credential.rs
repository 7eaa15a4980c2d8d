//! A certificate chain and the private key that belongs to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::certificate::Certificate;
use super::files::{self, Problem, Unusable};
use super::{Fingerprint, fingerprint, provider};

/// A certificate chain and its private key, as they stood in their files.
#[derive(Clone)]
pub struct Credential {
    /// The file of the chain.
    pub chain: PathBuf,
    /// What the first certificate says.
    pub certificate: Certificate,
    pub(super) names: Names,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) fingerprint: Fingerprint,
}

impl Credential {
    /// Reads the two files, which may be one.
    ///
    /// # Errors
    ///
    /// Every file that cannot be used: both of them may be wrong.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Vec<Unusable>> {
        let (certificates, private) = match (read_chain(chain), read_key(key)) {
            (Ok(certificates), Ok(private)) => (certificates, private),
            (certificates, private) => {
                return Err([certificates.err(), private.err()]
                    .into_iter()
                    .flatten()
                    .collect());
            }
        };
        let refused = |file: &Path, problem| vec![Unusable::new(file, problem)];
        let first = certificates.first().map(AsRef::as_ref).unwrap_or_default();
        let Some(certificate) = Certificate::parse(first) else {
            return Err(refused(chain, Problem::BadCertificate));
        };
        let names = Names::of(first);
        let parts = certificates
            .iter()
            .map(AsRef::as_ref)
            .chain([private.secret_der()]);
        let fingerprint = fingerprint(parts);
        match CertifiedKey::from_der(certificates, private, provider()) {
            Ok(certified) => Ok(Self {
                chain: chain.to_path_buf(),
                certificate,
                names,
                certified: Arc::new(certified),
                fingerprint,
            }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(refused(key, Problem::Mismatch(chain.to_path_buf())))
            }
            Err(Error::InvalidCertificate(_)) => Err(refused(chain, Problem::BadCertificate)),
            Err(_) => Err(refused(key, Problem::UnsupportedKey)),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Credential");
        shown
            .field("chain", &self.chain)
            .field("certificate", &self.certificate);
        shown.finish_non_exhaustive()
    }
}

/// The names that a client may ask a certificate for, wildcards among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Vec<Box<str>>);

impl Names {
    fn of(der: &[u8]) -> Self {
        Self(super::certificate::served_names(der))
    }

    /// Whether the certificate is good for `name`, which is in lower case. A wildcard stands for one label
    /// (RFC 6125 section 6.4.3).
    pub(super) fn contain(&self, name: &str) -> bool {
        let behind_first_label = name.split_once('.').map(|(_, rest)| rest);
        self.0.iter().any(|own| match own.strip_prefix("*.") {
            Some(suffix) => behind_first_label == Some(suffix),
            None => **own == *name,
        })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let bytes = files::read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) if files::is_pkcs12(&bytes) => Err(Unusable::new(path, Problem::Pkcs12)),
        Ok(_) => Err(Unusable::new(path, Problem::NoCertificate)),
        Err(_) => Err(Unusable::new(path, Problem::BadCertificate)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let bytes = files::read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let has = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
        let is_encrypted = has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED");
        let problem = match is_encrypted {
            true => Problem::EncryptedKey,
            false if files::is_pkcs12(&bytes) => Problem::Pkcs12,
            false => Problem::NoKey,
        };
        Unusable::new(path, problem)
    })
}
