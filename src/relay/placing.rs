//! Where one session goes, and what becomes of its pin.
//!
//! Owns the joining of listener, partner and pin table; the choice itself is `pool::select`'s. What a
//! session would be given can be asked without a session, by its [`Claim`].

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Context, Policy};
use crate::clock::Moment;
use crate::config::model::{self, Balance};
use crate::partner::table::Known;
use crate::pool::pins::{Lease, NewPin, PinKey, PinnedBy};
use crate::pool::placement::{PlacementKey, Subject};
use crate::pool::select::{Choice, Positions, Request, Standing, Why, choose};
use crate::snapshot::{Endpoint, Listener, Whereabouts};

/// What a client brings to a listener: by it, and by how the nodes stand, its node is chosen. Read once;
/// making one changes nothing.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whom the placement is about.
    pub subject: Subject,
    /// By what it is remembered; `None`: it is not.
    pub key: Option<PinKey>,
    /// The node that the pin names.
    pub pinned: Option<Arc<str>>,
    /// Position of the node that the partner prefers.
    pub preferred: Option<usize>,
    /// Nodes that have their share of legacy partners already.
    pub full: Positions,
    /// How it is placed without a pin.
    pub balance: Balance,
    /// An address that is treated like a legacy partner.
    pub looks_legacy: bool,
}

/// Who claims a node.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// From where it connects.
    pub client: IpAddr,
    /// Which partner it is, where that is known.
    pub partner: Option<&'a Arc<Known>>,
    /// Whether its hello is one of those that cannot fail over by themselves.
    pub looks_legacy: bool,
}

impl Claim {
    /// The claim of `claimant` on `listener`.
    #[must_use]
    pub fn new(
        (listener, who): (&Listener, Whereabouts<'_>),
        claimant: Claimant<'_>,
        now: Moment,
    ) -> Self {
        let Claimant {
            client, partner, ..
        } = claimant;
        let (subject, is_pinned) = subject(&listener.config, client, partner);
        let key = is_pinned.then(|| PinKey::new(&listener.pin_scope, subject.clone()));
        let pinned = key.as_ref().and_then(|key| who.pins.look_up(key, now));
        let preferred = partner
            .and_then(|partner| partner.node.as_ref())
            .filter(|_| subject.is_partner())
            .and_then(|node| listener.position(node));
        // Where partners are not pinned by name, nobody is pinned like one.
        let looks_legacy = claimant.looks_legacy
            && partner.is_none()
            && listener.config.unknown_legacy
            && listener.config.pin == model::Pin::Partner;
        let mut claim = Self {
            subject,
            key,
            pinned,
            preferred,
            full: Positions::NONE,
            // As partners: the same node each time, on every appliance.
            balance: match looks_legacy {
                true => Balance::SourceHash,
                false => listener.balance,
            },
            looks_legacy,
        };
        if !claim.is_settled(listener) {
            claim.full = claim.full(listener, who, now);
        }
        claim
    }

    /// Whether its pin holds, as far as the node's standing tells.
    fn is_settled(&self, listener: &Listener) -> bool {
        let seat = self.pinned.as_ref().and_then(|node| listener.seat(node));
        seat.is_some_and(|seat| listener.standing(seat).keeps_pinned())
    }

    /// Nodes that have their share, for a legacy partner that has no pin, or whose node is gone.
    fn full(&self, listener: &Listener, who: Whereabouts<'_>, now: Moment) -> Positions {
        let Subject::Partner(name) = &self.subject else {
            return Positions::NONE;
        };
        let is_counted = who.partners.by_name(name);
        if !is_counted.is_some_and(|known| known.is_counted()) {
            return Positions::NONE;
        }
        match &self.pinned {
            Some(node) => listener.full_without(who, node, name, now),
            None => listener.full(who, now),
        }
    }

    /// Whether the pin goes along where a session is served that has `left` its node.
    fn leaves_pin(&self, listener: &Listener, left: Left) -> bool {
        // Another listener of the affinity may still be served there.
        let is_kept = || {
            let pinned = self.pinned.as_ref();
            pinned.is_some_and(|node| listener.keeps_pin(node))
        };
        match left {
            Left::Judged => !is_kept(),
            // Not known to be down yet; but where no node is good on all listeners, none is better than that.
            Left::Refused => !(listener.is_torn() && is_kept()),
            Left::Unanswered => false,
        }
    }

    /// What is asked on its behalf at this `turn`, where `tried` was dialled in vain.
    #[must_use]
    pub fn request<'a>(
        &'a self,
        listener: &Listener,
        key: &'a PlacementKey,
        turn: u64,
        tried: Positions,
    ) -> Request<'a> {
        let pinned = match &self.pinned {
            Some(node) => listener.position(node),
            None => self.preferred,
        };
        Request {
            key,
            subject: &self.subject,
            balance: self.balance,
            pinned,
            turn,
            tried,
            full: self.full,
        }
    }
}

/// The placing of one session.
#[derive(Debug)]
pub struct Placing {
    context: Rc<Context>,
    policy: Rc<Policy>,
    /// As it was when the session began.
    claim: Claim,
    turn: u64,
    tried: Positions,
    left_pin_by: Left,
}

/// Why a session is not where its pin points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The pinned node was not chosen: down, draining or gone.
    Judged,
    /// The pinned node refused, reset or was unreachable.
    Refused,
    /// The pinned node did not answer in time: moves nothing.
    Unanswered,
}

/// A session's hold on its pin, given back however the session ends.
#[derive(Debug)]
pub struct Hold {
    context: Rc<Context>,
    lease: Option<Lease>,
}

impl Hold {
    /// The hold by `lease` on a pin.
    #[must_use]
    pub fn new(context: &Rc<Context>, lease: Lease) -> Self {
        Self {
            context: Rc::clone(context),
            lease: Some(lease),
        }
    }

    /// Whether the pin is that of the partner called `name`.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        let subject = self.lease.as_ref().map(|lease| &lease.key().subject);
        matches!(subject, Some(Subject::Partner(partner)) if **partner == *name)
    }

    /// Whether the pin is that of a partner.
    #[must_use]
    pub fn is_of_partner(&self) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|lease| lease.key().subject.is_partner())
    }

    /// Whether the pin names `node` now.
    #[must_use]
    pub fn names(&self, node: &str, now: Moment) -> bool {
        let key = self.lease.as_ref().map(Lease::key);
        let named = key.and_then(|key| self.context.pins.look_up(key, now));
        named.is_some_and(|named| *named == *node)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.context.pins.release(lease, Moment::now());
        }
    }
}

/// How an attempt at a node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Refused, reset or unreachable, or dead before its first byte.
    Refused,
    /// No answer in time.
    Unanswered,
}

impl Placing {
    /// Finds the pin of `claimant`.
    #[must_use]
    pub fn new(context: &Rc<Context>, policy: &Rc<Policy>, claimant: Claimant<'_>) -> Self {
        let listener = &policy.listener;
        let ground = (&**listener, whereabouts(context, policy));
        let claim = Claim::new(ground, claimant, Moment::now());
        let turn = listener.state.turn.fetch_add(1, Relaxed);
        Self {
            context: Rc::clone(context),
            policy: Rc::clone(policy),
            claim,
            turn,
            tried: Positions::NONE,
            left_pin_by: Left::Judged,
        }
    }

    /// The client itself says where it was before, which counts as a pin does.
    pub fn prefer(&mut self, index: usize) {
        let node = self.policy.listener.nodes.get(index);
        self.claim.pinned = node.map(|seat| Arc::clone(&seat.endpoint.node));
    }

    /// Nodes are taken in turn where they would be by their sessions: where connections stay and requests come and
    /// go, how many connections a node has says nothing.
    pub fn take_turns(&mut self) {
        if self.claim.balance == Balance::LeastSessions {
            self.claim.balance = Balance::RoundRobin;
        }
    }

    /// The node to dial now; `None` when all were tried or none may be.
    #[must_use]
    pub fn choose(&self) -> Option<Choice> {
        let listener = &self.policy.listener;
        let claim = &self.claim;
        let request = claim.request(listener, &self.context.key, self.turn, self.tried);
        choose(listener.candidates(), &request)
    }

    /// Whether a node was tried.
    #[must_use]
    pub fn has_tried(&self) -> bool {
        self.tried.count() > 0
    }

    /// The node at `index` is not chosen: the session was ended there.
    pub fn pass_over(&mut self, index: usize) {
        self.tried = self.tried.with(index);
    }

    /// The node at `choice` failed: another one is next.
    pub fn failed(&mut self, choice: &Choice, how: Failure) {
        self.tried = self.tried.with(choice.index);
        let node = self.policy.listener.nodes.get(choice.index);
        if node.is_some_and(|node| Some(&node.endpoint.node) == self.claim.pinned.as_ref()) {
            let (listener, who) = (
                &self.policy.listener,
                whereabouts(&self.context, &self.policy),
            );
            self.claim.full = self.claim.full(listener, who, Moment::now());
            self.left_pin_by = match how {
                Failure::Refused => Left::Refused,
                Failure::Unanswered => Left::Unanswered,
            };
        }
    }

    /// `endpoint` has sent its first byte: pins, or moves the pin, and holds it for the session.
    pub fn answered(&self, choice: &Choice, endpoint: &Endpoint, now: Moment) -> Option<Hold> {
        let key = self.claim.key.as_ref()?;
        match (&self.claim.pinned, choice.why) {
            _ if stands_in(choice, endpoint) => {}
            (None, why) => {
                let by = match why {
                    Why::Pinned => PinnedBy::Configured,
                    Why::Placed | Why::Draining | Why::Unproven | Why::FailStatic => {
                        PinnedBy::Placed
                    }
                };
                let _ = self.context.pins.pin(key, self.new_pin(endpoint, by), now);
            }
            (Some(node), _) if *node == endpoint.node => {}
            (Some(from), _) => self.move_pin(key, from, endpoint, now),
        }
        if self.claim.looks_legacy {
            self.context.pins.mark_legacy(key, now);
        }
        let lease = self.context.pins.lease(key, now)?;
        Some(Hold::new(&self.context, lease))
    }

    /// Whether `endpoint`, which has answered, is where the pin points from here on. Somebody who knew more may have
    /// moved it since the session began.
    #[must_use]
    pub fn is_home(&self, choice: &Choice, endpoint: &Endpoint) -> bool {
        let key = self.claim.key.as_ref();
        let points_there = match key.filter(|key| key.subject.is_partner()) {
            Some(key) => {
                let named = self.context.pins.look_up(key, Moment::now());
                named.as_ref() == Some(&endpoint.node)
            }
            None => {
                self.claim.pinned.as_ref() == Some(&endpoint.node)
                    || self
                        .claim
                        .leaves_pin(&self.policy.listener, self.left_pin_by)
            }
        };
        !stands_in(choice, endpoint) && points_there
    }

    /// Moves the pin away from where it pointed when the session began. One that points elsewhere by now
    /// was moved by somebody who knew more: it stays.
    fn move_pin(&self, key: &PinKey, from: &Arc<str>, endpoint: &Endpoint, now: Moment) {
        if !self
            .claim
            .leaves_pin(&self.policy.listener, self.left_pin_by)
        {
            return;
        }
        let by = match self.left_pin_by {
            Left::Refused => PinnedBy::DialFailed,
            Left::Judged | Left::Unanswered => PinnedBy::Placed,
        };
        let to = &endpoint.node;
        let has_moved = self.context.pins.move_from(key, from, to, by, now);
        if has_moved
            && key.subject.is_partner()
            && let Some(suppressed) = self.context.moves.allow()
        {
            let why = by.label();
            tracing::warn!(partner = %key.subject, affinity = %key.scope.affinity, %from, %to, why, suppressed, "pin-moved");
        }
        if !has_moved {
            // It lapsed meanwhile, or stays as it is.
            let _ = self.context.pins.pin(key, self.new_pin(endpoint, by), now);
        }
    }

    fn new_pin(&self, endpoint: &Endpoint, by: PinnedBy) -> NewPin {
        NewPin {
            node: Arc::clone(&endpoint.node),
            by,
            revision: self.policy.revision,
            ttl: self.policy.listener.config.pin_ttl,
            looks_legacy: self.claim.looks_legacy,
        }
    }
}

/// Whether it serves while nobody better is there, which makes it no home; or a reload has removed it since it was
/// dialled, or an administrator has disabled it.
fn stands_in(choice: &Choice, endpoint: &Endpoint) -> bool {
    let for_want_of_others = matches!(choice.why, Why::FailStatic | Why::Unproven | Why::Draining);
    for_want_of_others || endpoint.standing() == Standing::Never
}

fn whereabouts<'a>(context: &'a Context, policy: &'a Policy) -> Whereabouts<'a> {
    Whereabouts {
        key: &context.key,
        partners: &policy.partners,
        pins: &context.pins,
    }
}

/// Whom a session's placement is about, and whether it is remembered.
fn subject(
    listener: &model::Listener,
    client: IpAddr,
    partner: Option<&Arc<Known>>,
) -> (Subject, bool) {
    let prefix = || Subject::of_client(client, listener.pin_prefix);
    match (listener.pin, partner) {
        (model::Pin::None, _) => (prefix(), false),
        (model::Pin::Source, _) | (model::Pin::Partner, None) => (prefix(), true),
        (model::Pin::Partner, Some(partner)) => match partner.pin {
            model::Pin::Partner => (Subject::Partner(Arc::clone(&partner.name)), true),
            model::Pin::Source => (prefix(), true),
            model::Pin::None => (prefix(), false),
        },
    }
}

#[cfg(test)]
mod tests;
