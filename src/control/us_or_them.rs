//! Us or them, in the running process: what is remembered of sessions, judged by
//! [`crate::partner::verdict`]; told once in the log when it becomes clear.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::chronicle::{self, Chronicle};
use crate::clock::Moment;
use crate::inspect::tls::Version;
use crate::partner::table::Known;
use crate::partner::verdict::{Judgement, Picture, Seen, Verdict, speaks_for};
use crate::pool::pins::{Pin, PinKey};
use crate::relay::history::Ended;
use crate::relay::session::EndpointNumber;
use crate::snapshot::Snapshot;

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

/// How all partners fared on all nodes lately.
pub(super) fn picture(shared: &Shared, now: Moment) -> Picture {
    let snapshot = shared.snapshot.load();
    // By the block, so that whoever has something to tell waits for no more than a few.
    let partners: Vec<_> = snapshot.partners.iter().collect();
    let nodes = nodes(&snapshot);
    let mut picture = Picture::default();
    for some in partners.chunks(AT_ONCE) {
        let seen: Vec<Vec<Seen>> = {
            let chronicle = chronicle::lock(&shared.chronicle);
            let some = some.iter();
            some.map(|known| endings(&chronicle, &known.name, now))
                .collect()
        };
        for (known, mut seen) in some.iter().zip(seen) {
            seen.extend(served(&nodes, known, now));
            picture.add(&known.name, seen);
        }
    }
    picture
}

/// How the last sessions of a partner went.
fn endings(chronicle: &Chronicle, partner: &Arc<str>, now: Moment) -> Vec<Seen> {
    let chapter = chronicle.partner(partner);
    let endings = chapter.into_iter().flat_map(|chapter| &chapter.endings);
    endings
        .filter_map(|ended| went(partner, ended, now))
        .collect()
}

/// How a session with a node went, if it was lately and says anything.
fn went(partner: &Arc<str>, ended: &Ended, now: Moment) -> Option<Seen> {
    if now.since(ended.ended) >= LATELY {
        return None;
    }
    let is_good = speaks_for(ended.outcome, was_served(ended))?;
    Some(Seen {
        partner: Arc::clone(partner),
        node: Arc::clone(ended.node.as_ref()?),
        is_good,
        at: ended.ended,
    })
}

/// Nodes by the numbers of their endpoints.
fn nodes(snapshot: &Snapshot) -> HashMap<EndpointNumber, &Arc<str>> {
    let members = snapshot.groups.iter().flat_map(|group| &group.members);
    let endpoints = members.map(|member| &member.endpoint);
    endpoints.map(|each| (each.number, &each.node)).collect()
}

/// Where nodes serve a partner now. Its sessions may have begun long ago: what failed since counts more.
fn served(
    nodes: &HashMap<EndpointNumber, &Arc<str>>,
    known: &Known,
    now: Moment,
) -> impl Iterator<Item = Seen> {
    let places = known.presence.places();
    let on: HashSet<_> = places
        .filter_map(|(place, _)| nodes.get(&place.endpoint))
        .collect();
    on.into_iter().map(move |node| Seen {
        partner: Arc::clone(&known.name),
        node: Arc::clone(node),
        is_good: true,
        at: now.before(LATELY),
    })
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
    let mut all: Vec<_> = picture
        .accused()
        .into_iter()
        .map(|(node, evidence)| {
            let verdict = Verdict::Node(Arc::clone(&node));
            (node, Judgement { verdict, evidence })
        })
        .collect();
    let nodes: Vec<_> = all.iter().map(|(node, _)| Arc::clone(node)).collect();
    for partner in picture.failing() {
        let judgement = picture.of_partner(partner);
        let is_said = matches!(&judgement.verdict, Verdict::Node(node) if nodes.contains(node));
        if judgement.verdict.is_accusation() && !is_said {
            all.push((Arc::clone(partner), judgement));
        }
    }
    all
}

/// What has been said in the log, and when.
#[derive(Debug, Default)]
pub(super) struct Teller {
    said: HashMap<Arc<str>, Moment>,
    next: Option<Moment>,
}

impl Teller {
    /// Looks now and then, and says what has become clear: of one partner or node once in an hour.
    pub(super) fn look(&mut self, shared: &Shared, now: Moment) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + LOOK_INTERVAL);
        self.said.retain(|_, at| now.since(*at) < SAID_FOR);
        for (who, judgement) in accusations(&picture(shared, now)) {
            if self.said.contains_key(&who) || self.said.len() >= SAID_MAX {
                continue;
            }
            let (verdict, evidence) = (judgement.verdict.label(), &judgement.evidence);
            tracing::warn!(%who, verdict, evidence, "us-or-them: see pinfold explain");
            self.said.insert(who, now);
        }
    }
}

/// What is older says little about now.
pub(super) const LATELY: Duration = Duration::from_secs(3600);
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const SAID_FOR: Duration = Duration::from_secs(3600);
/// Partners whose endings are copied before the chronicle is let go of.
const AT_ONCE: usize = 64;
/// A site has some hundred partners.
const SAID_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::partner::presence::Place;
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
        assert_eq!(served(&nodes(&snapshot), known, now).count(), 0);
        let listener = snapshot.listeners[0].state.number;
        let on = |endpoint| Place { listener, endpoint };
        let second = snapshot.listeners[0].seat("edge2").unwrap().endpoint.number;
        for worker in 0..2 {
            known.presence.begin(worker, on(second), now);
        }
        // One that is left on a dead node speaks for none.
        known.presence.begin(0, on(Place::FORSAKEN), now);
        let seen: Vec<_> = served(&nodes(&snapshot), known, now).collect();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((&*seen[0].node, seen[0].is_good), ("edge2", true));
        assert_eq!(
            seen[0].at,
            now.before(LATELY),
            "what failed since counts more"
        );
    }
}
