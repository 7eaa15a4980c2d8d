//! What a certificate says, unverified.
//!
//! Only the node can tell whether a certificate is worth anything. Names leave here as lower-case
//! host names of ASCII (A-labels), everything else for display only, escaped and short.

use rustls::CommonState;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name, for display: printable ASCII, the rest escaped, cut short.
    pub subject: Box<str>,
    /// Host names: the common name where it is one, then the alternative names, each once.
    pub names: Vec<Box<str>>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// Whether it may be used by a client; without the extension it may.
    pub for_clients: bool,
    /// Whether it may be used by a server; without the extension it may.
    pub for_servers: bool,
    /// SHA-256 of the public key.
    pub key: [u8; 32],
}

impl Certificate {
    /// Reads DER; `None` where it is no certificate, or larger than any that makes sense.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        if der.len() > DER_MAX {
            return None;
        }
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common_name = certificate.subject().iter_common_name().next();
        let common_name = common_name
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default();
        let mut names = Vec::new();
        add(&mut names, common_name);
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives
            .iter()
            .flat_map(|names| &names.value.general_names);
        for alternative in alternatives.take(NAMES_LOOKED_AT) {
            if let GeneralName::DNSName(name) = alternative {
                add(&mut names, name);
            }
        }
        let usage = certificate.extended_key_usage().ok().flatten();
        let may = |allows: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
            usage
                .as_ref()
                .is_none_or(|usage| usage.value.any || allows(usage.value))
        };
        let validity = certificate.validity();
        Some(Self {
            subject: shown(common_name).into(),
            names,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            for_clients: may(|usage| usage.client_auth),
            for_servers: may(|usage| usage.server_auth),
            key: Sha256::digest(certificate.public_key().raw).into(),
        })
    }

    /// That of the peer of a connection whose TLS ends here; `None` where it has shown none that can be read.
    #[must_use]
    pub fn of_peer(connection: &CommonState) -> Option<Self> {
        let chain = connection.peer_certificates()?;
        Self::parse(chain.first()?)
    }

    /// Whole days until it expires, at `unix` seconds since 1970; negative once it has.
    #[must_use]
    pub fn days_left(&self, unix: i64) -> i64 {
        self.not_after.saturating_sub(unix).div_euclid(DAY)
    }

    /// The nearest of those days before its end at which an administrator is told, of which there are few; 0: it has
    /// expired.
    #[must_use]
    pub fn warned_at(&self, unix: i64) -> Option<i64> {
        let left = self.not_after.saturating_sub(unix);
        WARNED_AT.into_iter().find(|days| left <= days * DAY)
    }

    /// The name that stands for it in logs.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or(&self.subject, |name| name)
    }
}

/// `name` in lower case and without a dot at its end, where it is a host name of ASCII. A wildcard is
/// none: no server that federates is called so.
#[must_use]
pub fn host_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(legal)
    };
    let is_address = |name: &str| name.parse::<std::net::IpAddr>().is_ok();
    let is_name = name.len() <= 253 && name.split('.').all(is_label) && !is_address(name);
    is_name.then(|| name.to_ascii_lowercase())
}

/// The names that the certificate in `der` serves, in lower case, wildcards (`*.contoso.com`) among them: the
/// alternative names, or the common name where it has none (RFC 6125 section 6.4.4).
pub(super) fn served_names(der: &[u8]) -> Vec<Box<str>> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives
        .iter()
        .flat_map(|each| &each.value.general_names);
    let mut names: Vec<&str> = Vec::new();
    for alternative in alternatives {
        if let GeneralName::DNSName(name) = alternative {
            names.push(name);
        }
    }
    if names.is_empty() {
        let common_name = certificate.subject().iter_common_name().next();
        names.extend(common_name.and_then(|name| name.as_str().ok()));
    }
    names
        .iter()
        .map(|name| name.to_ascii_lowercase().into())
        .collect()
}

fn add(names: &mut Vec<Box<str>>, name: &str) {
    if let Some(name) = host_name(name).map(String::into_boxed_str)
        && names.len() < NAMES_MAX
        && !names.contains(&name)
    {
        names.push(name);
    }
}

/// `text` as it may stand in a log.
fn shown(text: &str) -> String {
    let escape = |c: char| match c {
        ' '..='~' if c != '\\' && c != '"' => String::from(c),
        other => other.escape_unicode().collect(),
    };
    text.chars().take(SUBJECT_MAX).map(escape).collect()
}

/// Days before the end at which it is told, the last one first.
const WARNED_AT: [i64; 4] = [0, 1, 7, 30];
const DAY: i64 = 24 * 3600;
/// Certificates of edge servers have one to four kilobytes.
const DER_MAX: usize = 16 * 1024;
/// A pool of servers with dozens of SIP domains has a name for each.
const NAMES_MAX: usize = 64;
const NAMES_LOOKED_AT: usize = 256;
/// The bound that X.520 sets on a common name.
const SUBJECT_MAX: usize = 64;

#[cfg(test)]
#[path = "certificate/tests.rs"]
mod tests;
