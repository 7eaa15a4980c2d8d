//! Pins that change whom they are about: where clients become a partner's, or another's.
//!
//! A reload and news from DNS may say of somebody who is connected that it is a partner, is pinned by name from
//! here on, has another name or stands elsewhere in the file. It keeps the node that it had, instead of being
//! placed anew, unless its table says where it is to be (`node`). Of several pins the one that was used last
//! counts. Workers take its sessions along (`relay/life/naming`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::PinAdopted;
use crate::clock::Moment;
use crate::config::model::{Config, Partner, Pin, PinPrefix};
use crate::partner::learned::Names;
use crate::partner::table::{Known, PartnerTable};
use crate::pool::pins::{self, PinKey, PinScope, PinTable};
use crate::pool::placement::Subject;
use crate::relay::recognition::Recognition;

/// A pin that becomes a partner's, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adopted {
    pub(super) from: PinKey,
    pub(super) to: PinKey,
    /// The node that it names.
    pub(super) node: Arc<str>,
    /// The node that the partner's table wants instead: the pin is not taken along.
    pub(super) instead: Option<Arc<str>>,
    /// No listener has the scope of `from` any more: what stays there would be a trap for whoever brings it back.
    is_left_for_good: bool,
}

impl From<&Adopted> for PinAdopted {
    fn from(adopted: &Adopted) -> Self {
        Self {
            partner: adopted.to.subject.to_string(),
            address: adopted.from.subject.to_string(),
            affinity: adopted.to.scope.affinity.to_string(),
            node: adopted.node.to_string(),
            instead: adopted.instead.as_ref().map(ToString::to_string),
        }
    }
}

/// Who is who, and pinned how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) partners: &'a PartnerTable,
}

/// The pins that become partners' when `after` takes the place of `before`: of each partner and scope the one
/// that was used last, unless the partner has one.
pub(super) fn adopted(
    (before, after): (Ground<'_>, Ground<'_>),
    recognition: &Recognition,
    pins: &PinTable,
    now: Moment,
) -> Vec<Adopted> {
    let passage = Passage::new(before, after, recognition, now);
    if passage.changes_nobody() {
        return Vec::new();
    }
    let mut found = passage.of_addresses(pins, now);
    found.extend(passage.of_partners(pins, now));
    // What names a node that goes as well is forgotten with it.
    found.retain(|(_, pin, to)| passage.has_node(to, &pin.node));
    // By key where that is the same, as after a restart: chance decides nothing.
    found.sort_by(|(from, pin, _), (other, than, _)| {
        let use_of = |pin: &pins::Pin| Reverse((pin.sessions > 0, pin.last_used));
        (use_of(pin), from).cmp(&(use_of(than), other))
    });
    let mut taken = HashSet::new();
    let mut adopted = Vec::new();
    for (from, pin, to) in found {
        if pins.look_up(&to, now).is_none() && taken.insert(to.clone()) {
            adopted.push(Adopted {
                instead: passage.instead(&from, &pin, &to),
                is_left_for_good: !passage.is_used(&from.scope),
                node: pin.node,
                from,
                to,
            });
        }
    }
    adopted.sort_by(|a, b| a.to.cmp(&b.to));
    adopted
}

/// Puts it in force, before anybody can come by the new names.
pub(super) fn adopt(adopted: &[Adopted], pins: &PinTable, now: Moment) {
    for Adopted { from, to, .. } in adopted.iter().filter(|each| each.instead.is_none()) {
        pins.rekey(from, to, now);
    }
    // Only then: one pin may have gone to several scopes.
    for each in adopted.iter().filter(|each| each.is_left_for_good) {
        pins.forget(&each.from);
    }
}

/// As [`adopt`], where DNS says it: it may be wrong, and the addresses keep their pins until these lapse.
pub(super) fn adopt_from_dns(adopted: &[Adopted], pins: &PinTable, now: Moment) {
    for Adopted { from, to, .. } in adopted.iter().filter(|each| each.instead.is_none()) {
        pins.lend(from, to, now);
    }
}

/// Prefixes by which clients are pinned, and the partners that have an address in them.
type Around = HashMap<IpNet, BTreeSet<Arc<str>>>;

/// A pin, and whose it would be.
type Found = (PinKey, pins::Pin, PinKey);

/// From who was who to who is.
struct Passage<'a> {
    before: Ground<'a>,
    after: Ground<'a>,
    recognition: &'a Recognition,
    now: Moment,
    /// Scopes in which partners are pinned by name, by the scope that their listeners had.
    scopes: BTreeMap<PinScope, BTreeSet<Arc<PinScope>>>,
    /// Scopes in which partners were pinned by name.
    by_name: HashSet<PinScope>,
    /// Of before and of after.
    around: (Around, Around),
    /// Partners, and who they were.
    heirs: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl<'a> Passage<'a> {
    fn new(
        before: Ground<'a>,
        after: Ground<'a>,
        recognition: &'a Recognition,
        now: Moment,
    ) -> Self {
        let mut passage = Self {
            before,
            after,
            recognition,
            now,
            scopes: scopes(before.config, after.config),
            by_name: by_name(before.config).collect(),
            around: Default::default(),
            heirs: BTreeMap::new(),
        };
        if passage.changes_nobody() {
            return passage;
        }
        passage.around = (passage.around(before), passage.around(after));
        passage.heirs = passage.heirs();
        passage
    }

    /// Whether everybody is pinned as before: the usual reload.
    fn changes_nobody(&self) -> bool {
        let is_same = |(before, after): (&PinScope, &BTreeSet<Arc<PinScope>>)| {
            self.by_name.contains(before) && after.iter().all(|after| **after == *before)
        };
        let (before, after) = (self.before, self.after);
        before.config.partners == after.config.partners
            && before.partners.resolved() == after.partners.resolved()
            && self.scopes.iter().all(is_same)
    }

    /// The prefixes around single addresses of partners that are pinned by name.
    fn around(&self, ground: Ground<'_>) -> Around {
        let listeners = self.after.config.listeners.iter();
        let prefixes: HashSet<PinPrefix> = listeners.map(|each| each.pin_prefix).collect();
        let partners = ground.partners;
        let configured = ground.config.partners.iter();
        let configured = configured.flat_map(|each| &each.addresses).copied();
        let named = partners.resolved().iter();
        let named = named.map(|(address, _)| IpNet::from(address));
        let is_wanted = |names: &Names| partners.by_certificate(names).is_some();
        let seen = self.recognition.learned.seen_from(self.now, is_wanted);
        let seen = seen.into_iter().map(|(address, _)| IpNet::from(address));
        let mut around = Around::new();
        for net in configured.chain(named).chain(seen) {
            let owner = self.recognition.recognise(partners, net.addr(), self.now);
            let Some((owner, _)) = owner.filter(|(known, _)| known.pin == Pin::Partner) else {
                continue;
            };
            for prefix in &prefixes {
                if let Subject::Prefix(prefix) = Subject::of_client(net.addr(), *prefix)
                    && prefix.prefix_len() <= net.prefix_len()
                {
                    let owners = around.entry(prefix).or_default();
                    owners.insert(Arc::clone(&owner.name));
                }
            }
        }
        around
    }

    /// Who was called otherwise, by addresses and names that passed from one to the other.
    fn heirs(&self) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let (before, after) = (self.before, self.after);
        let mut heirs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let mut note = |was: &Arc<str>, is: &Arc<str>| {
            if was != is {
                let earlier = heirs.entry(Arc::clone(is)).or_default();
                earlier.insert(Arc::clone(was));
            }
        };
        let partners = || before.config.partners.iter().chain(&after.config.partners);
        for net in partners().flat_map(|each| &each.addresses) {
            let was = before.partners.find(net.addr());
            if let (Some(was), Some(is)) = (was, after.partners.find(net.addr())) {
                note(&was.name, &is.name);
            }
        }
        let (was, is) = (
            owners(&before.config.partners),
            owners(&after.config.partners),
        );
        for (name, was) in &was {
            if let Some(is) = is.get(name) {
                note(&Arc::from(*was), &Arc::from(*is));
            }
        }
        heirs
    }

    /// Pins of addresses that are a partner's, and were not.
    fn of_addresses(&self, pins: &PinTable, now: Moment) -> Vec<Found> {
        let is_concerned = |key: &PinKey, _: &pins::Pin| match &key.subject {
            Subject::Prefix(net) => {
                self.scopes.contains_key(&*key.scope)
                    && (self.around.1.contains_key(net)
                        || self.after.partners.find(net.addr()).is_some())
            }
            Subject::Partner(_) => false,
        };
        let mut found = Vec::new();
        for (from, pin) in pins.list_where(now, is_concerned) {
            let Subject::Prefix(net) = &from.subject else {
                continue;
            };
            let were = match self.by_name.contains(&*from.scope) {
                true => within(&self.around.0, self.before, net),
                false => BTreeSet::new(),
            };
            let are = within(&self.around.1, self.after, net);
            for to in self.scopes.get(&*from.scope).into_iter().flatten() {
                // Who was pinned by name has left the pin of the address behind long ago.
                for owner in are.difference(&were) {
                    let to = PinKey::of_partner(to, owner);
                    found.push((from.clone(), pin.clone(), to));
                }
            }
        }
        found
    }

    /// Pins of partners that are called otherwise now, or whose listeners share pins with others.
    fn of_partners(&self, pins: &PinTable, now: Moment) -> Vec<Found> {
        let mut found = Vec::new();
        let none = BTreeSet::new();
        let is_by_name = |known: &&Arc<Known>| known.pin == Pin::Partner;
        for known in self.after.partners.iter().filter(is_by_name) {
            let earlier = self.heirs.get(&known.name).unwrap_or(&none);
            for (before, after) in &self.scopes {
                let scope = Arc::new(before.clone());
                for to in after {
                    let itself = (**to != *before).then_some(&known.name);
                    for was in earlier.iter().chain(itself) {
                        let from = PinKey::of_partner(&scope, was);
                        if let Some(pin) = pins.inspect(&from, now) {
                            found.push((from, pin, PinKey::of_partner(to, &known.name)));
                        }
                    }
                }
            }
        }
        found
    }

    /// Whether a listener pins in `scope` from here on.
    fn is_used(&self, scope: &PinScope) -> bool {
        let listeners = &self.after.config.listeners;
        let mut scopes = listeners.iter().map(|each| (&each.pool, &each.affinity));
        scopes.any(|(pool, affinity)| **pool == *scope.pool && **affinity == *scope.affinity)
    }

    /// Whether `node` is one of those that `key` may name.
    fn has_node(&self, key: &PinKey, node: &str) -> bool {
        let pools = self.after.config.pools.iter();
        let mut pools = pools.filter(|pool| *pool.name == *key.scope.pool);
        pools.any(|pool| pool.nodes.iter().any(|known| known.name == node))
    }

    /// The node that the partner's table wants, where that is news and the pin names another.
    fn instead(&self, from: &PinKey, pin: &pins::Pin, to: &PinKey) -> Option<Arc<str>> {
        let known = |ground: &Ground<'a>, subject: &Subject| match subject {
            Subject::Partner(name) => ground.partners.by_name(name),
            Subject::Prefix(_) => None,
        };
        let wanted = known(&self.after, &to.subject)?.wants_instead_of(&pin.node)?;
        let was = known(&self.before, &from.subject);
        let is_news = was.is_none_or(|was| was.node.as_ref() != Some(wanted));
        (is_news && self.has_node(to, wanted)).then(|| Arc::clone(wanted))
    }
}

/// Partners pinned by name whose clients come from `net`.
fn within<'a>(around: &'a Around, ground: Ground<'a>, net: &IpNet) -> BTreeSet<&'a Arc<str>> {
    let all = ground.partners.find(net.addr());
    let all = all.filter(|known| known.pin == Pin::Partner);
    let some = around.get(net).into_iter().flatten();
    some.chain(all.map(|known| &known.name)).collect()
}

/// Where partners are pinned by name.
fn by_name(config: &Config) -> impl Iterator<Item = PinScope> {
    let listeners = config.listeners.iter();
    let listeners = listeners.filter(|listener| listener.pin == Pin::Partner);
    listeners.map(|listener| PinScope {
        pool: Arc::from(&*listener.pool),
        affinity: Arc::from(&*listener.affinity),
    })
}

/// Scopes of `new` in which partners are pinned by name, by the scopes that their listeners have in `old`; one that
/// is new there is its own.
fn scopes(old: &Config, new: &Config) -> BTreeMap<PinScope, BTreeSet<Arc<PinScope>>> {
    let mut scopes: BTreeMap<PinScope, BTreeSet<Arc<PinScope>>> = BTreeMap::new();
    let by_name = new.listeners.iter();
    for listener in by_name.filter(|listener| listener.pin == Pin::Partner) {
        let affinity = |affinity: &str| PinScope {
            pool: Arc::from(&*listener.pool),
            affinity: Arc::from(affinity),
        };
        let scope = Arc::new(affinity(&listener.affinity));
        let mut known = old.listeners.iter();
        let known = known.find(|old| old.name == listener.name && old.pool == listener.pool);
        let earlier = known.map(|known| affinity(&known.affinity));
        for earlier in earlier.into_iter().chain([(*scope).clone()]) {
            scopes
                .entry(earlier)
                .or_default()
                .insert(Arc::clone(&scope));
        }
    }
    scopes
}

/// Partners by what names them beside their addresses; what names several names nobody.
fn owners(partners: &[Partner]) -> HashMap<(u8, String), &str> {
    let mut owners: HashMap<_, Option<&str>> = HashMap::new();
    for partner in partners {
        let kinds = [&partner.edge, &partner.domains, &partner.certificate_names];
        for (kind, names) in (0..).zip(kinds) {
            for name in names {
                let owner = owners.entry((kind, name.to_ascii_lowercase()));
                let owner = owner.or_insert(Some(&partner.name));
                if *owner != Some(&*partner.name) {
                    *owner = None;
                }
            }
        }
    }
    let named = owners.into_iter();
    named
        .filter_map(|(name, owner)| Some((name, owner?)))
        .collect()
}

#[cfg(test)]
mod tests;
