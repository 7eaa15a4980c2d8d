//! What is known of each partner's names, for whoever looks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::service::{Record, Violation, violation};
use super::{Failure, Names, Owner};
use crate::clock::Moment;

/// Everything, by partner.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By the partner's name.
    pub partners: BTreeMap<Arc<str>, PartnerView>,
}

/// What is known of one partner.
#[derive(Clone, Debug, Default)]
pub struct PartnerView {
    /// Its host names.
    pub names: Vec<NameView>,
    /// Its domains.
    pub services: Vec<ServiceView>,
}

/// A host name.
#[derive(Clone, Debug)]
pub struct NameView {
    /// The name.
    pub name: Arc<str>,
    /// Its addresses by the last good answer.
    pub addresses: Vec<IpAddr>,
    /// How the answer stands.
    pub standing: Answered,
}

/// The service of a domain.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// The domain.
    pub domain: Arc<str>,
    /// The target that is used.
    pub target: Option<Arc<str>>,
    /// All records.
    pub records: Vec<RecordView>,
    /// Whether the partner is in want of it: nothing else tells where it is.
    pub is_needed: bool,
    /// How the answer stands.
    pub standing: Answered,
}

/// One record of a service.
#[derive(Clone, Debug)]
pub struct RecordView {
    /// The record.
    pub record: Record,
    /// Why an Access Edge refuses it.
    pub violation: Option<Violation>,
}

/// How the last good answer stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answered {
    /// When it came.
    pub at: Option<Moment>,
    /// How long it holds by its own word.
    pub ttl: Option<Duration>,
    /// How the question fails since.
    pub failure: Option<Failure>,
}

impl Answered {
    fn of<T>(entry: Option<&Entry<T>>) -> Self {
        let good = entry.and_then(|entry| entry.good.as_ref());
        Self {
            at: good.map(|good| good.at),
            ttl: good.map(|good| good.ttl),
            failure: entry.and_then(|entry| entry.failure),
        }
    }
}

impl Names {
    /// What is known.
    #[must_use]
    pub fn view(&self) -> View {
        let of_owner = |owner: &Owner| PartnerView {
            names: self
                .names_of(owner)
                .map(|name| self.name_view(name))
                .collect(),
            services: owner
                .domains
                .iter()
                .map(|domain| self.service_view(owner, domain))
                .collect(),
        };
        let partners = self.owners.iter();
        View {
            partners: partners
                .map(|owner| (Arc::clone(&owner.name), of_owner(owner)))
                .collect(),
        }
    }

    fn name_view(&self, name: &Arc<str>) -> NameView {
        let entry = self.hosts.get(name);
        let good = entry.and_then(|entry| entry.good.as_ref());
        let addresses = good.into_iter().flat_map(|good| &good.value.addresses);
        NameView {
            name: Arc::clone(name),
            addresses: addresses.copied().collect(),
            standing: Answered::of(entry),
        }
    }

    fn service_view(&self, owner: &Owner, domain: &Arc<str>) -> ServiceView {
        let entry = self.services.get(domain);
        let good = entry.and_then(|entry| entry.good.as_ref());
        let records = good.into_iter().flat_map(|good| &good.value.records);
        let records = records.map(|record| RecordView {
            record: record.clone(),
            violation: violation(domain, &record.target),
        });
        ServiceView {
            domain: Arc::clone(domain),
            target: good.and_then(|good| good.value.target.clone()),
            records: records.collect(),
            is_needed: owner.leans_on_domains,
            standing: Answered::of(entry),
        }
    }
}
