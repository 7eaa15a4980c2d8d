//! TLS for simulated nodes and partners: rustls with aws-lc-rs, named explicitly.
//!
//! Owns the self-signed certificates of a process, one for its nodes and one of each kind for balancers. Clients here verify nobody: they measure whether
//! bytes arrive unharmed, not whether a peer may be trusted. What only looks like TLS is in `shape`.

mod measured;
pub mod shape;

pub use self::measured::{
    CertificatePair, Resumption, certificate_of, measured_client, server_name,
};

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

/// The one version a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

static SERVER: LazyLock<Result<Identity, String>> =
    LazyLock::new(|| self_signed().map_err(|error| error.to_string()));

/// Who every node of this process is.
#[derive(Debug)]
struct Identity {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

/// How simulated nodes speak TLS: 1.2 and 1.3, one self-signed certificate a process.
///
/// # Errors
/// The certificate could not be made.
pub fn server_config() -> io::Result<Arc<ServerConfig>> {
    Ok(Arc::clone(&identity()?.config))
}

/// The certificate of simulated nodes.
fn certificate() -> io::Result<&'static CertificateDer<'static>> {
    Ok(&identity()?.certificate)
}

fn identity() -> io::Result<&'static Identity> {
    SERVER
        .as_ref()
        .map_err(|error| io::Error::other(error.as_str()))
}

/// How simulated partners speak TLS: exactly `version`, any certificate welcome.
///
/// # Errors
/// The provider does not know the version.
pub fn client_config(version: TlsVersion) -> io::Result<Arc<ClientConfig>> {
    let version: &'static SupportedProtocolVersion = match version {
        TlsVersion::V1_2 => &TLS12,
        TlsVersion::V1_3 => &TLS13,
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[version])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Names that a certificate here is for.
const NAMES: [&str; 2] = ["sip.edge.test", "localhost"];

fn self_signed() -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    Ok(Identity {
        config: Arc::new(config),
        certificate,
    })
}

/// Accepts every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &PROVIDER.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}
