//! Us or them, in the running process: what is remembered of sessions, judged by
//! [`crate::partner::verdict`]; told once in the log when it becomes clear.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::chronicle::{self, Chapter};
use crate::clock::Moment;
use crate::partner::table::Known;
use crate::partner::verdict::{Fared, Judgement, Picture, Verdict};
use crate::pool::pins::{Pin, PinKey};
use crate::relay::session::EndpointNumber;
use crate::snapshot::Snapshot;

/// How all partners fared on all nodes of the listeners in force lately.
pub(super) fn picture(shared: &Shared, now: Moment) -> Picture {
    let snapshot = shared.snapshot.load();
    let listeners = snapshot.listeners.iter();
    let listeners: HashSet<&str> = listeners.map(|each| &*each.state.name).collect();
    let is_in_force = |fared: &Fared| listeners.contains(&*fared.listener);
    // By the block, so that whoever has something to tell waits for no more than a few.
    let partners: Vec<_> = snapshot.partners.iter().collect();
    let nodes = nodes(&snapshot);
    let mut picture = Picture::default();
    for some in partners.chunks(AT_ONCE) {
        let stays: Vec<_> = some
            .iter()
            .map(|known| stays(&snapshot, &nodes, known))
            .collect();
        let records: Vec<Vec<Fared>> = {
            let mut chronicle = chronicle::lock(&shared.chronicle);
            let mut fared = |name, stays: &[Stay<'_>]| {
                let chapter = chronicle.partner_mut(name)?;
                note(chapter, stays, now);
                Some(chapter.record.fared(now).collect())
            };
            let all = some.iter().zip(&stays);
            all.map(|(known, stays)| fared(&known.name, stays).unwrap_or_default())
                .collect()
        };
        for ((known, fared), stays) in some.iter().zip(records).zip(&stays) {
            // They may have begun long ago: what failed since counts more.
            let sessions = stays.iter().map(Stay::fares);
            let fared = fared.into_iter().filter(is_in_force).chain(sessions);
            picture.add(&known.name, fared);
        }
    }
    picture
}

/// Notes what shows that a partner is served: a session that goes well may last for days until it ends.
fn note(chapter: &mut Chapter, stays: &[Stay<'_>], now: Moment) {
    for stay in stays {
        if let Some(at) = stay.shows_served(now) {
            chapter.record.note(stay.listener, stay.node, true, at);
        }
    }
}

/// Nodes by the numbers of their endpoints.
fn nodes(snapshot: &Snapshot) -> HashMap<EndpointNumber, &Arc<str>> {
    let members = snapshot.groups.iter().flat_map(|group| &group.members);
    let endpoints = members.map(|member| &member.endpoint);
    endpoints.map(|each| (each.number, &each.node)).collect()
}

/// A partner's sessions that one worker has with a node on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stay<'a> {
    listener: &'a Arc<str>,
    node: &'a Arc<str>,
    /// By when the newest had begun, where that is known.
    begun: Option<Moment>,
}

impl Stay<'_> {
    /// When it began to be served, once it lasts: a session that a node has answered may fail yet. (A handshake that is
    /// seen to be completed says so at once, where TLS hides it not and there is one.)
    fn shows_served(&self, now: Moment) -> Option<Moment> {
        let begun = self.begun?;
        (now.since(begun) >= LASTS).then_some(begun)
    }

    fn fares(&self) -> Fared {
        Fared {
            listener: Arc::clone(self.listener),
            node: Arc::clone(self.node),
            failures: 0,
        }
    }
}

/// Where nodes serve a partner now, and on which listeners.
fn stays<'a>(
    snapshot: &'a Snapshot,
    nodes: &HashMap<EndpointNumber, &'a Arc<str>>,
    known: &Known,
) -> Vec<Stay<'a>> {
    let places = known.presence.newest();
    let stays = places.filter_map(|(place, begun)| {
        let listener = snapshot.listener(place.listener)?;
        Some(Stay {
            listener: &listener.state.name,
            node: nodes.get(&place.endpoint)?,
            begun,
        })
    });
    stays.collect()
}

/// The pins of one partner, wherever a listener has them; without looking at those of everybody.
pub(super) fn pins_of<'a>(
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    partner: &'a Arc<str>,
    now: Moment,
) -> impl Iterator<Item = (PinKey, Pin)> {
    snapshot.scopes().iter().filter_map(move |scope| {
        let key = scope.key(partner);
        let pin = shared.pins.inspect(&key, now)?;
        Some((key, pin))
    })
}

/// Accusations of this moment: partners, and nodes, each with what it rests on.
pub(super) fn accusations(picture: &Picture) -> Vec<(Arc<str>, Judgement)> {
    let mut all = picture.accused();
    let said: HashSet<_> = all
        .iter()
        .map(|(node, judgement)| (Arc::clone(node), Arc::clone(&judgement.listener)))
        .collect();
    for partner in picture.failing() {
        for judgement in picture.accusations_of(partner) {
            let is_said = match &judgement.verdict {
                Verdict::Node(node) => {
                    said.contains(&(Arc::clone(node), Arc::clone(&judgement.listener)))
                }
                Verdict::Neither | Verdict::Partner | Verdict::Unknown => false,
            };
            if !is_said {
                all.push((Arc::clone(partner), judgement));
            }
        }
    }
    all
}

/// What has been said in the log, and when.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// By whom, and on which listener.
    said: HashMap<(Arc<str>, Arc<str>), Moment>,
    next: Option<Moment>,
}

impl Teller {
    /// Looks now and then, and says what has become clear: of one partner or node once in an hour on each
    /// listener.
    pub(super) fn look(&mut self, shared: &Shared, now: Moment) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + LOOK_INTERVAL);
        self.said.retain(|_, at| now.since(*at) < SAID_FOR);
        for (who, judgement) in accusations(&picture(shared, now)) {
            let key = (Arc::clone(&who), Arc::clone(&judgement.listener));
            if self.said.contains_key(&key) || self.said.len() >= SAID_MAX {
                continue;
            }
            let (verdict, evidence) = (judgement.verdict.label(), &judgement.evidence);
            let listener = &judgement.listener;
            tracing::warn!(%who, %listener, verdict, evidence, "us-or-them: see pinfold explain");
            self.said.insert(key, now);
        }
    }
}

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const SAID_FOR: Duration = Duration::from_secs(3600);
/// Partners whose endings are copied before the chronicle is let go of.
const AT_ONCE: usize = 64;
/// By then a handshake has failed or not, also over a slow line.
const LASTS: Duration = Duration::from_secs(60);
/// A site has some hundred partners.
const SAID_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::partner::presence::{Place, Presence};
    use crate::snapshot::Registry;

    #[test]
    fn a_partner_is_served_where_its_sessions_are_however_it_is_pinned() {
        let text = "version = 1\n[[pool]]\nname = \"edge\"\n\
            [[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
            [[pool.node]]\nname = \"edge2\"\naddress = \"198.51.100.2\"\n\
            [[listener]]\nname = \"access\"\nbind = \"203.0.113.10:443\"\nservice = \"access\"\npool = \"edge\"\n\
            [[partner]]\nname = \"fabrikam\"\ngeneration = \"ocs-2007\"\naddresses = [\"192.0.2.1\"]\n";
        let snapshot = Registry::new(2).build(&Arc::new(parse("a", text).unwrap().config));
        let known = snapshot.partners.by_name("fabrikam").unwrap();
        let now = Moment::from_micros(5_000_000);
        assert_eq!(stays(&snapshot, &nodes(&snapshot), known), []);
        let listener = snapshot.listeners[0].state.number;
        let on = |endpoint| Place { listener, endpoint };
        let second = snapshot.listeners[0].seat("edge2").unwrap().endpoint.number;
        for worker in 0..2 {
            known.presence.begin(worker, on(second), now);
        }
        // One that is left on a dead node speaks for none.
        known.presence.begin(0, on(Place::FORSAKEN), now);
        let stay = Stay {
            listener: &"access".into(),
            node: &"edge2".into(),
            begun: Some(now + Presence::LAG),
        };
        assert_eq!(stays(&snapshot, &nodes(&snapshot), known), [stay; 2]);
    }

    #[test]
    fn a_session_shows_that_its_partner_is_well_once_it_lasts() {
        let second = |second: u64| Moment::from_micros(1_000_000 * second);
        let (listener, node): (Arc<str>, Arc<str>) = ("federation".into(), "edge1".into());
        let stay = |begun| Stay {
            listener: &listener,
            node: &node,
            begun,
        };
        let new = stay(Some(second(100)));
        assert_eq!(new.shows_served(second(159)), None);
        assert_eq!(new.shows_served(second(160)), new.begun, "it lasts");
        assert_eq!(stay(None).shows_served(second(999)), None);

        let mut chapter = Chapter::default();
        let failures = |chapter: &Chapter| {
            let fared = chapter.record.fared(second(200)).next();
            fared.map(|each| each.failures)
        };
        for at in [90, 95] {
            chapter.record.note(&listener, &node, false, second(at));
        }
        note(&mut chapter, &[new], second(159));
        assert_eq!(failures(&chapter), Some(2));
        note(&mut chapter, &[new], second(160));
        assert_eq!(failures(&chapter), Some(0));
        // What fails after that counts, however long the other session lasts.
        chapter.record.note(&listener, &node, false, second(170));
        note(&mut chapter, &[new], second(180));
        assert_eq!(failures(&chapter), Some(1));
    }
}
