//! The listeners' own certificates, and when their end is near.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::config::model::Config;
use crate::tls::Credential;

/// Each certificate of `config`, with the name of its listener.
pub(super) fn own(config: &Config) -> impl Iterator<Item = (&str, &Credential)> {
    config.listeners.iter().flat_map(|listener| {
        let termination = listener.termination.iter();
        let credentials = termination.flat_map(|termination| termination.credentials());
        credentials.map(|credential| (&*listener.name, credential))
    })
}

/// What has been said of each certificate, so that it is said once a threshold.
#[derive(Debug, Default)]
pub(super) struct Teller {
    told: HashMap<(PathBuf, i64), i64>,
}

impl Teller {
    /// Says which certificates expire soon, or have expired.
    pub(super) fn look(&mut self, config: &Config, now: Timestamp) {
        let mut told = HashMap::new();
        for (listener, credential) in own(config) {
            let certificate = &credential.certificate;
            let Some(threshold) = certificate.warned_at(now.as_second()) else {
                continue;
            };
            let key = (credential.chain.clone(), certificate.not_after);
            let is_new = self.told.get(&key).is_none_or(|told| threshold < *told);
            if is_new && !told.contains_key(&key) {
                let days = certificate.days_left(now.as_second());
                let (certificate, file) = (certificate.name(), credential.chain.display());
                tracing::warn!(
                    listener, certificate, %file, days,
                    remedy = "renew the file, then reload",
                    "certificate-expiring"
                );
            }
            told.insert(key, threshold);
        }
        self.told = told;
    }
}
