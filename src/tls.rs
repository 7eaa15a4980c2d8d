//! TLS where it ends here: the cryptography, certificates and keys from files, and what a side needs to speak it.
//!
//! Owns the one provider of the process (aws-lc-rs) and everything that is read from PEM files, so that nothing
//! that can fail is left for the moment when a client arrives. Deliberately does not touch sockets, does not decide
//! who may connect, and never shows a key: a [`Credential`] prints its certificate alone.
//!
//! What is built here is compared by the contents of its files, so that a renewed certificate in an unchanged
//! configuration is a change.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use sha2::{Digest, Sha256};

pub use self::authorities::Authorities;
pub use self::certificate::Certificate;
pub use self::client::{Client, ClientTerms};
pub use self::credential::Credential;
pub use self::failure::{Finding, TOO_OLD, cause, is_no_tls, remedy};
pub use self::files::{Problem, Unusable};
pub use self::kernel::{Offer, Terms};
pub use self::server::{ClientAuth, InForce, Server, ServerTerms};

mod authorities;
pub mod certificate;
mod client;
pub mod control;
mod credential;
mod failure;
mod files;
pub mod kernel;
mod resolver;
mod server;

/// The cryptography of the process.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
}

/// What tells two settings apart: SHA-256 of all that they are made of.
type Fingerprint = [u8; 32];

/// The fingerprint of `parts`, whose lengths count, so that no two lists of parts are alike.
fn fingerprint<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Fingerprint {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
