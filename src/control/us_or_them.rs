//! Us or them, in the running process: what is remembered of sessions, judged by
//! [`crate::partner::verdict`]; told once in the log when it becomes clear.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Shared;
use crate::clock::Moment;
use crate::inspect::tls::Version;
use crate::partner::verdict::{Judgement, Picture, Seen, Verdict, speaks_for};
use crate::pool::pins::{Pin, PinKey};
use crate::relay::history::Ended;

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
    let mut seen = Vec::new();
    let chronicle = shared.chronicle.lock();
    let chronicle = chronicle.unwrap_or_else(PoisonError::into_inner);
    for known in snapshot.partners.iter() {
        let endings = chronicle
            .partner(&known.name)
            .map(|chapter| &chapter.endings);
        let recent = |ended: &&Ended| now.since(ended.ended) < LATELY;
        for ended in endings.into_iter().flatten().filter(recent) {
            let is_good = speaks_for(ended.outcome, was_served(ended));
            if let (Some(node), Some(is_good)) = (&ended.node, is_good) {
                seen.push(Seen {
                    partner: Arc::clone(&known.name),
                    node: Arc::clone(node),
                    is_good,
                    at: ended.ended,
                });
            }
        }
        seen.extend(served_now(shared, &known.name, now));
    }
    drop(chronicle);
    Picture::new(seen)
}

/// Sessions under a partner's pins. They may have begun long ago: what failed since counts more.
fn served_now(shared: &Shared, partner: &Arc<str>, now: Moment) -> Vec<Seen> {
    let pins = pins_of(shared, partner, now).into_iter();
    let used = pins.filter(|(_, pin)| pin.sessions > 0);
    let seen = used.map(|(_, pin)| Seen {
        partner: Arc::clone(partner),
        node: pin.node,
        is_good: true,
        at: now.before(LATELY),
    });
    seen.collect()
}

/// The pins of one partner, wherever a listener has them; without looking at those of everybody.
pub(super) fn pins_of(shared: &Shared, partner: &Arc<str>, now: Moment) -> Vec<(PinKey, Pin)> {
    let snapshot = shared.snapshot.load();
    let listeners = snapshot.listeners.iter();
    let mut scopes: Vec<_> = listeners.map(|each| &each.pin_scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let pins = scopes.into_iter().filter_map(|scope| {
        let key = PinKey::of_partner(scope, partner);
        let pin = shared.pins.inspect(&key, now)?;
        Some((key, pin))
    });
    pins.collect()
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
    for partner in picture.partners() {
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
/// A site has some hundred partners.
const SAID_MAX: usize = 1000;
