//! Who would leave a node that is taken away, and where to, as the pins and standings are now.
//!
//! Changes nothing: the drill tells it, and maintenance carries it out one by one.

use std::sync::Arc;

use super::Shared;
use crate::clock::Moment;
use crate::partner::table::Known;
use crate::pool::evacuation::refuge;
use crate::pool::pins::{Pin, PinKey, PinScope};
use crate::pool::placement::Subject;
use crate::pool::select::{Candidate, Positions, WARM};
use crate::pool::share::Share;
use crate::snapshot::{Listener, Snapshot};

/// Listeners that share their pins.
#[derive(Debug)]
pub(super) struct Hall<'s> {
    pub(super) scope: &'s Arc<PinScope>,
    pub(super) listeners: Vec<&'s Arc<Listener>>,
}

/// A partner that has a pin on the node.
#[derive(Clone, Debug)]
pub(super) struct Leaver {
    pub(super) key: PinKey,
    pub(super) pin: Pin,
    pub(super) known: Arc<Known>,
    /// Where it would go; `None`: nobody else may take it.
    pub(super) to: Option<Arc<str>>,
}

impl<'s> Hall<'s> {
    /// Those of pools that have `node`, or of one of them.
    pub(super) fn with_node(snapshot: &'s Snapshot, node: &str, pool: Option<&str>) -> Vec<Self> {
        let mut halls: Vec<Self> = Vec::new();
        for listener in &snapshot.listeners {
            let is_meant = pool.is_none_or(|pool| *listener.pool == *pool);
            if !is_meant || listener.position(node).is_none() {
                continue;
            }
            match halls
                .iter_mut()
                .find(|hall| *hall.scope == listener.pin_scope)
            {
                Some(hall) => hall.listeners.push(listener),
                None => halls.push(Self {
                    scope: &listener.pin_scope,
                    listeners: vec![listener],
                }),
            }
        }
        halls
    }

    /// Partners that are pinned to `node`, legacy ones first, each with where it would go if those before it
    /// had gone.
    pub(super) fn leavers(&self, shared: &Shared, node: &str, now: Moment) -> Vec<Leaver> {
        let snapshot = shared.snapshot.load();
        let mut leavers: Vec<_> = snapshot
            .partners
            .iter()
            .filter_map(|known| {
                let key = self.key(known);
                let pin = shared.pins.inspect(&key, now)?;
                (*pin.node == *node).then(|| Leaver {
                    key,
                    pin,
                    known: Arc::clone(known),
                    to: None,
                })
            })
            .collect();
        leavers.sort_by(|a, b| {
            (!a.known.legacy, &a.known.name).cmp(&(!b.known.legacy, &b.known.name))
        });
        let mut share = self.share(shared, now);
        for leaver in &mut leavers {
            leaver.to = self.refuge(shared, &leaver.known, node, &mut share);
        }
        leavers
    }

    /// The pin of one partner, if it is on `node`, and where it would go.
    pub(super) fn leaver(
        &self,
        shared: &Shared,
        known: &Arc<Known>,
        node: &str,
        now: Moment,
    ) -> Option<Leaver> {
        let key = self.key(known);
        let pin = shared
            .pins
            .inspect(&key, now)
            .filter(|pin| *pin.node == *node)?;
        let to = self.refuge(shared, known, node, &mut self.share(shared, now));
        Some(Leaver {
            key,
            pin,
            known: Arc::clone(known),
            to,
        })
    }

    fn key(&self, known: &Known) -> PinKey {
        PinKey::of_partner(self.scope, &known.name)
    }

    fn share(&self, shared: &Shared, now: Moment) -> Option<Share> {
        let max_share = self.listeners.iter().map(|each| each.max_share).min()?;
        let snapshot = shared.snapshot.load();
        let legacy = snapshot.partners.legacy().map(|known| &known.name);
        (max_share < 100)
            .then(|| Share::of_pins(max_share, (&*shared.pins, self.scope), legacy, now))
    }

    fn refuge(
        &self,
        shared: &Shared,
        known: &Known,
        node: &str,
        share: &mut Option<Share>,
    ) -> Option<Arc<str>> {
        let mut share = share.as_mut().filter(|_| known.legacy);
        if let Some(share) = &mut share {
            share.leave(node);
        }
        let first = self.listeners.first()?;
        let is_full = |name: &str| share.as_ref().is_some_and(|share| share.is_full(name));
        let full = Positions::of(&first.nodes, |seat| is_full(&seat.endpoint.node));
        let subject = Subject::Partner(Arc::clone(&known.name));
        let to = refuge(&shared.placement, &subject, self.candidates(), node, full);
        let to = to.and_then(|index| first.nodes.get(index));
        let to = to.map(|seat| Arc::clone(&seat.endpoint.node));
        if let Some(share) = &mut share {
            share.enter(to.clone().unwrap_or_else(|| Arc::from(node)));
        }
        to
    }

    /// The nodes, each as good as it is on the listener where it is worst: a pin holds on all of them.
    fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let first = self.listeners.iter().take(1);
        first.flat_map(|listener| &listener.nodes).map(|seat| {
            let name = &seat.endpoint.node;
            let seats = self.listeners.iter().flat_map(|listener| &listener.nodes);
            let same = seats.filter(|other| other.endpoint.node == *name);
            let worst = same.map(|other| other.endpoint.standing()).max();
            Candidate {
                name,
                weight: seat.weight,
                standing: worst.unwrap_or_else(|| seat.endpoint.standing()),
                warmth: WARM,
                sessions: 0,
            }
        })
    }
}
