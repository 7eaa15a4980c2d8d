//! What is remembered of sessions that have ended, and of what partners speak.
//!
//! Owns the last endings of each partner and of addresses that were refused, and what TLS each partner
//! offers. In memory, and bounded: what an administrator asks after an incident is recent; what partners
//! speak `inventory` keeps. Filled by `record`, and by `us_or_them` with who is well in a session that lasts; read by the
//! admin API; nothing is decided by it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::governor::wall;
use crate::inspect::tls::{Era, Version};
use crate::partner::habit::{Habit, Parting};
use crate::partner::verdict::{Record, speaks_for};
use crate::relay::history::{Ended, Told};
use crate::relay::inspection::TlsFacts;
use crate::telemetry::outcome::Outcome;

/// What is remembered.
#[derive(Debug, Default)]
pub struct Chronicle {
    partners: HashMap<Arc<str>, Chapter>,
    addresses: HashMap<IpAddr, VecDeque<Ended>>,
    /// Partners of whose speech something was noted since it was last written down.
    changed: HashSet<Arc<str>>,
}

/// What is remembered of one partner.
#[derive(Debug, Default)]
pub struct Chapter {
    /// How its last sessions ended, the latest last.
    pub endings: VecDeque<Ended>,
    /// What TLS it speaks.
    pub tls: Spoken,
    /// How it comes and goes.
    pub habit: Habit,
    /// How it fares, by listener and node.
    pub record: Record,
}

/// What TLS a partner speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The newest version it has offered lately.
    pub offers: Option<Version>,
    /// How often which version was agreed.
    pub negotiated: BTreeMap<Version, u64>,
    /// From when on this is known.
    pub since: Option<Timestamp>,
    /// When TLS 1.1 or less was last agreed.
    pub old_at: Option<Timestamp>,
    /// When it last shook hands.
    pub seen_at: Option<Timestamp>,
    /// The name its certificate last had.
    pub certificate: Option<Arc<str>>,
    /// From which time its stack is, by its latest hello.
    pub era: Era,
    /// Its latest hello in short.
    pub ja4: Option<Box<str>>,
}

impl Chronicle {
    /// Endings that are remembered of each partner or address.
    pub const ENDINGS_MAX: usize = 50;
    const ADDRESSES_MAX: usize = 512;
    const PARTNERS_MAX: usize = 10_000;

    /// Notes one thing.
    pub fn note(&mut self, told: Told) {
        match told {
            Told::Handshake {
                partner,
                listener,
                node,
                facts,
                ja4,
                at,
            } => {
                if let Some(chapter) = self.chapter(&partner) {
                    chapter.habit.began(at);
                    // Its session may last for days until it ends.
                    if let Some(node) = node.filter(|_| facts.completed) {
                        chapter.record.note(&listener, &node, true, at);
                    }
                    chapter.tls.note(&facts, wall(at));
                    chapter.tls.ja4 = ja4.or_else(|| chapter.tls.ja4.take());
                    self.changed.insert(partner);
                }
            }
            Told::Ended(ended) => match ended.partner.clone() {
                Some(partner) => {
                    if let Some(chapter) = self.chapter(&partner) {
                        let from = ended.client.ip();
                        chapter
                            .habit
                            .ended(from, ended.started, ended.ended, parting(&ended));
                        chapter.take_down(&ended);
                        push(&mut chapter.endings, *ended);
                    }
                }
                None => self.note_stranger(*ended),
            },
        }
    }

    /// Takes what an earlier instance has noted of a partner's speech; whether there was room.
    pub(super) fn teach(&mut self, partner: &Arc<str>, spoken: Spoken) -> bool {
        let chapter = self.chapter(partner);
        chapter.map(|chapter| chapter.tls = spoken).is_some()
    }

    /// What has changed of partners' speech and `is_due` to be written down, at most so many.
    pub(super) fn take_changed(
        &mut self,
        most: usize,
        is_due: impl Fn(&Arc<str>, &Spoken) -> bool,
    ) -> Vec<(Arc<str>, Spoken)> {
        let spoken = |name: &Arc<str>| Some((Arc::clone(name), &self.partners.get(name)?.tls));
        let due = self.changed.iter().filter_map(spoken);
        let due = due.filter(|(name, spoken)| is_due(name, spoken));
        let due = due.map(|(name, spoken)| (name, spoken.clone()));
        let due: Vec<_> = due.take(most).collect();
        for (name, _) in &due {
            self.changed.remove(name);
        }
        due
    }

    /// Names come from the configuration, so they are few; reloads for ever might make many.
    fn chapter(&mut self, partner: &Arc<str>) -> Option<&mut Chapter> {
        if self.partners.len() >= Self::PARTNERS_MAX && !self.partners.contains_key(partner) {
            return None;
        }
        Some(self.partners.entry(Arc::clone(partner)).or_default())
    }

    fn note_stranger(&mut self, ended: Ended) {
        let address = ended.client.ip();
        if self.addresses.len() >= Self::ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            let last = |endings: &VecDeque<Ended>| endings.back().map(|ended| ended.ended);
            let quietest = self
                .addresses
                .iter()
                .min_by_key(|(_, endings)| last(endings));
            if let Some(quietest) = quietest.map(|(address, _)| *address) {
                self.addresses.remove(&quietest);
            }
        }
        push(self.addresses.entry(address).or_default(), ended);
    }

    /// What is remembered of a partner.
    #[must_use]
    pub fn partner(&self, name: &str) -> Option<&Chapter> {
        self.partners.get(name)
    }

    /// The same, for whoever sees more of it than what is told.
    pub(super) fn partner_mut(&mut self, name: &str) -> Option<&mut Chapter> {
        self.partners.get_mut(name)
    }

    /// How the last sessions from a stranger's address ended that was refused, the latest last.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Option<&VecDeque<Ended>> {
        self.addresses.get(&address)
    }
}

impl Chapter {
    /// How a session with a node went, if that says anything.
    fn take_down(&mut self, ended: &Ended) {
        if let Some(node) = &ended.node
            && let Some(is_good) = speaks_for(ended.outcome, was_served(ended))
        {
            let at = ended.ended;
            self.record.note(&ended.listener, node, is_good, at);
        }
    }
}

impl Spoken {
    fn note(&mut self, facts: &TlsFacts, at: Timestamp) {
        self.since.get_or_insert(at);
        self.seen_at = Some(at);
        if facts.offered.is_some() {
            self.offers = facts.offered;
            self.era = facts.era;
        }
        if let Some(version) = facts.negotiated.filter(|version| version.is_known()) {
            *self.negotiated.entry(version).or_default() += 1;
            if version <= Version::TLS_1_1 {
                self.old_at = Some(at);
            }
        }
        if facts.completed && facts.certificate.is_some() {
            self.certificate = facts.certificate.clone();
        }
    }
}

/// Whether the node answered it, and accepted what the client showed; where TLS hides that, whether the
/// node answered.
pub(super) fn was_served(ended: &Ended) -> bool {
    let is_accepted = ended.tls.as_ref().is_none_or(|tls| {
        let is_hidden = tls
            .negotiated
            .is_none_or(|version| version >= Version::TLS_1_3);
        tls.alert.is_none() && (tls.completed || is_hidden)
    });
    ended.down > 0 && is_accepted
}

/// How it ended for the one who came.
fn parting(ended: &Ended) -> Parting {
    let was_alert = ended.tls.as_ref().is_some_and(|tls| tls.alert.is_some());
    // A handshake that failed with an alert was meant.
    let said_nothing = ended.down == 0 && !was_alert;
    let went = matches!(
        ended.outcome,
        Outcome::ClientClosed | Outcome::ClientReset | Outcome::FirstBytesTimeout
    );
    let was_cut = matches!(
        ended.outcome,
        Outcome::NodeReset
            | Outcome::NodeLost
            | Outcome::NodeDown
            | Outcome::Drained
            | Outcome::Disabled
            | Outcome::Moved
    );
    match (went && said_nothing, was_cut) {
        (true, _) => Parting::Empty,
        (false, true) => Parting::Cut,
        (false, false) => Parting::Own,
    }
}

fn push(endings: &mut VecDeque<Ended>, ended: Ended) {
    if endings.len() == Chronicle::ENDINGS_MAX {
        endings.pop_front();
    }
    endings.push_back(ended);
}

/// Nothing can panic between two changes of it.
pub(super) fn lock(chronicle: &Mutex<Chronicle>) -> MutexGuard<'_, Chronicle> {
    chronicle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what is told, until nobody is left to tell anything.
pub(super) async fn record(chronicle: Arc<Mutex<Chronicle>>, mut told: mpsc::Receiver<Told>) {
    while let Some(told) = told.recv().await {
        let mut chronicle = lock(&chronicle);
        chronicle.note(told);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::addr::ClientAddr;
    use crate::clock::Moment;

    fn ended(partner: Option<&str>, address: [u8; 4], at: u64) -> Told {
        Told::Ended(Box::new(Ended {
            partner: partner.map(Into::into),
            listener: "federation".into(),
            client: ClientAddr::new(SocketAddr::from((address, 40_000))),
            node: None,
            started: Moment::START,
            ended: Moment::from_micros(at),
            outcome: Outcome::RefusedTls,
            tls: None,
            up: 0,
            down: 0,
        }))
    }

    #[test]
    fn the_last_endings_are_kept_and_no_more() {
        let mut chronicle = Chronicle::default();
        for at in 0..200 {
            chronicle.note(ended(Some("fabrikam"), [192, 0, 2, 1], at));
        }
        let endings = &chronicle.partner("fabrikam").unwrap().endings;
        assert_eq!(endings.len(), Chronicle::ENDINGS_MAX);
        assert_eq!(endings.back().unwrap().ended, Moment::from_micros(199));
        assert!(chronicle.address([192, 0, 2, 1].into()).is_none());
    }

    #[test]
    fn of_strangers_those_that_came_last_are_kept() {
        let mut chronicle = Chronicle::default();
        for number in 0..2000_u16 {
            let [high, low] = number.to_be_bytes();
            chronicle.note(ended(None, [10, 0, high, low], u64::from(number)));
        }
        assert_eq!(chronicle.addresses.len(), Chronicle::ADDRESSES_MAX);
        assert!(chronicle.address([10, 0, 7, 207].into()).is_some());
        assert!(chronicle.address([10, 0, 0, 0].into()).is_none());
    }

    #[test]
    fn what_a_partner_speaks_adds_up() {
        let mut spoken = Spoken::default();
        let facts = |version| TlsFacts {
            offered: Some(Version::TLS_1_2),
            negotiated: Some(version),
            certificate: Some("sip.fabrikam.com".into()),
            completed: true,
            ..TlsFacts::default()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        spoken.note(&facts(Version::TLS_1_0), at(1));
        spoken.note(&facts(Version::TLS_1_2), at(2));
        spoken.note(&facts(Version(0x7f12)), at(3));
        assert_eq!(spoken.old_at, Some(at(1)));
        assert_eq!((spoken.since, spoken.seen_at), (Some(at(1)), Some(at(3))));
        assert_eq!(
            spoken.negotiated.len(),
            2,
            "an invented version is not counted"
        );
        assert_eq!(spoken.certificate.as_deref(), Some("sip.fabrikam.com"));
    }
}
