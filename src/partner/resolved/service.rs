//! SRV records of federation, chosen as an Access Edge chooses.
//!
//! It takes the lowest priority, of these the highest weight (not at random, as RFC 2782 has it), of
//! these the first that came; and it refuses a target that is not directly in the very domain.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Lower is better.
    pub priority: u16,
    /// Higher is better.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// A host name in lower case, without the final dot; empty: the service is not offered.
    pub target: Arc<str>,
}

impl Record {
    pub(super) const fn rank(&self) -> (u16, Reverse<u16>) {
        (self.priority, Reverse(self.weight))
    }
}

/// Why an Access Edge refuses a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It is in a sub-domain.
    SubDomain,
    /// It is in another domain.
    OtherDomain,
    /// There is none: the service is not offered.
    NotOffered,
}

impl Violation {
    /// As people read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SubDomain => "the target is in a sub-domain",
            Self::OtherDomain => "the target is in another domain",
            Self::NotOffered => "the service is not offered",
        }
    }
}

/// What is wrong with `target` for `domain`.
pub(super) fn violation(domain: &str, target: &str) -> Option<Violation> {
    if target.is_empty() {
        return Some(Violation::NotOffered);
    }
    let Some(host) = target
        .strip_suffix(domain)
        .and_then(|rest| rest.strip_suffix('.'))
    else {
        return Some(Violation::OtherDomain);
    };
    match host {
        "" => Some(Violation::OtherDomain),
        host => host.contains('.').then_some(Violation::SubDomain),
    }
}

/// All targets of `records` that may not be used, once each.
pub(super) fn violations(domain: &str, records: &[Record]) -> Vec<(Arc<str>, Violation)> {
    let mut found: Vec<(Arc<str>, Violation)> = Vec::new();
    for record in records {
        if let Some(why) = violation(domain, &record.target)
            && found.iter().all(|(target, _)| *target != record.target)
        {
            found.push((Arc::clone(&record.target), why));
        }
    }
    found
}

/// The target that an Access Edge would use for `domain`; none where it would use none.
#[must_use]
pub fn select(domain: &str, records: &[Record]) -> Option<Arc<str>> {
    let legal = records
        .iter()
        .filter(|record| violation(domain, &record.target).is_none());
    // The first of the least.
    legal
        .min_by_key(|record| record.rank())
        .map(|record| Arc::clone(&record.target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> Record {
        let (port, target) = (5061, target.into());
        Record {
            priority,
            weight,
            port,
            target,
        }
    }

    #[test]
    fn the_lowest_priority_wins_then_the_highest_weight_then_the_first() {
        let chosen = |records: &[Record]| select("contoso.com", records).unwrap();
        let records = [
            record(10, 1, "a.contoso.com"),
            record(5, 1, "b.contoso.com"),
            record(5, 9, "c.contoso.com"),
            record(5, 9, "d.contoso.com"),
        ];
        assert_eq!(&*chosen(&records), "c.contoso.com");
        assert_eq!(&*chosen(&records[..2]), "b.contoso.com");
        assert_eq!(&*chosen(&records[3..]), "d.contoso.com");
    }

    #[test]
    fn only_a_host_of_the_very_domain_is_a_target() {
        let wrong = |target: &str| violation("contoso.com", target);
        assert_eq!(wrong("sip.contoso.com"), None);
        assert_eq!(wrong("sip.eu.contoso.com"), Some(Violation::SubDomain));
        assert_eq!(wrong("sip.fabrikam.com"), Some(Violation::OtherDomain));
        assert_eq!(wrong("sipcontoso.com"), Some(Violation::OtherDomain));
        assert_eq!(wrong("contoso.com"), Some(Violation::OtherDomain));
        assert_eq!(wrong(".contoso.com"), Some(Violation::OtherDomain));
        assert_eq!(wrong(""), Some(Violation::NotOffered));
        let records = [
            record(1, 9, "sip.fabrikam.com"),
            record(2, 0, "sip.contoso.com"),
        ];
        assert_eq!(
            select("contoso.com", &records).as_deref(),
            Some("sip.contoso.com")
        );
        assert_eq!(select("contoso.com", &records[..1]), None);
        assert_eq!(violations("contoso.com", &records).len(), 1);
    }
}
