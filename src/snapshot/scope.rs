//! Listeners that share their pins: how good each node is to them, and where partners go that leave one.
//!
//! Joins the snapshot to the pin table for [`Evacuation`], which decides: whoever asks for a failover, a drill,
//! maintenance or a session, gives it the same to decide by. Only [`Scope::fail_over`] moves pins.

use std::sync::Arc;

use super::{Endpoint, Listener, Snapshot};
use crate::clock::Moment;
use crate::config::model;
use crate::partner::table::{Known, PartnerTable};
use crate::pool::affinity::Measure;
use crate::pool::evacuation::Evacuation;
use crate::pool::pins::{FailedOver, Pin, PinKey, PinScope, PinTable};
use crate::pool::placement::{PlacementKey, Subject};
use crate::pool::select::{Candidate, Positions, Standing};
use crate::pool::share::Share;

/// Listeners that share their pins, at least one. All are of one pool, and so are their nodes.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Where their pins hold.
    pub pins: Arc<PinScope>,
    /// In the order of the file.
    pub listeners: Vec<Arc<Listener>>,
}

/// Who is who, and pinned where.
#[derive(Clone, Copy, Debug)]
pub struct Whereabouts<'a> {
    /// Key of placement.
    pub key: &'a PlacementKey,
    /// Who is who.
    pub partners: &'a PartnerTable,
    /// Where they are.
    pub pins: &'a PinTable,
}

/// A partner that has a pin on a node which is to be left.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// Its pin's key.
    pub key: PinKey,
    /// Its pin.
    pub pin: Pin,
    /// Who it is.
    pub known: Arc<Known>,
    /// Where it would go; `None`: nobody else may take it.
    pub to: Option<Arc<str>>,
}

impl Snapshot {
    /// Listeners that share their pins, in the order of the file.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The listeners whose pins are of `pins`.
    #[must_use]
    pub fn scope(&self, pins: &PinScope) -> Option<&Scope> {
        self.scopes.iter().find(|scope| *scope.pins == *pins)
    }

    /// Those of pools that have `node`, or of one of them.
    pub fn scopes_with<'s>(
        &'s self,
        node: &'s str,
        pool: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Scope> {
        self.scopes.iter().filter(move |scope| {
            let is_meant = pool.is_none_or(|pool| *scope.pins.pool == *pool);
            is_meant && scope.standing(node).is_some()
        })
    }
}

impl Scope {
    /// Gathers `listeners`.
    pub(super) fn all_of(listeners: &[Arc<Listener>]) -> Arc<[Self]> {
        let mut scopes: Vec<Self> = Vec::new();
        for listener in listeners {
            let listener = Arc::clone(listener);
            let known = scopes
                .iter_mut()
                .find(|scope| scope.pins == listener.pin_scope);
            match known {
                Some(scope) => scope.listeners.push(listener),
                None => scopes.push(Self {
                    pins: Arc::clone(&listener.pin_scope),
                    listeners: vec![listener],
                }),
            }
        }
        scopes.into()
    }

    /// Lets each of `listeners` know how the others that share its pins dial their nodes.
    pub(super) fn join(listeners: &mut [Listener]) {
        for index in 0..listeners.len() {
            let Some(listener) = listeners.get(index) else {
                break;
            };
            let siblings = |seat: &super::Seat| {
                let others = listeners.iter().filter(|other| other.shares_with(listener));
                let mut found: Vec<Arc<Endpoint>> = Vec::new();
                for other in others.filter_map(|other| other.seat(&seat.endpoint.node)) {
                    let known = found.iter().chain([&seat.endpoint]);
                    let numbers: Vec<_> = known.map(|known| known.number).collect();
                    if !numbers.contains(&other.endpoint.number) {
                        found.push(Arc::clone(&other.endpoint));
                    }
                }
                found.into_boxed_slice()
            };
            let all: Vec<_> = listener.nodes.iter().map(siblings).collect();
            if let Some(listener) = listeners.get_mut(index) {
                for (seat, siblings) in listener.nodes.iter_mut().zip(all) {
                    seat.siblings = siblings;
                }
            }
        }
    }

    /// The key of a partner's pin.
    #[must_use]
    pub fn key(&self, partner: &Arc<str>) -> PinKey {
        PinKey::of_partner(&self.pins, partner)
    }

    /// How good a node is to the pins that hold here.
    #[must_use]
    pub fn standing(&self, node: &str) -> Option<Standing> {
        self.measure(None).judge(self.standings(node))
    }

    /// On each listener that has pins.
    fn standings<'s>(&'s self, node: &'s str) -> impl Iterator<Item = Standing> {
        let pin = |listener: &Arc<Listener>| listener.config.pin != model::Pin::None;
        let are_pinned = self.listeners.iter().any(pin);
        let listeners = self.listeners.iter();
        let listeners = listeners.filter(move |listener| !are_pinned || pin(listener));
        let seats = listeners.flat_map(|each| &each.nodes);
        let same = seats.filter(move |seat| *seat.endpoint.node == *node);
        same.map(|seat| seat.endpoint.standing())
    }

    /// What counts of the nodes' standings, where `leaving` is not to be chosen.
    fn measure(&self, leaving: Option<&str>) -> Measure {
        let nodes = self.listeners.first().into_iter();
        let nodes = nodes.flat_map(|each| &each.nodes);
        let nodes = nodes.map(|seat| &*seat.endpoint.node);
        let others = nodes.filter(|node| Some(*node) != leaving);
        Measure::of(others.map(|node| self.standings(node)))
    }

    /// The nodes, each as good as it is to the pins, where `leaving` is not to be chosen.
    fn candidates(&self, leaving: &str) -> Vec<Candidate<'_>> {
        let measure = self.measure(Some(leaving));
        let first = self.listeners.first();
        let nodes = first.into_iter().flat_map(|each| each.candidates());
        let judged = nodes.map(move |node| Candidate {
            standing: measure
                .judge(self.standings(node.name))
                .unwrap_or(node.standing),
            ..node
        });
        judged.collect()
    }

    fn evacuation<'a>(
        &'a self,
        who: Whereabouts<'a>,
        leaving: &str,
        now: Moment,
    ) -> Evacuation<'a> {
        let first = self.listeners.first();
        let share = first.and_then(|listener| listener.share(who, now));
        Evacuation::new(who.key, leaving, self.candidates(leaving), share)
    }

    /// Partners that are pinned to `node`, legacy ones first, each with where it would go.
    #[must_use]
    pub fn leavers(&self, who: Whereabouts<'_>, node: &str, now: Moment) -> Vec<Leaver> {
        let pinned_there = |known: &Arc<Known>| {
            let key = self.key(&known.name);
            let pin = who.pins.inspect(&key, now)?;
            (*pin.node == *node).then(|| Leaver {
                key,
                pin,
                known: Arc::clone(known),
                to: None,
            })
        };
        let mut leavers: Vec<_> = who.partners.iter().filter_map(pinned_there).collect();
        leavers.sort_by(|a, b| {
            (!a.known.legacy, &a.known.name).cmp(&(!b.known.legacy, &b.known.name))
        });
        let mut evacuation = self.evacuation(who, node, now);
        for leaver in &mut leavers {
            let to = evacuation.next(&leaver.key.subject, leaver.known.is_counted());
            leaver.to = to.and_then(|index| self.node(index));
        }
        leavers
    }

    /// The same for one of them, if it is pinned there.
    #[must_use]
    pub fn leaver(
        &self,
        who: Whereabouts<'_>,
        known: &Arc<Known>,
        node: &str,
        now: Moment,
    ) -> Option<Leaver> {
        let pin = who.pins.look_up(&self.key(&known.name), now)?;
        if *pin != *node {
            return None;
        }
        let mut leavers = self.leavers(who, node, now).into_iter();
        leavers.find(|leaver| leaver.known.name == known.name)
    }

    /// Moves the pins of a dead node to those who outlived it. Where nobody is good on all listeners, they stay on
    /// one that still serves another listener.
    pub fn fail_over(&self, who: Whereabouts<'_>, dead: &Arc<str>, now: Moment) -> FailedOver {
        if self.standing(dead).is_some_and(Standing::keeps_pinned) {
            return FailedOver::default();
        }
        let mut evacuation = self.evacuation(who, dead, now);
        let place = |subject: &Subject| {
            let is_counted = match subject {
                Subject::Partner(name) => {
                    let known = who.partners.by_name(name);
                    known.is_some_and(|known| known.is_counted())
                }
                Subject::Prefix(_) => false,
            };
            let to = evacuation.next(subject, is_counted)?;
            self.node(to)
        };
        let PinScope { pool, affinity } = &*self.pins;
        who.pins.fail_over(pool, affinity, dead, now, place)
    }

    fn node(&self, index: usize) -> Option<Arc<str>> {
        let seat = self.listeners.first()?.nodes.get(index)?;
        Some(Arc::clone(&seat.endpoint.node))
    }
}

impl Listener {
    /// Whether it is another one that has the same pins.
    fn shares_with(&self, other: &Self) -> bool {
        let are_pinned = [self, other]
            .iter()
            .all(|each| each.config.pin != model::Pin::None);
        are_pinned && self.pin_scope == other.pin_scope && self.state.number != other.state.number
    }

    /// How many legacy partners each node has, where that is limited.
    fn share(&self, who: Whereabouts<'_>, now: Moment) -> Option<Share> {
        (self.max_share < 100).then(|| {
            let partners = who.partners.legacy().map(|known| &known.name);
            Share::of_pins(self.max_share, (who.pins, &self.pin_scope), partners, now)
        })
    }

    /// Nodes that have their share of legacy partners already, for one that has no pin.
    #[must_use]
    pub fn full(&self, who: Whereabouts<'_>, now: Moment) -> Positions {
        let share = self.share(who, now);
        share.map_or(Positions::NONE, |share| {
            let candidates: Vec<_> = self.candidates().collect();
            share.full(&candidates)
        })
    }

    /// The same for the legacy partner `name`, which leaves `node`: as if all had left that come before it.
    #[must_use]
    pub fn full_without(
        &self,
        who: Whereabouts<'_>,
        node: &str,
        name: &str,
        now: Moment,
    ) -> Positions {
        let Some(mut share) = self.share(who, now) else {
            return Positions::NONE;
        };
        let own = PinKey::of_partner(&self.pin_scope, &Arc::from(name));
        let own = who.pins.look_up(&own, now);
        if let Some(moved) = own.filter(|own| **own != *node) {
            // A failover came before: it goes along, as if it were not there yet.
            share.leave(&moved);
            return share.full(&self.candidates().collect::<Vec<_>>());
        }
        let keys = who
            .partners
            .legacy()
            .filter(|known| *known.name < *name)
            .map(|known| PinKey::of_partner(&self.pin_scope, &known.name));
        let is_there = |key: &PinKey| who.pins.look_up(key, now).as_deref() == Some(node);
        let mut before: Vec<_> = keys.filter(is_there).collect();
        before.sort();
        let mut evacuation = Evacuation::new(who.key, node, self.candidates(), Some(share));
        for key in before {
            let _ = evacuation.next(&key.subject, true);
        }
        evacuation.full()
    }
}
