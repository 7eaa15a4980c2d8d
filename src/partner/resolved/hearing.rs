//! What is made of an answer, or of none.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, Good};
use super::{
    ADDRESSES_MAX, Event, Failure, Family, Heard, Host, Names, Question, Record, Service, bounded,
    select, service,
};
use crate::clock::Moment;

impl Names {
    /// Takes in what was heard. What is not asked any more is passed over.
    pub fn hear(&mut self, question: &Question, heard: Heard, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        match (question, heard) {
            (
                Question::Addresses(name),
                Heard::Addresses {
                    found,
                    unheard,
                    ttl,
                },
            ) => {
                self.hear_addresses(name, (&found, unheard, ttl), now, &mut events);
            }
            (Question::Service(domain), Heard::Service { found, ttl }) => {
                self.hear_service(domain, (found, ttl), now, &mut events);
            }
            (_, Heard::Failed(failure)) => self.hear_failure(question, failure, now, &mut events),
            // Not an answer to this question.
            (_, Heard::Addresses { .. } | Heard::Service { .. }) => {
                self.hear_failure(question, Failure::Unusable, now, &mut events);
            }
        }
        events
    }

    fn hear_addresses(
        &mut self,
        name: &Arc<str>,
        (found, unheard, ttl): (&[IpAddr], Option<Family>, Duration),
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        let question = Question::Addresses(Arc::clone(name));
        let Some(entry) = self.hosts.get_mut(name) else {
            return;
        };
        let faults = self.ground.faults(found);
        for (address, why) in entry.newly_noted(&faults) {
            let (name, address) = (Arc::clone(name), *address);
            events.push(Event::Ignored {
                name,
                address,
                why: *why,
            });
        }
        let mut addresses = self.ground.usable(found);
        if addresses.is_empty() {
            let failure = if found.is_empty() {
                Failure::Empty
            } else {
                Failure::Unusable
            };
            return self.hear_failure(&question, failure, now, events);
        }
        let known = entry.good.as_ref().map(|good| good.value.clone());
        let kept = known.iter().flat_map(|host| &host.addresses);
        addresses.extend(kept.filter(|each| unheard.is_some_and(|family| family.has(**each))));
        while addresses.len() > ADDRESSES_MAX {
            addresses.pop_last();
        }
        let old = known.as_ref().map(|host| host.addresses.clone());
        let is_other = old.as_ref().is_none_or(|old| *old != addresses);
        let before = match (known, is_other) {
            (Some(host), true) => host.addresses,
            (Some(host), false) => host.before,
            (None, _) => BTreeSet::new(),
        };
        let new: Vec<IpAddr> = addresses.iter().copied().collect();
        let value = Host { addresses, before };
        if entry.answered(Good {
            value,
            ttl,
            at: now,
        }) {
            events.push(Event::Recovered { question });
        }
        if is_other {
            self.has_news = true;
            self.tell_drift(name, old, new, events);
        }
        self.let_go_of_former(name, now);
    }

    /// `name` has `new`; what it had is `old`, or what the target had that it took the place of.
    fn tell_drift(
        &mut self,
        name: &Arc<str>,
        old: Option<BTreeSet<IpAddr>>,
        new: Vec<IpAddr>,
        events: &mut Vec<Event>,
    ) {
        let replaced = || {
            let mut services = self
                .services
                .values()
                .filter_map(|entry| entry.good.as_ref());
            let service = services.find(|good| good.value.target.as_ref() == Some(name))?;
            let former = self
                .hosts
                .get(service.value.former.as_ref()?)?
                .good
                .as_ref()?;
            Some(former.value.addresses.clone())
        };
        let is_first = old.is_none();
        let Some(old) = old.or_else(replaced) else {
            let name = Arc::clone(name);
            events.push(Event::Resolved {
                name,
                addresses: new,
            });
            return;
        };
        if is_first
            && let Some(good) = self
                .hosts
                .get_mut(name)
                .and_then(|entry| entry.good.as_mut())
        {
            good.value.before.clone_from(&old);
        }
        if old.iter().eq(&new) {
            return;
        }
        for owner in self.owners.iter().filter(|owner| self.has(owner, name)) {
            events.push(Event::Drift {
                partner: Arc::clone(&owner.name),
                name: Arc::clone(name),
                old: old.iter().copied().collect(),
                new: new.clone(),
            });
        }
    }

    /// The target `name` has resolved: those that it took the place of are not needed any more.
    fn let_go_of_former(&mut self, name: &Arc<str>, now: Moment) {
        let mut is_any = false;
        for entry in self.services.values_mut() {
            if let Some(good) = &mut entry.good
                && good.value.target.as_ref() == Some(name)
                && good.value.former.take().is_some()
            {
                is_any = true;
            }
        }
        if is_any {
            self.follow_targets(now);
        }
    }

    fn hear_service(
        &mut self,
        domain: &Arc<str>,
        (found, ttl): (Vec<Record>, Duration),
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        let question = Question::Service(Arc::clone(domain));
        let Some(entry) = self.services.get_mut(domain) else {
            return;
        };
        if found.is_empty() {
            return self.hear_failure(&question, Failure::Empty, now, events);
        }
        let records = bounded(found);
        let violations = service::violations(domain, &records);
        for (target, why) in entry.newly_noted(&violations) {
            let (domain, target) = (Arc::clone(domain), Arc::clone(target));
            events.push(Event::Violation {
                domain,
                target,
                why: *why,
            });
        }
        let old = entry
            .good
            .as_ref()
            .map(|good| good.value.clone())
            .unwrap_or_default();
        let chosen = select(domain, &records);
        let is_other = chosen.is_some() && chosen != old.target;
        let is_resolved = |name: &Arc<str>| {
            let entry = self.hosts.get(name);
            entry.is_some_and(Entry::is_known)
        };
        // A service that names nobody is like one that does not answer: who was known stays.
        let (target, former) = if is_other {
            let known = old.target.clone().filter(is_resolved);
            (chosen, known.or(old.former))
        } else {
            (old.target.clone(), old.former)
        };
        let retargeted = (old.target, target.clone());
        let value = Service {
            records,
            target,
            former,
        };
        if entry.answered(Good {
            value,
            ttl,
            at: now,
        }) {
            events.push(Event::Recovered { question });
        }
        self.has_news = true;
        if is_other {
            let (old, new) = retargeted;
            let domain = Arc::clone(domain);
            let target = new.clone();
            events.push(Event::Retargeted { domain, old, new });
            self.follow_targets(now);
            // It may be known already under another name of the partner.
            let is_known = |name: &Arc<str>| {
                self.hosts
                    .get(name)
                    .is_some_and(|entry| entry.good.is_some())
            };
            if let Some(target) = target.filter(is_known) {
                self.let_go_of_former(&target, now);
            }
        }
    }

    fn hear_failure(
        &mut self,
        question: &Question,
        failure: Failure,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        let leans_on = |domain: &str| {
            let mut owners = self.owners.iter().filter(|owner| owner.leans_on_domains);
            owners.any(|owner| owner.domains.iter().any(|each| **each == *domain))
        };
        let (is_first, is_known) = match question {
            Question::Addresses(name) => match self.hosts.get_mut(name) {
                Some(entry) => (
                    entry.failed(failure, now, &mut self.random),
                    entry.is_known(),
                ),
                None => return,
            },
            Question::Service(domain) => {
                let is_told = !failure.is_word() || leans_on(domain);
                match self.services.get_mut(domain) {
                    Some(entry) => {
                        let is_first = entry.failed(failure, now, &mut self.random);
                        (is_first && (is_told || entry.is_known()), entry.is_known())
                    }
                    None => return,
                }
            }
        };
        self.has_news = true;
        if is_first {
            let question = question.clone();
            events.push(Event::Failed {
                question,
                failure,
                is_known,
            });
        }
    }
}
