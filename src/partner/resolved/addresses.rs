//! Whose an address is, by all names at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Event, Names};

/// What names an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The partner.
    pub partner: Arc<str>,
    /// One of its names that has the address.
    pub name: Arc<str>,
    /// What that name had before its last drift; empty where it had nothing else.
    pub before: Arc<[IpAddr]>,
}

/// Partners by the addresses of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(HashMap<IpAddr, Named>);

impl Addresses {
    /// What names `address`.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&Named> {
        self.0.get(&address)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Named)> {
        self.0.iter().map(|(address, named)| (*address, named))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Names {
    /// Whether anything has changed since [`settle`](Self::settle).
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.has_news
    }

    /// Whose which address is by now, and what is to be said of it.
    pub fn settle(&mut self) -> (Addresses, Vec<Event>) {
        self.has_news = false;
        let mut owners = BTreeMap::<IpAddr, (Named, BTreeSet<Arc<str>>)>::new();
        for owner in &self.owners {
            for name in self.names_of(owner) {
                let Some(good) = self.hosts.get(name).and_then(|host| host.good.as_ref()) else {
                    continue;
                };
                let before: Arc<[IpAddr]> = good.value.before.iter().copied().collect();
                let addresses = good.value.addresses.iter();
                for address in addresses.filter(|each| self.ground.fault(**each).is_none()) {
                    let claim = owners.entry(*address).or_insert_with(|| {
                        let named = Named {
                            partner: Arc::clone(&owner.name),
                            name: Arc::clone(name),
                            before: Arc::clone(&before),
                        };
                        (named, BTreeSet::new())
                    });
                    claim.1.insert(Arc::clone(&owner.name));
                }
            }
        }
        let is_contested =
            |(_, (_, partners)): &(&IpAddr, &(Named, BTreeSet<_>))| partners.len() > 1;
        let contested = owners.iter().filter(is_contested);
        let contested: BTreeMap<IpAddr, Vec<Arc<str>>> = contested
            .map(|(address, (_, partners))| (*address, partners.iter().map(Arc::clone).collect()))
            .collect();
        owners.retain(|address, _| !contested.contains_key(address));
        let events = self.tell_contested(contested);
        let owners = owners
            .into_iter()
            .map(|(address, (named, _))| (address, named));
        (Addresses(owners.collect()), events)
    }

    fn tell_contested(&mut self, contested: BTreeMap<IpAddr, Vec<Arc<str>>>) -> Vec<Event> {
        let addresses = contested.keys().copied().collect();
        let before = std::mem::replace(&mut self.contested, addresses);
        let is_new = |(address, _): &(IpAddr, _)| !before.contains(address);
        let said = contested.into_iter().filter(is_new).take(SAID_MAX);
        let said = said.map(|(address, partners)| Event::Contested { address, partners });
        let mut events: Vec<Event> = said.collect();
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            events.push(Event::TooMany { left_out });
        }
        events
    }
}

/// Two large partners with one address space would fill the log.
const SAID_MAX: usize = 32;
