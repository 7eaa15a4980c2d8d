//! What DNS says of partners' names.
//!
//! A partner's names are the FQDNs of its `edge` and the target of `_sipfederationtls._tcp` in each of its
//! domains. Owns which question is due when, the last good answer to each, and whose an address is.
//! Asks nobody: questions are handed out ([`Names::ask`]) and answers taken in ([`Names::hear`]).
//!
//! Invariants: a name that has ever resolved never shrinks to nothing, whatever DNS does; a name is asked
//! no sooner than [`TTL_MIN`] after an answer, unless an administrator wants it, and no later than
//! [`TTL_MAX`]; names, addresses and records
//! are bounded; an address that two partners' names have is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::addresses::{Addresses, Named};
use self::entry::Entry;
pub use self::entry::{Failure, Good};
pub use self::ground::{Fault, Ground};
pub use self::service::{Record, Violation, select};
use crate::clock::Moment;
use crate::config::model;

mod addresses;
mod entry;
mod ground;
mod hearing;
mod service;
mod view;

pub use self::view::{Answered, NameView, PartnerView, RecordView, ServiceView, View};

/// An answer holds at least so long, whatever its TTL.
pub const TTL_MIN: Duration = Duration::from_secs(30);
/// An answer holds no longer.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// After failures a name is asked again after no more than this.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Addresses of one name; of more the lowest are kept, so that an order that turns changes nothing.
pub const ADDRESSES_MAX: usize = 64;
/// Records of one service that are kept.
pub const RECORDS_MAX: usize = 16;
/// Names that are asked, domains included.
pub const NAMES_MAX: usize = 4096;

/// What DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// The federation service of a domain: `_sipfederationtls._tcp`, SRV.
    Service(Arc<str>),
    /// The addresses of a host: A and AAAA.
    Addresses(Arc<str>),
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Addresses, in any order.
    Addresses {
        /// Of both families.
        found: Vec<IpAddr>,
        /// One family could not be asked: what was known of it stays.
        unheard: Option<Family>,
        /// The least of all records.
        ttl: Duration,
    },
    /// Records of a service, in the order in which they came.
    Service {
        /// All of them.
        found: Vec<Record>,
        /// The least of all records.
        ttl: Duration,
    },
    /// No answer that can be used.
    Failed(Failure),
}

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    const fn has(self, address: IpAddr) -> bool {
        matches!(
            (self, address),
            (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_))
        )
    }
}

/// What somebody may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name has addresses for the first time.
    Resolved {
        /// The name.
        name: Arc<str>,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// A name of a partner has other addresses than before.
    Drift {
        /// Whose.
        partner: Arc<str>,
        /// The name.
        name: Arc<str>,
        /// What it had; what the target before it had, where the service has another.
        old: Vec<IpAddr>,
        /// What it has.
        new: Vec<IpAddr>,
    },
    /// The service of a domain has another target.
    Retargeted {
        /// The domain.
        domain: Arc<str>,
        /// The target before.
        old: Option<Arc<str>>,
        /// The target from here on.
        new: Option<Arc<str>>,
    },
    /// A target that an Access Edge would refuse.
    Violation {
        /// The domain.
        domain: Arc<str>,
        /// The target.
        target: Arc<str>,
        /// Why.
        why: Violation,
    },
    /// An address that can be no partner's, and is passed over.
    Ignored {
        /// The name.
        name: Arc<str>,
        /// The address.
        address: IpAddr,
        /// Why.
        why: Fault,
    },
    /// A question fails that was answered before, or never was; said once until it recovers.
    Failed {
        /// The question.
        question: Question,
        /// How.
        failure: Failure,
        /// Whether an answer of before is used meanwhile.
        is_known: bool,
    },
    /// A question that failed is answered.
    Recovered {
        /// The question.
        question: Question,
    },
    /// Names of several partners have this address, which is nobody's then.
    Contested {
        /// The address.
        address: IpAddr,
        /// Whose it would be.
        partners: Vec<Arc<str>>,
    },
    /// There are more names than are asked.
    TooMany {
        /// So many are not.
        left_out: usize,
    },
}

/// What of a host is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Host {
    addresses: BTreeSet<IpAddr>,
    /// What it had before its last drift.
    before: BTreeSet<IpAddr>,
}

/// What of a service is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Service {
    records: Vec<Record>,
    target: Option<Arc<str>>,
    /// The target before, until this one has resolved.
    former: Option<Arc<str>>,
}

/// A partner, as far as names matter.
#[derive(Clone, Debug)]
struct Owner {
    name: Arc<str>,
    edge: Vec<Arc<str>>,
    domains: Vec<Arc<str>>,
    /// Nothing but its domains tells where it is.
    leans_on_domains: bool,
}

/// All names of all partners.
#[derive(Debug)]
pub struct Names {
    owners: Vec<Owner>,
    ground: Ground,
    hosts: BTreeMap<Arc<str>, Entry<Host>>,
    services: BTreeMap<Arc<str>, Entry<Service>>,
    /// Addresses that are known to be contested.
    contested: BTreeSet<IpAddr>,
    random: fastrand::Rng,
    left_out: usize,
    has_news: bool,
}

impl Names {
    /// No names. `seed` decides how retries are spread.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            owners: Vec::new(),
            ground: Ground::default(),
            hosts: BTreeMap::new(),
            services: BTreeMap::new(),
            contested: BTreeSet::new(),
            random: fastrand::Rng::with_seed(seed),
            left_out: 0,
            has_news: true,
        }
    }

    /// Takes the names of `partners` from here on. What is known of names that stay, stays.
    pub fn configure(&mut self, partners: &[model::Partner], ground: Ground, now: Moment) {
        let is_welcome =
            |partner: &&model::Partner| partner.federation != model::Federation::Blocked;
        self.owners = partners
            .iter()
            .filter(is_welcome)
            .map(Owner::from)
            .collect();
        self.ground = ground;
        let domains = self.owners.iter().flat_map(|owner| &owner.domains);
        let domains: BTreeSet<Arc<str>> = domains.map(Arc::clone).collect();
        self.services.retain(|domain, _| domains.contains(domain));
        self.left_out = 0;
        for domain in domains {
            let has_room = self.services.len() < NAMES_MAX / 2;
            if has_room {
                let new = || Entry::new(now);
                self.services.entry(domain).or_insert_with(new);
            } else if !self.services.contains_key(&domain) {
                self.left_out += 1;
            }
        }
        self.follow_targets(now);
        self.has_news = true;
    }

    /// Takes up what was known `age` ago, and asks again all the same. What is known already stands.
    pub fn restore(&mut self, question: &Question, heard: Heard, age: Duration, now: Moment) {
        let at = now.before(age);
        match (question, heard) {
            (Question::Addresses(name), Heard::Addresses { found, ttl, .. }) => {
                let addresses = self.ground.usable(&found);
                if let Some(entry) = self.hosts.get_mut(name)
                    && entry.good.is_none()
                    && !addresses.is_empty()
                {
                    let before = BTreeSet::new();
                    let value = Host { addresses, before };
                    entry.good = Some(Good { value, ttl, at });
                }
            }
            (Question::Service(domain), Heard::Service { found, ttl }) => {
                let records = bounded(found);
                if let Some(entry) = self.services.get_mut(domain)
                    && entry.good.is_none()
                {
                    let target = select(domain, &records);
                    let value = Service {
                        records,
                        target,
                        former: None,
                    };
                    entry.good = Some(Good { value, ttl, at });
                    self.follow_targets(now);
                }
            }
            _ => {}
        }
        self.has_news = true;
    }

    /// Questions that are due, the longest due first, no more than `room`. Each is to be answered by
    /// [`hear`](Self::hear).
    pub fn ask(&mut self, now: Moment, room: usize) -> Vec<Question> {
        let services = self.services.iter().filter(|(_, entry)| entry.is_due(now));
        let services = services.map(|(name, each)| (each.due, Question::Service(Arc::clone(name))));
        let hosts = self.hosts.iter().filter(|(_, entry)| entry.is_due(now));
        let hosts = hosts.map(|(name, each)| (each.due, Question::Addresses(Arc::clone(name))));
        let mut due: Vec<_> = services.chain(hosts).collect();
        due.sort_unstable();
        due.truncate(room);
        let questions: Vec<_> = due.into_iter().map(|(_, question)| question).collect();
        for question in &questions {
            match question {
                Question::Service(name) => mark_asked(&mut self.services, name),
                Question::Addresses(name) => mark_asked(&mut self.hosts, name),
            }
        }
        questions
    }

    /// Makes every question due that was not settled just now: an administrator wants to know.
    pub fn ask_again(&mut self, now: Moment) {
        self.hosts.values_mut().for_each(|entry| entry.hasten(now));
        self.services
            .values_mut()
            .for_each(|entry| entry.hasten(now));
    }

    /// When a question will be due that is not being asked; `None`: never.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        let services = self.services.values().filter_map(Entry::next_due);
        services
            .chain(self.hosts.values().filter_map(Entry::next_due))
            .min()
    }

    /// Asks for every host that somebody wants to know, and forgets the others.
    fn follow_targets(&mut self, now: Moment) {
        let services = self
            .services
            .values()
            .filter_map(|entry| entry.good.as_ref());
        let targets = services.flat_map(|good| [&good.value.target, &good.value.former]);
        let targets = targets.flatten();
        let edges = self.owners.iter().flat_map(|owner| &owner.edge);
        let wanted: BTreeSet<Arc<str>> = targets.chain(edges).map(Arc::clone).collect();
        self.hosts.retain(|name, _| wanted.contains(name));
        let mut left_out = 0;
        for name in wanted {
            if self.hosts.contains_key(&name) {
                continue;
            }
            if self.hosts.len() + self.services.len() < NAMES_MAX {
                self.hosts.insert(name, Entry::new(now));
            } else {
                left_out += 1;
            }
        }
        self.left_out = self.left_out.max(left_out);
        self.has_news = true;
    }

    /// Whether `name` is one of the names of `owner`.
    fn has(&self, owner: &Owner, name: &str) -> bool {
        self.names_of(owner).any(|each| **each == *name)
    }

    /// Names of `owner` that are asked, without repetition.
    fn names_of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = &'a Arc<str>> {
        let services = owner
            .domains
            .iter()
            .filter_map(|domain| self.services.get(domain));
        let services = services.filter_map(|entry| entry.good.as_ref());
        let targets = services.flat_map(|good| [&good.value.target, &good.value.former]);
        let targets = targets
            .flatten()
            .filter(|target| !owner.edge.contains(target));
        let unique: BTreeSet<&Arc<str>> = targets.collect();
        owner.edge.iter().chain(unique)
    }

    /// Names that are known, for whoever keeps them.
    #[must_use]
    pub fn known(&self, question: &Question) -> Option<(Heard, Moment)> {
        match question {
            Question::Addresses(name) => {
                let good = self.hosts.get(name)?.good.as_ref()?;
                let found = good.value.addresses.iter().copied().collect();
                let (unheard, ttl) = (None, good.ttl);
                Some((
                    Heard::Addresses {
                        found,
                        unheard,
                        ttl,
                    },
                    good.at,
                ))
            }
            Question::Service(domain) => {
                let good = self.services.get(domain)?.good.as_ref()?;
                let (found, ttl) = (good.value.records.clone(), good.ttl);
                Some((Heard::Service { found, ttl }, good.at))
            }
        }
    }

    /// Whether `question` is asked from time to time.
    #[must_use]
    pub fn is_asked(&self, question: &Question) -> bool {
        match question {
            Question::Addresses(name) => self.hosts.contains_key(name),
            Question::Service(domain) => self.services.contains_key(domain),
        }
    }
}

impl From<&model::Partner> for Owner {
    fn from(partner: &model::Partner) -> Self {
        let unique = |names: &[String]| {
            let names: BTreeSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            names.into_iter().map(Arc::from).collect()
        };
        Self {
            name: Arc::from(partner.name.as_str()),
            edge: unique(&partner.edge),
            domains: unique(&partner.domains),
            leans_on_domains: partner.edge.is_empty() && partner.addresses.is_empty(),
        }
    }
}

fn mark_asked<T>(entries: &mut BTreeMap<Arc<str>, Entry<T>>, name: &str) {
    if let Some(entry) = entries.get_mut(name) {
        entry.is_asked = true;
    }
}

/// The records that come first, in the order in which they came.
fn bounded(mut found: Vec<Record>) -> Vec<Record> {
    if found.len() > RECORDS_MAX {
        found.sort_by_key(Record::rank);
        found.truncate(RECORDS_MAX);
    }
    found
}

#[cfg(test)]
mod tests;
