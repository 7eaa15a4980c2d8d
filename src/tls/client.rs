//! What is needed to speak TLS to nodes.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Connect, TlsConnector};

use super::authorities::Authorities;
use super::credential::Credential;
use super::kernel::Terms;
use super::{Fingerprint, fingerprint, provider};

/// How nodes are spoken to.
#[derive(Clone, Debug)]
pub struct ClientTerms {
    /// Who vouches for nodes; `None`: nobody needs to.
    pub authorities: Option<Authorities>,
    /// The name that nodes are asked for, and that their certificates must carry where somebody vouches for them.
    pub server_name: Option<String>,
    /// What nodes are shown where they ask.
    pub certificate: Option<Credential>,
    /// What may be spoken inside, the best first; empty: nothing is negotiated.
    pub protocols: &'static [&'static [u8]],
}

/// One listener's side of TLS towards its nodes.
#[derive(Clone)]
pub struct Client {
    /// For rustls; it keeps no tickets.
    pub config: Arc<ClientConfig>,
    /// The name that nodes are asked for; `None`: none.
    pub server_name: Option<ServerName<'static>>,
    /// What nodes are shown where they ask.
    pub certificate: Option<Credential>,
    fingerprint: Fingerprint,
    by_node: Arc<Mutex<HashMap<SocketAddr, Arc<ClientConfig>>>>,
}

impl Client {
    /// Joins what was read.
    ///
    /// # Errors
    ///
    /// What does not fit together, as rustls says it.
    pub fn new(terms: ClientTerms) -> Result<Self, Error> {
        let fingerprint = terms.fingerprint();
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = match &terms.authorities {
            Some(authorities) => {
                let roots = Arc::clone(&authorities.roots);
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
                verifier
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?
            }
            None => Arc::new(Anybody),
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &terms.certificate {
            Some(credential) => {
                let shown = SingleCertAndKey::from(Arc::clone(&credential.certified));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = terms.protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        // The kernel may go on with a connection: see `kernel`.
        config.enable_secret_extraction = true;
        let server_name = terms.server_name.map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
            certificate: terms.certificate,
            fingerprint,
            by_node: Arc::default(),
        })
    }
}

impl Client {
    /// Any node is welcome, whatever it shows; nothing is shown to it.
    ///
    /// # Errors
    ///
    /// What rustls says.
    pub fn of_anybody() -> Result<Self, Error> {
        Self::new(ClientTerms {
            authorities: None,
            server_name: None,
            certificate: None,
            protocols: &[],
        })
    }

    /// Shakes hands with `node` over `stream`, with which the kernel may go on as `terms` have it.
    pub fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        node: SocketAddr,
        stream: S,
        terms: &Terms,
    ) -> Connect<S> {
        let name = self.server_name.clone();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(node.ip().into()));
        let config = terms.of_client(self.config_of(node));
        TlsConnector::from(config).connect(name, stream)
    }

    /// The same with tickets of this node alone: rustls keeps them by name, and nodes that are asked for one name would
    /// be shown one another's, which they do not take.
    fn config_of(&self, node: SocketAddr) -> Arc<ClientConfig> {
        let mut by_node = self.by_node.lock().unwrap_or_else(PoisonError::into_inner);
        if by_node.len() >= NODES_MAX && !by_node.contains_key(&node) {
            by_node.clear();
        }
        let config = by_node.entry(node).or_insert_with(|| {
            let mut config = ClientConfig::clone(&self.config);
            config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
            Arc::new(config)
        });
        Arc::clone(config)
    }
}

impl ClientTerms {
    fn fingerprint(&self) -> Fingerprint {
        let authorities = self.authorities.as_ref();
        let certificate = self.certificate.as_ref();
        let mut parts: Vec<&[u8]> = vec![
            authorities.map_or(&[][..], |each| &each.fingerprint),
            self.server_name.as_deref().unwrap_or_default().as_bytes(),
            certificate.map_or(&[][..], |each| &each.fingerprint),
        ];
        parts.extend(self.protocols);
        fingerprint(parts)
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Client {}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Client");
        shown.field("server_name", &self.server_name);
        shown
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Takes any certificate, as long as the node holds its key: a node is what it is dialled as.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Tickets of one node, which are all of one name; each serves once (RFC 8446, appendix C.4).
const SESSIONS_KEPT: usize = 8;
/// Beyond so many nodes, which the reloads of a long life may bring, tickets are begun anew.
const NODES_MAX: usize = 256;
