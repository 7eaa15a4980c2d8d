//! Invented histories of names: partners that move, DNS that lies, certificates that are learned.
//!
//! Owns the world and its rules; what happens in it is `names/history`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::{Config, PinPrefix};
use pinfold::control::naming::take_pins_along;
use pinfold::partner::learned::{Lesson, Spoken};
use pinfold::partner::resolved::{ADDRESSES_MAX, Ground, Heard, Names, Question, TTL_MIN};
use pinfold::partner::table::PartnerTable;
use pinfold::pool::pins::{NewPin, PinKey, PinScope, PinTable, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::relay::recognition::{KnownBy, Recognition};

mod history;

pub(crate) use history::{run, tally};

/// What is done otherwise than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    AsBuilt,
    ForgetsWhatWasKnown,
    LetsTheFirstClaimStand,
    ForgetsToLearn,
    LearnsFromWhoeverCame,
    BlocksByCertificate,
    LeavesPinsBehind,
    BelievesTtl,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) contested: u64,
    pub(crate) failed: u64,
    pub(crate) drifted: u64,
    pub(crate) learned: u64,
    pub(crate) doubted: u64,
    pub(crate) come_again: u64,
    pub(crate) taken_along: u64,
}

const CONFIG: &str = r#"
version = 1
[[pool]]
name = "edge"
[[pool.node]]
name = "node0"
address = "198.51.100.10"
[[pool.node]]
name = "node1"
address = "198.51.100.11"
[[pool.node]]
name = "node2"
address = "198.51.100.12"
[[pool.node]]
name = "node3"
address = "198.51.100.13"
[[listener]]
name = "federation"
bind = "203.0.113.10:5061"
service = "federation"
pool = "edge"
[[partner]]
name = "edge0"
edge = ["sip.zero.example"]
generation = "ocs-2007"
[[partner]]
name = "edge1"
edge = ["sip.one.example", "sip2.one.example"]
generation = "ocs-2007"
[[partner]]
name = "domain2"
domains = ["two.example"]
generation = "ocs-2007"
[[partner]]
name = "address3"
addresses = ["192.0.2.192/28"]
certificate_names = ["three.example"]
generation = "ocs-2007"
[[partner]]
name = "blocked4"
federation = "blocked"
addresses = ["192.0.2.240/28"]
edge = ["sip.four.example"]
generation = "ocs-2007"
"#;

/// The names in the certificate of each partner.
const CERTIFICATES: [(&str, &str); 5] = [
    ("edge0", "sip.zero.example"),
    ("edge1", "sip.one.example"),
    ("domain2", "sip.two.example"),
    ("address3", "three.example"),
    ("blocked4", "sip.four.example"),
];

/// An address of our own.
const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));
const NODES: u8 = 4;
const PIN_TTL: Duration = Duration::from_secs(1200);
const DOUBT: Duration = pinfold::partner::learned::Learned::DOUBT;

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Where a partner came from while nobody knew it, and where it was placed.
#[derive(Clone, Debug)]
struct Place {
    ip: IpAddr,
    node: Arc<str>,
    at: Moment,
    /// Somebody else who was taken for it had made a pin of its name already.
    was_pinned: bool,
}

pub(crate) struct World {
    now: Moment,
    rule: NameRule,
    config: Config,
    ground: Ground,
    names: Names,
    table: PartnerTable,
    recognition: Recognition,
    pins: PinTable,
    /// Answers on their way.
    answers: Vec<(Moment, Question, Heard)>,
    /// Where each partner is.
    homes: BTreeMap<&'static str, IpAddr>,
    /// Names that have had addresses, and partners whose names have had some.
    known: BTreeSet<Question>,
    known_partners: BTreeSet<Arc<str>>,
    /// When each question was last answered well.
    answered: BTreeMap<Question, Moment>,
    /// Who showed a certificate from where, and when last.
    shown: BTreeMap<IpAddr, (&'static str, Moment, Option<Moment>)>,
    /// Where those were placed that came last and were not known.
    placed: BTreeMap<&'static str, Place>,
    happened: Happened,
    violation: Option<String>,
}

impl World {
    fn new(seed: u64, rule: NameRule) -> Self {
        let config = pinfold::config::parse("names.toml", CONFIG).unwrap().config;
        let ground = Ground {
            is_laboratory: false,
            own: BTreeSet::from([OWN]),
        };
        let now = Moment::from_micros(1_000_000);
        let mut names = Names::new(seed);
        names.configure(&config.partners, ground.clone(), now);
        let homes = CERTIFICATES.iter().zip(1..);
        Self {
            now,
            rule,
            table: PartnerTable::new(&config.partners),
            config,
            ground,
            names,
            recognition: Recognition::new(1, 1).0,
            pins: PinTable::new(50),
            answers: Vec::new(),
            homes: homes
                .map(|((name, _), last)| (*name, address(last)))
                .collect(),
            known: BTreeSet::new(),
            known_partners: BTreeSet::new(),
            answered: BTreeMap::new(),
            shown: BTreeMap::new(),
            placed: BTreeMap::new(),
            happened: Happened::default(),
            violation: None,
        }
    }

    fn key(&self, subject: Subject) -> PinKey {
        let scope = PinScope {
            pool: "edge".into(),
            affinity: "federation".into(),
        };
        PinKey::new(&Arc::new(scope), subject)
    }

    fn key_of(&self, ip: IpAddr) -> PinKey {
        self.key(Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 }))
    }

    fn key_named(&self, name: &str) -> PinKey {
        self.key(Subject::Partner(name.into()))
    }

    /// Publishes whose which address is.
    fn publish(&mut self) {
        if !self.names.has_news() {
            return;
        }
        let (found, _) = self.names.settle();
        let before = self.table.clone();
        self.table = before.with_resolved(Arc::new(found));
        if self.rule != NameRule::LeavesPinsBehind {
            let (names, now) = ((&before, &self.table), self.now);
            let taken = take_pins_along(&self.config, names, &self.recognition, &self.pins, now);
            self.happened.taken_along += taken as u64;
        }
    }

    /// Whoever shows that it is a partner takes the pin of its address along.
    fn take_along(&mut self, from: &PinKey, to: &PinKey) {
        if self.rule != NameRule::LeavesPinsBehind {
            let is_new = self.pins.rekey(from, to, self.now);
            self.happened.taken_along += u64::from(is_new);
        }
    }

    /// Who a client is taken for.
    fn recognise(&self, ip: IpAddr) -> Option<(Arc<str>, KnownBy)> {
        if self.rule == NameRule::LetsTheFirstClaimStand && self.table.find(ip).is_none() {
            let claims = self.all_claims().remove(&ip);
            let claim = claims.and_then(|claims| claims.into_iter().next());
            if let Some(partner) = claim {
                return Some((partner, KnownBy::Name));
            }
        }
        if self.rule == NameRule::LearnsFromWhoeverCame
            && self.table.find(ip).is_none()
            && self.table.named(ip).is_none()
        {
            let (last, ..) = self.shown.get(&ip)?;
            return Some((Arc::from(*last), KnownBy::Certificate));
        }
        let known = self.recognition.recognise(&self.table, ip, self.now);
        known.map(|(known, by)| (Arc::clone(&known.name), by))
    }

    /// Whether a client is refused.
    fn is_refused(&self, ip: IpAddr) -> bool {
        let shown = self.shown.get(&ip).map(|(last, ..)| *last);
        let wrongly = self.rule == NameRule::BlocksByCertificate && shown == Some("blocked4");
        let known = self.recognition.recognise(&self.table, ip, self.now);
        wrongly || known.is_some_and(|(known, _)| known.blocked)
    }

    /// Of each address the partners one of whose names has it.
    fn all_claims(&self) -> BTreeMap<IpAddr, BTreeSet<Arc<str>>> {
        let mut claims = BTreeMap::<_, BTreeSet<_>>::new();
        for (partner, view) in self.names.view().partners {
            for ip in view.names.iter().flat_map(|name| &name.addresses) {
                claims.entry(*ip).or_default().insert(Arc::clone(&partner));
            }
        }
        claims
    }

    /// A partner connects from where it is, and shows its certificate or not.
    fn come(&mut self, partner: &'static str, turn: u8, shows: bool) {
        let ip = self.homes[partner];
        let refused_rightly = self.table.find(ip).is_some_and(|known| known.blocked);
        if self.is_refused(ip) != refused_rightly {
            self.violation = Some(format!("{ip} is refused, or let in, by what was learned"));
        }
        if refused_rightly {
            return;
        }
        let known = self.recognise(ip);
        self.check_come_again(partner, ip, known.as_ref());
        let key = match &known {
            Some((name, _)) => self.key_named(name),
            None => self.key_of(ip),
        };
        let pinned = self.pins.look_up(&key, self.now);
        let node = pinned.unwrap_or_else(|| format!("node{}", turn % NODES).into());
        let new = NewPin {
            node: Arc::clone(&node),
            by: PinnedBy::Placed,
            revision: 1,
            ttl: PIN_TTL,
            looks_legacy: false,
        };
        let _ = self.pins.pin(&key, new, self.now);
        if let Some(lease) = self.pins.lease(&key, self.now) {
            self.pins.release(lease, self.now);
        }
        // Who is taken for another one has made a pin of its name.
        if let Some((name, _)) = known.as_ref().filter(|(name, _)| **name != *partner) {
            self.placed.retain(|other, _| **other != **name);
        }
        self.check_node(partner, ip, &node, known.as_ref().map(|(name, _)| name));
        if shows {
            self.show(partner, ip);
        } else {
            let (spoken, now) = (Spoken::default(), self.now);
            self.recognition.learned.renew(ip, spoken, now);
        }
    }

    /// A node has accepted the partner's certificate.
    fn show(&mut self, partner: &'static str, ip: IpAddr) {
        let now = self.now;
        let mut certificates = CERTIFICATES.iter();
        let (_, name) = certificates.find(|(name, _)| *name == partner).unwrap();
        let differed = match self.shown.get(&ip) {
            Some((last, _, _)) if *last != partner => Some(now),
            Some((_, _, differed)) => *differed,
            None => None,
        };
        self.shown.insert(ip, (partner, now, differed));
        self.happened.doubted += u64::from(differed == Some(now));
        if self.rule == NameRule::ForgetsToLearn {
            return;
        }
        let names: [Box<str>; 1] = [(*name).into()];
        let learned = &self.recognition.learned;
        let lesson = learned.observe(ip, &names, Spoken::default(), now);
        let is_trusted = self.table.find(ip).is_some() || self.table.named(ip).is_some();
        let owner = self
            .table
            .by_certificate(&names)
            .map(|each| Arc::clone(&each.name));
        if let Some(owner) = owner.filter(|_| !is_trusted)
            && matches!(lesson, Lesson::New | Lesson::Renewed)
        {
            self.happened.learned += 1;
            let (from, to) = (self.key_of(ip), self.key_named(&owner));
            self.take_along(&from, &to);
        }
    }

    /// Whoever has shown who it is is known the next time; who is in doubt is not.
    fn check_come_again(&mut self, partner: &str, ip: IpAddr, known: Option<&(Arc<str>, KnownBy)>) {
        let is_trusted = self.table.find(ip).is_some() || self.table.named(ip).is_some();
        let Some((shown, at, differed)) = self.shown.get(&ip).filter(|_| !is_trusted) else {
            return;
        };
        let is_doubtful = differed.is_some_and(|at| self.now.since(at) < DOUBT);
        let is_fresh = self.now.since(*at) < DOUBT;
        let wrong = match known {
            Some((_, KnownBy::Certificate)) => is_doubtful,
            Some(_) => false,
            None => !is_doubtful && is_fresh && *shown == partner && *shown != "blocked4",
        };
        let is_other = known.is_some_and(|(name, _)| **name != **shown);
        if wrong || is_other {
            self.violation = Some(format!("{partner} came again from {ip} and is {known:?}"));
        }
        self.happened.come_again += u64::from(known.is_some());
    }

    /// One that is known is on its own node, and on that where it was before it was known.
    fn check_node(
        &mut self,
        partner: &'static str,
        ip: IpAddr,
        node: &Arc<str>,
        known: Option<&Arc<str>>,
    ) {
        // Others behind the same address may have taken its pin.
        self.placed
            .retain(|other, place| *other == partner || place.ip != ip);
        let before = self.placed.remove(partner);
        let is_itself = known.is_some_and(|known| **known == *partner);
        let (now, node) = (self.now, Arc::clone(node));
        let moved = before.filter(|place| {
            let is_pinned = now.since(place.at) < PIN_TTL;
            place.ip == ip && place.node != node && is_itself && is_pinned && !place.was_pinned
        });
        let own = self.pins.inspect(&self.key_named(partner), now);
        // Where DNS gives it several addresses, the pin of another of them may be the one that it got.
        let addresses = self.table.resolved().iter();
        let is_alone = addresses
            .filter(|(_, named)| *named.partner == *partner)
            .count()
            <= 1;
        if let Some(Place { node: at, .. }) = moved
            && own.as_ref().is_some_and(|own| own.since == now)
            && is_alone
        {
            self.violation = Some(format!(
                "{partner} was on {at} and is on {node}, being known"
            ));
        }
        if known.is_none() {
            let was_pinned = own.is_some();
            let place = Place {
                ip,
                node,
                at: now,
                was_pinned,
            };
            self.placed.insert(partner, place);
        }
    }

    /// What must hold after every step.
    fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        self.nobody_is_lost()?;
        for question in &self.known {
            let found = self.names.known(question);
            let is_empty = match &found {
                Some((Heard::Addresses { found, .. }, _)) => found.is_empty(),
                _ => true,
            };
            if is_empty {
                return Err(format!("{question:?} was known and has shrunk to nothing"));
            }
            if let Some((Heard::Addresses { found, .. }, _)) = &found
                && found.len() > ADDRESSES_MAX
            {
                return Err(format!("{question:?} has {} addresses", found.len()));
            }
        }
        let claims = self.all_claims();
        let nobody = BTreeSet::new();
        for last in (0..=255).step_by(7).chain(0..9).chain([254]) {
            let ip = address(last);
            self.check_address(ip, claims.get(&ip).unwrap_or(&nobody))?;
        }
        Ok(())
    }

    /// A partner that was found by DNS stays found, wherever its service points meanwhile.
    fn nobody_is_lost(&mut self) -> Result<(), String> {
        for (name, partner) in self.names.view().partners {
            let has_any = partner.names.iter().any(|name| !name.addresses.is_empty());
            if has_any {
                self.known_partners.insert(name);
            } else if self.known_partners.contains(&name) {
                return Err(format!("{name} had addresses, and has none"));
            }
        }
        Ok(())
    }

    /// Who is at an address: by the file; by DNS if one partner alone claims it; else by a certificate.
    fn check_address(&mut self, ip: IpAddr, claims: &BTreeSet<Arc<str>>) -> Result<(), String> {
        if ip == OWN && self.table.named(ip).is_some() {
            return Err("our own address is a partner's".into());
        }
        let configured = self.table.find(ip);
        let by_file = match ip {
            IpAddr::V4(ip) => match ip.octets()[3] {
                192..=207 => Some("address3"),
                240..=255 => Some("blocked4"),
                _ => None,
            },
            IpAddr::V6(_) => None,
        };
        if configured.map(|known| &*known.name) != by_file {
            return Err(format!("{ip} is {configured:?} by the file"));
        }
        if by_file.is_some() || self.names.has_news() {
            return Ok(());
        }
        let named = self.recognise(ip).filter(|(_, by)| *by == KnownBy::Name);
        let alone = claims.iter().next().filter(|_| claims.len() == 1);
        self.happened.contested += u64::from(claims.len() > 1);
        if named.as_ref().map(|(name, _)| name) != alone {
            return Err(format!(
                "{ip} is claimed by {claims:?} and taken for {named:?}"
            ));
        }
        Ok(())
    }
}

/// Whether a question comes too soon after its answer.
fn is_too_soon(answered: Option<&Moment>, now: Moment) -> bool {
    answered.is_some_and(|at| now.since(*at) < TTL_MIN)
}
