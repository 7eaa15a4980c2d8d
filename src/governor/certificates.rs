//! The certificates that nodes show to probes: dates, names, and whether a pool shows one.
//!
//! Owns what was last seen of each endpoint and what has been told of it. Nothing here is evidence of
//! health: a node with an old certificate is alive. Time is an argument.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::inspect::tls::Certificate;
use crate::relay::session::EndpointNumber;
use crate::snapshot::GroupKey;

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    seen: HashMap<EndpointNumber, Seen>,
    apart: HashMap<GroupKey, Apart>,
}

#[derive(Debug)]
struct Seen {
    certificate: Arc<Certificate>,
    /// The last threshold that was told, in days.
    told: Option<i64>,
}

/// A group whose nodes show different certificates.
#[derive(Debug)]
struct Apart {
    since: Moment,
    is_overdue: bool,
}

/// Something that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The node shows another one than before.
    Changed {
        /// The one before.
        from: Arc<Certificate>,
    },
    /// It expires within so many days; 0: it has expired.
    Expiring(i64),
    /// The nodes of the group show different ones: for less than a day, as in every renewal, or longer.
    Differs {
        /// For longer.
        is_overdue: bool,
    },
    /// They show the same again.
    Agrees,
}

impl Certificates {
    /// An endpoint has shown `certificate`, at `unix` seconds since 1970.
    pub(super) fn note(
        &mut self,
        endpoint: EndpointNumber,
        certificate: Certificate,
        unix: i64,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let known = self.seen.get(&endpoint);
        if known.is_none_or(|seen| *seen.certificate != certificate) {
            let certificate = Arc::new(certificate);
            let told = None;
            let before = self.seen.insert(endpoint, Seen { certificate, told });
            if let Some(before) = before {
                let from = before.certificate;
                notices.push(Notice::Changed { from });
            }
        }
        if let Some(seen) = self.seen.get_mut(&endpoint) {
            let reached = seen.certificate.warned_at(unix);
            if let Some(days) = reached.filter(|days| seen.told.is_none_or(|told| *days < told)) {
                seen.told = Some(days);
                notices.push(Notice::Expiring(days));
            }
        }
        notices
    }

    /// Whether the endpoints of a group show the same.
    pub(super) fn compare(
        &mut self,
        group: &GroupKey,
        endpoints: impl Iterator<Item = EndpointNumber>,
        now: Moment,
    ) -> Option<Notice> {
        let shown = endpoints.filter_map(|number| self.seen.get(&number));
        let shown: BTreeSet<_> = shown
            .map(|seen| (seen.certificate.key, seen.certificate.not_after))
            .collect();
        if shown.len() < 2 {
            return self.apart.remove(group).map(|_| Notice::Agrees);
        }
        let Some(apart) = self.apart.get_mut(group) else {
            let apart = Apart {
                since: now,
                is_overdue: false,
            };
            self.apart.insert(group.clone(), apart);
            return Some(Notice::Differs { is_overdue: false });
        };
        let becomes_overdue = !apart.is_overdue && now.since(apart.since) >= RENEWAL;
        apart.is_overdue |= becomes_overdue;
        becomes_overdue.then_some(Notice::Differs { is_overdue: true })
    }

    /// What an endpoint shows.
    pub(super) fn of(&self, endpoint: EndpointNumber) -> Option<&Arc<Certificate>> {
        self.seen.get(&endpoint).map(|seen| &seen.certificate)
    }

    /// Whether the nodes of a group show different ones.
    pub(super) fn differ(&self, group: &GroupKey) -> bool {
        self.apart.contains_key(group)
    }

    /// Forgets endpoints and groups that are gone.
    pub(super) fn keep(
        &mut self,
        endpoints: impl Fn(EndpointNumber) -> bool,
        groups: impl Fn(&GroupKey) -> bool,
    ) {
        self.seen.retain(|number, _| endpoints(*number));
        self.apart.retain(|key, _| groups(key));
    }
}

/// While certificates are renewed node by node they differ on purpose.
const RENEWAL: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Family, ProbeKind};

    const DAY: i64 = 24 * 3600;

    fn certificate(key: u8, not_after: i64) -> Certificate {
        Certificate {
            subject: "sip.contoso.com".into(),
            names: vec!["sip.contoso.com".into()],
            not_before: 0,
            not_after,
            for_clients: true,
            for_servers: true,
            key: [key; 32],
        }
    }

    #[test]
    fn each_threshold_is_told_once_and_anew_for_another_certificate() {
        let mut certificates = Certificates::default();
        let end = 100 * DAY;
        let mut told = Vec::new();
        for hour in 0..24 * 102 {
            told.extend(certificates.note(1, certificate(1, end), hour * 3600));
        }
        assert_eq!(told, [30, 7, 1, 0].map(Notice::Expiring));
        let renewed = certificates.note(1, certificate(2, end + DAY), 101 * DAY);
        assert!(
            matches!(&renewed[..], [Notice::Changed { from }, Notice::Expiring(0)] if from.key == [1; 32])
        );
        // Late to the party: only what holds now.
        assert_eq!(
            certificates.note(2, certificate(2, 5 * DAY), 0),
            [Notice::Expiring(7)]
        );
    }

    #[test]
    fn a_pool_that_differs_for_a_day_is_told_again_and_then_that_it_agrees() {
        let mut certificates = Certificates::default();
        let group = GroupKey {
            pool: "edge".into(),
            family: Family::Access,
            node_port: 5061,
            is_udp: false,
            kind: ProbeKind::TlsHello,
            http: None,
            probe_port: 5061,
            variant: None,
        };
        let at = |hours: u64| Moment::START + Duration::from_secs(hours * 3600);
        certificates.note(1, certificate(1, 1 << 40), 0);
        assert_eq!(
            certificates.compare(&group, [1, 2].into_iter(), at(0)),
            None
        );
        certificates.note(2, certificate(2, 1 << 40), 0);
        let mut told = Vec::new();
        for hour in 0..60 {
            told.extend(certificates.compare(&group, [1, 2].into_iter(), at(hour)));
        }
        let differs = |is_overdue| Notice::Differs { is_overdue };
        assert_eq!(told, [differs(false), differs(true)]);
        certificates.note(1, certificate(2, 1 << 40), 0);
        assert_eq!(
            certificates.compare(&group, [1, 2].into_iter(), at(60)),
            Some(Notice::Agrees)
        );
        certificates.keep(|number| number == 1, |_| false);
        assert!(certificates.of(1).is_some() && certificates.of(2).is_none());
    }
}
