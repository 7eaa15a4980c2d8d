//! TLS whose cost is measured: certificates for balancers, and clients that make all of them do the same.
//!
//! A client offers AES-128-GCM and X25519 and nothing besides. Left to themselves, balancers choose differently,
//! and then suites would be compared.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::ClientConfig;
use rustls::client::Resumption as Memory;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use super::{AnyCertificate, NAMES, PROVIDER};
use crate::scenario::{CertificateKey, OfferedVersion, Termination};

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

/// The certificate of that kind: the same for everybody who asks in this process, since making a key takes long.
///
/// # Errors
/// It cannot be made.
pub fn certificate_of(kind: CertificateKey) -> io::Result<CertificatePair> {
    static MADE: LazyLock<Mutex<HashMap<CertificateKey, CertificatePair>>> =
        LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pair) = made.get(&kind) {
        return Ok(pair.clone());
    }
    let pair = make(kind).map_err(io::Error::other)?;
    made.insert(kind, pair.clone());
    Ok(pair)
}

fn make(kind: CertificateKey) -> Result<CertificatePair, rcgen::Error> {
    let key = match kind {
        CertificateKey::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        CertificateKey::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
    };
    let parameters = CertificateParams::new(NAMES.map(str::to_owned))?;
    let certificate = parameters.self_signed(&key)?;
    Ok(CertificatePair {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Whether a client takes up its earlier sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Never.
    Off,
    /// Whenever it has been handed what it takes.
    On,
}

/// A client of a listener that ends TLS so.
///
/// # Errors
/// The provider does not know the version.
pub fn measured_client(
    termination: Termination,
    memory: Resumption,
) -> io::Result<Arc<ClientConfig>> {
    let (version, suites) = match termination.version {
        OfferedVersion::Tls13 => (&TLS13, vec![cipher_suite::TLS13_AES_128_GCM_SHA256]),
        OfferedVersion::Tls12 => {
            let suites = vec![
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            ];
            (&TLS12, suites)
        }
    };
    let provider = CryptoProvider {
        cipher_suites: suites,
        kx_groups: vec![kx_group::X25519],
        ..CryptoProvider::clone(&PROVIDER)
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = match memory {
        Resumption::Off => Memory::disabled(),
        Resumption::On => Memory::in_memory_sessions(SERVERS),
    };
    Ok(Arc::new(config))
}

/// A caller knows one server.
const SERVERS: usize = 1;

/// Whom clients ask for.
///
/// # Errors
/// It is no name.
pub fn server_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(NAMES[0]).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_certificate_is_made_once_and_the_kinds_differ() {
        let kinds = [CertificateKey::EcdsaP256, CertificateKey::Rsa2048];
        let [ecdsa, rsa] = kinds.map(|kind| {
            let (first, second) = (certificate_of(kind), certificate_of(kind));
            let (first, second) = (first.unwrap(), second.unwrap());
            assert_eq!((&first.chain, &first.key), (&second.chain, &second.key));
            let whole = [first.chain, first.key].concat();
            assert!(whole.contains("-----BEGIN PRIVATE KEY-----"), "{whole}");
            whole
        });
        // The key itself is several times as long.
        assert!(rsa.len() > 2 * ecdsa.len());
    }
}
