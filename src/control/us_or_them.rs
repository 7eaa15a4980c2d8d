//! Us or them, in the running process: what is remembered of sessions, judged by
//! [`crate::partner::verdict`]; told once in the log when it becomes clear.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::chronicle;
use crate::clock::Moment;
use crate::partner::verdict::{Fared, Judgement, Picture, Verdict};
use crate::pool::pins::{Pin, PinKey};
use crate::snapshot::Snapshot;

/// How all partners fared on all nodes of the listeners in force lately.
pub(super) fn picture(shared: &Shared, now: Moment) -> Picture {
    let snapshot = shared.snapshot.load();
    let listeners = snapshot.listeners.iter();
    let listeners: HashSet<&str> = listeners.map(|each| &*each.state.name).collect();
    let is_in_force = |fared: &Fared| {
        let listener = fared.listener.as_deref();
        listener.is_none_or(|name| listeners.contains(name))
    };
    // By the block, so that whoever has something to tell waits for no more than a few.
    let partners: Vec<_> = snapshot.partners.iter().collect();
    let mut picture = Picture::default();
    for some in partners.chunks(AT_ONCE) {
        let records: Vec<Vec<Fared>> = {
            let chronicle = chronicle::lock(&shared.chronicle);
            let record = |name| Some(chronicle.partner(name)?.record.fared(now).collect());
            let some = some.iter();
            some.map(|known| record(&known.name).unwrap_or_default())
                .collect()
        };
        for (known, fared) in some.iter().zip(records) {
            let sessions = served(shared, &snapshot, &known.name, now);
            // They may have begun long ago: what failed since counts more.
            let fared = fared.into_iter().filter(is_in_force).chain(sessions);
            picture.add(&known.name, fared);
        }
    }
    picture
}

/// Where sessions live under a partner's pins. On which of several listeners a pin does not know.
fn served<'a>(
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    partner: &'a Arc<str>,
    now: Moment,
) -> impl Iterator<Item = Fared> {
    let scopes = snapshot.scopes().iter();
    scopes.filter_map(move |scope| {
        let pin = shared.pins.inspect(&scope.key(partner), now)?;
        let listener = match scope.listeners.as_slice() {
            [only] => Some(Arc::clone(&only.state.name)),
            _ => None,
        };
        (pin.sessions > 0).then_some(Fared {
            listener,
            node: pin.node,
            failures: 0,
        })
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
    let mut all = picture.accused();
    let said: HashSet<_> = all
        .iter()
        .map(|(node, judgement)| (Arc::clone(node), judgement.listener.clone()))
        .collect();
    for partner in picture.failing() {
        for judgement in picture.accusations_of(partner) {
            let is_said = match &judgement.verdict {
                Verdict::Node(node) => {
                    said.contains(&(Arc::clone(node), judgement.listener.clone()))
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
    said: HashMap<(Arc<str>, Option<Arc<str>>), Moment>,
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
            let key = (Arc::clone(&who), judgement.listener.clone());
            if self.said.contains_key(&key) || self.said.len() >= SAID_MAX {
                continue;
            }
            let (verdict, evidence) = (judgement.verdict.label(), &judgement.evidence);
            let listener = judgement.listener.as_deref().unwrap_or("-");
            tracing::warn!(%who, listener, verdict, evidence, "us-or-them: see pinfold explain");
            self.said.insert(key, now);
        }
    }
}

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const SAID_FOR: Duration = Duration::from_secs(3600);
/// Partners whose endings are copied before the chronicle is let go of.
const AT_ONCE: usize = 64;
/// A site has some hundred partners.
const SAID_MAX: usize = 1000;
