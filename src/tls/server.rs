//! What is needed to speak TLS to clients.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};

use super::authorities::Authorities;
use super::credential::Credential;
use super::resolver::ByName;
use super::{Fingerprint, fingerprint, provider};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked, and may have none; one that is shown must be good.
    Request,
    /// They must show a good one.
    Require,
}

/// How clients are spoken to.
#[derive(Clone, Debug)]
pub struct ServerTerms {
    /// Certificates; the first is for whoever names no server.
    pub certificates: Vec<Credential>,
    /// Whether clients show one.
    pub client_auth: ClientAuth,
    /// Who vouches for clients.
    pub client_authorities: Option<Authorities>,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub speaks_1_2: bool,
    /// Whether sessions may be taken up again by tickets.
    pub tickets: bool,
    /// What may be spoken inside, the best first; empty: nothing is negotiated.
    pub protocols: &'static [&'static [u8]],
}

/// One listener's side of TLS towards clients.
#[derive(Clone)]
pub struct Server {
    template: Arc<ServerConfig>,
    /// The certificates it shows.
    pub certificates: Arc<[Credential]>,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub speaks_1_2: bool,
    has_tickets: bool,
    fingerprint: Fingerprint,
    /// Of whatever decides who may connect: a ticket must not outlive it.
    admission: Fingerprint,
}

impl Server {
    /// Joins what was read.
    ///
    /// # Errors
    ///
    /// What does not fit together, as rustls says it.
    pub fn new(terms: ServerTerms) -> Result<Self, rustls::Error> {
        let (fingerprint, admission) = (terms.fingerprint(), terms.admission());
        let versions: &[_] = match terms.speaks_1_2 {
            true => &[&rustls::version::TLS13, &rustls::version::TLS12],
            false => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()));
        let builder = builder.with_protocol_versions(versions)?;
        let verifier = match (terms.client_auth, &terms.client_authorities) {
            (ClientAuth::Off, _) | (_, None) => Arc::new(NoClientAuth),
            (auth, Some(authorities)) => {
                let roots = Arc::clone(&authorities.roots);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
                let verifier = match auth {
                    ClientAuth::Require => verifier,
                    ClientAuth::Off | ClientAuth::Request => verifier.allow_unauthenticated(),
                };
                verifier
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?
            }
        };
        let builder = builder.with_client_cert_verifier(verifier);
        let resolver = Arc::new(ByName::new(terms.certificates.clone()));
        let mut template = builder.with_cert_resolver(resolver);
        template.alpn_protocols = terms.protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets carry a session; nothing is remembered here, where every client would cost memory.
        template.session_storage = Arc::new(NoServerSessionStorage {});
        // The kernel may go on with a connection: see `kernel`.
        template.enable_secret_extraction = true;
        Ok(Self {
            template: Arc::new(template),
            certificates: terms.certificates.into(),
            speaks_1_2: terms.speaks_1_2,
            has_tickets: terms.tickets,
            fingerprint,
            admission,
        })
    }

    /// What connections are made from. Sessions go on across reloads: those of `earlier` can be taken up again,
    /// unless other clients may connect by now.
    #[must_use]
    pub fn in_force(&self, earlier: Option<&InForce>) -> InForce {
        let earlier = earlier.filter(|earlier| earlier.admission == self.admission);
        let ticketer = match (
            self.has_tickets,
            earlier.and_then(|earlier| earlier.ticketer.as_ref()),
        ) {
            (false, _) => None,
            (true, Some(ticketer)) => Some(Arc::clone(ticketer)),
            // Without randomness there are no tickets, and every handshake is a whole one.
            (true, None) => Ticketer::new().ok(),
        };
        let mut config = ServerConfig::clone(&self.template);
        match &ticketer {
            Some(ticketer) => config.ticketer = Arc::clone(ticketer),
            None => config.send_tls13_tickets = 0,
        }
        InForce {
            config: Arc::new(config),
            ticketer,
            admission: self.admission,
        }
    }
}

impl ServerTerms {
    fn fingerprint(&self) -> Fingerprint {
        let flags = [u8::from(self.speaks_1_2), u8::from(self.tickets)];
        let mut parts: Vec<&[u8]> = vec![&flags];
        parts.extend(self.certificates.iter().map(|each| &each.fingerprint[..]));
        parts.extend(self.protocols);
        let admission = self.admission();
        parts.push(&admission);
        fingerprint(parts)
    }

    fn admission(&self) -> Fingerprint {
        let auth: &[u8] = match self.client_auth {
            ClientAuth::Off => b"off",
            ClientAuth::Request => b"request",
            ClientAuth::Require => b"require",
        };
        let authorities = self.client_authorities.as_ref();
        let authorities = authorities.map_or(&[][..], |each| &each.fingerprint);
        fingerprint([auth, authorities])
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Server");
        shown
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// What one listener makes connections with clients from.
#[derive(Clone, Debug)]
pub struct InForce {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
    admission: Fingerprint,
}
