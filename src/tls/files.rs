//! Reading the files that administrators name, and what to say of those that cannot be used.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::confine::files::{self, Wish};

/// A file that cannot be used, and why.
#[derive(Debug)]
pub struct Unusable {
    /// Which.
    pub file: PathBuf,
    /// Why.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Problem {
    /// The system does not let it be read.
    System(io::Error),
    /// It is no plain file, or larger than any of its kind.
    NoPlainFile,
    /// It is a key ring of Windows (PKCS #12, `.pfx`).
    Pkcs12,
    /// It holds no certificate in PEM.
    NoCertificate,
    /// A certificate in it cannot be read.
    BadCertificate,
    /// It holds no private key in PEM.
    NoKey,
    /// Its key is encrypted, and nobody is here to type a password.
    EncryptedKey,
    /// Its key is of a kind that TLS does not use, or too weak.
    UnsupportedKey,
    /// Its key does not belong to the first certificate of this file.
    Mismatch(PathBuf),
    /// Its certificates can vouch for nobody.
    NoAuthority,
}

impl Unusable {
    pub(super) fn new(file: &Path, problem: Problem) -> Self {
        Self {
            file: file.to_path_buf(),
            problem,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let file = self.file.display();
        match &self.problem {
            Problem::System(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if let Some(remedy) = files::remedy(&self.file, Wish::Read, error) {
                    return remedy.to_owned();
                }
                "let the user that Pinfold runs as read it, and check as that user".to_owned()
            }
            Problem::System(_) => "correct the path, or put the file there".to_owned(),
            Problem::NoPlainFile => "name a PEM file".to_owned(),
            Problem::Pkcs12 => format!(
                "convert it: `openssl pkcs12 -in {file} -nodes -out server.pem`, which holds the chain and the key"
            ),
            Problem::NoCertificate => {
                "write the server's certificate in PEM (\"-----BEGIN CERTIFICATE-----\"), then those of its issuers; \
                 `openssl x509 -inform der -in … -out …` converts a .cer or .der file".to_owned()
            }
            Problem::BadCertificate => {
                format!("look at it with `openssl x509 -in {file} -noout -text`, and export it anew")
            }
            Problem::NoKey => "name the file with the private key (\"-----BEGIN PRIVATE KEY-----\")".to_owned(),
            Problem::EncryptedKey => format!(
                "take the password off: `openssl pkey -in {file} -out server.key`, and keep the file from other users"
            ),
            Problem::UnsupportedKey => "use RSA of 2048 bits or more, or ECDSA on P-256 or P-384".to_owned(),
            Problem::Mismatch(chain) => format!(
                "name the key that belongs to it, and let the server's own certificate stand first in {}",
                chain.display()
            ),
            Problem::NoAuthority => "write the certificates of the authorities in PEM".to_owned(),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.problem {
            Problem::System(error) => write!(formatter, "cannot read {file}: {error}"),
            Problem::NoPlainFile => write!(formatter, "{file} is no plain file of at most 1 MiB"),
            Problem::Pkcs12 => write!(formatter, "{file} is a PKCS #12 file (.pfx), not PEM"),
            Problem::NoCertificate => write!(formatter, "{file} holds no certificate in PEM"),
            Problem::BadCertificate => write!(formatter, "a certificate in {file} cannot be read"),
            Problem::NoKey => write!(formatter, "{file} holds no private key in PEM"),
            Problem::EncryptedKey => write!(formatter, "the private key in {file} is encrypted"),
            Problem::UnsupportedKey => write!(
                formatter,
                "the private key in {file} is of no kind that can be used"
            ),
            Problem::Mismatch(chain) => write!(
                formatter,
                "the private key in {file} does not belong to the first certificate of {}",
                chain.display()
            ),
            Problem::NoAuthority => {
                write!(
                    formatter,
                    "{file} holds no certificate of an authority that can vouch for anybody"
                )
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// The contents of a plain file. A pipe or a device must neither hold up a reload nor fill memory.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let system = |error| Unusable::new(path, Problem::System(error));
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path);
    let file = file.map_err(system)?;
    let is_plain = file.metadata().map_err(system)?.is_file();
    let mut bytes = Vec::new();
    if is_plain {
        let mut limited = file.take(FILE_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(system)?;
    }
    if !is_plain || bytes.len() as u64 > FILE_MAX {
        return Err(Unusable::new(path, Problem::NoPlainFile));
    }
    Ok(bytes)
}

/// Whether `bytes` begin as PKCS #12 does (RFC 7292 section 4): a sequence whose first value is version 3.
pub(super) fn is_pkcs12(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x30, 0x82, _, _, 2, 1, 3, ..]
            | [0x30, 0x80, 2, 1, 3, ..]
            | [0x30, 0x83, _, _, _, 2, 1, 3, ..]
    )
}

const FILE_MAX: u64 = 1 << 20;
