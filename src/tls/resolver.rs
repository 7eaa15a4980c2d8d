//! Which certificate a client is shown.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::credential::Credential;

/// Certificates in the order of the file. A client that names a server gets the first that is good for the name and
/// whose key it can check; one that names none, or nobody here, gets the first whose key it can check: legacy peers
/// name none, and a wrong certificate tells an administrator more than no answer.
pub(super) struct ByName(Vec<Credential>);

impl ByName {
    pub(super) fn new(credentials: Vec<Credential>) -> Self {
        Self(credentials)
    }

    pub(super) fn choose(
        &self,
        name: Option<&str>,
        is_checked: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Credential> {
        let name = name.map(str::to_ascii_lowercase);
        let usable = || self.0.iter().filter(|each| is_checked(&each.certified));
        let named = name.and_then(|name| usable().find(|each| each.names.contain(&name)));
        named.or_else(|| usable().next())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let is_checked = |certified: &CertifiedKey| certified.key.choose_scheme(schemes).is_some();
        let chosen = self.choose(hello.server_name(), is_checked);
        chosen.map(|credential| Arc::clone(&credential.certified))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.0).finish()
    }
}
