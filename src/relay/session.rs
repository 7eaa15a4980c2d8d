//! The sessions of one worker: how each is found, timed and interrupted.
//!
//! Owns the list of a worker's sessions and its one coarse timer wheel; it does not move bytes.
//! Everything here belongs to one thread. Invariants: a session is in the list from
//! [`Sessions::admit`] until its [`Seat`] is dropped, however it ends; a session that is interrupted
//! is woken.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::owner::Owner;
use super::wheel::{TICK, Wheel};
use crate::addr::mapped;
use crate::clock::Moment;
use crate::config::model::PinPrefix;
use crate::partner::table::Known;
use crate::pool::placement::Subject;
use crate::telemetry::outcome::Outcome;

mod naming;
mod survey;

pub use survey::Survey;

/// What can end the wait of a session from outside, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// Its client has turned out to be a partner: it looks, and goes on.
    Named,
    /// Its own deadline has passed.
    Deadline,
    /// Its partner is pinned to another node.
    Moved,
    /// Its node was found dead.
    NodeDown,
    /// Its node's drain has reached the deadline.
    Drained,
    /// Its node was disabled.
    Disabled,
    /// Its node is gone, and its time is up.
    NodeRemoved,
    /// Its listener is gone, and its time is up.
    ListenerRemoved,
    /// The process stops.
    Stopped,
}

/// A place in the list of a worker's sessions, unique while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    slot: u32,
    generation: u32,
}

/// Which node and port a session has to do with; zero is none. See `snapshot::Endpoint`.
pub type EndpointNumber = u32;

/// How long a session has been there, as far as anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// The wheel has not come by yet.
    Short,
    /// It has, and the session does not know.
    Lasting,
    /// The session knows.
    Settled,
}

/// What the worker knows of one session.
pub struct Session {
    owner: Owner,
    age: Cell<Age>,
    /// Which listener it came in by; a number that outlives reloads.
    pub listener: u32,
    /// From where its client comes; unspecified before that is known.
    from: Cell<Ipv6Addr>,
    /// Tells clients apart, not who they are.
    client: Cell<u32>,
    /// Whether its node has ever sent a byte.
    is_answered: Cell<bool>,
    looks_legacy: Cell<bool>,
    interrupt: Cell<Option<Interrupt>>,
    waker: Cell<Option<Waker>>,
    active_at: Cell<Moment>,
    heard_at: Cell<Moment>,
    asked_at: Cell<Moment>,
    /// How long a phase may last without a byte, in milliseconds: a session has room for few bytes.
    limit: Cell<Option<NonZeroU32>>,
    /// For when the wheel has it.
    scheduled: Cell<Moment>,
    endpoint: Cell<EndpointNumber>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("listener", &self.listener)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Waits for `future`, unless the session is interrupted first.
    ///
    /// # Errors
    ///
    /// The interrupt, which is thereby consumed; `future` is dropped.
    pub async fn guard<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        poll_fn(|context| match self.poll_interrupt(context) {
            Poll::Ready(interrupt) => Poll::Ready(Err(interrupt)),
            Poll::Pending => future.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Takes the interrupt, or remembers whom to wake for one.
    pub fn poll_interrupt(&self, context: &Context<'_>) -> Poll<Interrupt> {
        if let Some(interrupt) = self.interrupt.take() {
            return Poll::Ready(interrupt);
        }
        let known = self.waker.take();
        let known = known.filter(|known| known.will_wake(context.waker()));
        let waker = known.unwrap_or_else(|| context.waker().clone());
        self.waker.set(Some(waker));
        Poll::Pending
    }

    /// Interrupts the session. Of several that it has not taken yet the strongest stands: an order is
    /// given once, and a weaker one must not swallow it.
    pub fn interrupt(&self, interrupt: Interrupt) {
        self.interrupt
            .set(self.interrupt.get().max(Some(interrupt)));
        self.wake();
    }

    /// Wherever it is polled next, it remembers a waker again.
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The wheel has come by, at the latest when the dial should have been answered.
    fn outlast(&self) {
        if self.age.get() == Age::Short {
            self.age.set(Age::Lasting);
            self.wake();
        }
    }

    /// Whether it has lasted, told once: since the wheel came by for the first time.
    pub fn has_just_lasted(&self) -> bool {
        let has = self.age.get() == Age::Lasting;
        if has {
            self.age.set(Age::Settled);
        }
        has
    }

    /// It goes on with another node, for which it has lasted no less.
    pub fn goes_on(&self) {
        if self.age.get() == Age::Settled {
            self.age.set(Age::Lasting);
        }
    }

    /// Bytes have passed: its deadline starts anew.
    fn touch(&self, now: Moment) {
        self.active_at.set(now);
    }

    /// When a byte last passed, either way.
    #[must_use]
    pub fn active_at(&self) -> Moment {
        self.active_at.get()
    }

    /// Since when the client goes without its node, where the session ended at `ended` by the node's
    /// fault: since the node's last byte, if they were talking; since the first byte that the client
    /// sent in vain, if it had been idle before; else since the end.
    pub fn cut_off_since(&self, ended: Moment) -> Moment {
        let (heard, asked) = (self.heard_at.get(), self.asked_at.get());
        let noticed = if asked > heard { asked } else { ended };
        if noticed.since(heard) < TALKING {
            heard
        } else {
            noticed
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let limit = Duration::from_millis(self.limit.get()?.get().into());
        Some(self.active_at.get() + limit)
    }
}

/// The sessions of one worker.
#[derive(Debug)]
pub struct Sessions {
    now: Cell<Moment>,
    ticked: Cell<Moment>,
    /// When this worker last ticked much later than it should.
    late: Cell<Option<Moment>>,
    list: RefCell<List>,
}

#[derive(Debug)]
struct List {
    slots: Vec<Slot>,
    free: Vec<u32>,
    wheel: Wheel<SessionId>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    session: Option<Rc<Session>>,
}

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let list = List {
            slots: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(now),
        };
        Self {
            now: Cell::new(now),
            ticked: Cell::new(now),
            late: Cell::new(None),
            list: RefCell::new(list),
        }
    }

    /// The worker's coarse time: as of its last tick, or the last bytes that passed.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now.get()
    }

    /// Enters a session into the list. It leaves when the seat is dropped.
    #[must_use]
    pub fn admit(self: &Rc<Self>, listener: u32) -> Seat {
        let session = Rc::new(Session {
            owner: Owner::default(),
            age: Cell::new(Age::Short),
            listener,
            from: Cell::new(Ipv6Addr::UNSPECIFIED),
            client: Cell::new(0),
            is_answered: Cell::new(false),
            looks_legacy: Cell::new(false),
            interrupt: Cell::new(None),
            waker: Cell::new(None),
            active_at: Cell::new(self.now()),
            heard_at: Cell::new(self.now()),
            asked_at: Cell::new(Moment::START),
            limit: Cell::new(None),
            scheduled: Cell::new(Moment::NEVER),
            endpoint: Cell::new(0),
        });
        let id = self.list.borrow_mut().enter(Rc::clone(&session));
        Seat {
            sessions: Rc::clone(self),
            session,
            id,
        }
    }

    /// Advances the coarse time and interrupts every session whose deadline has passed.
    pub fn tick(&self, now: Moment) {
        self.now.set(now);
        if now.since(self.ticked.replace(now)) > TICK + LATE {
            self.late.set(Some(now));
        }
        let due = self.list.borrow_mut().wheel.advance(now);
        for (id, at) in due {
            let session = self.list.borrow().find(id).map(Rc::clone);
            let Some(session) = session else { continue };
            // An entry that a shorter deadline has overtaken.
            if session.scheduled.get() != at {
                continue;
            }
            session.scheduled.set(Moment::NEVER);
            session.outlast();
            match session.deadline() {
                Some(deadline) if deadline <= now => session.interrupt(Interrupt::Deadline),
                Some(deadline) => self.schedule(id, &session, deadline),
                None => {}
            }
        }
    }

    /// Interrupts the sessions that `which` selects, partners first, and returns how many.
    pub fn interrupt(&self, interrupt: Interrupt, which: impl Fn(&Session) -> bool) -> usize {
        let list = self.list.borrow();
        let mut count = 0;
        for is_first in [true, false] {
            let sessions = list.slots.iter().filter_map(|slot| slot.session.as_ref());
            for session in sessions.filter(|session| session.is_cut_first() == is_first) {
                if which(session) {
                    session.interrupt(interrupt);
                    count += 1;
                }
            }
        }
        count
    }

    /// Interrupts at most so many of the sessions that `which` selects, partners first, and returns how many.
    /// One that was interrupted and has not noticed yet is not counted again.
    pub fn thin(
        &self,
        interrupt: Interrupt,
        most: usize,
        which: impl Fn(&Session) -> bool,
    ) -> usize {
        let list = self.list.borrow();
        let sessions = || list.slots.iter().filter_map(|slot| slot.session.as_ref());
        let first = sessions().filter(|session| session.is_cut_first());
        let rest = sessions().filter(|session| !session.is_cut_first());
        let is_left = |session: &Session| session.interrupt.get() <= Some(Interrupt::Named);
        let is_meant = |session: &&Rc<Session>| is_left(session) && which(session);
        let chosen = first.chain(rest).filter(is_meant).take(most);
        chosen
            .inspect(|session| session.interrupt(interrupt))
            .count()
    }

    /// What those sessions are doing that `which` selects.
    pub fn survey(&self, which: impl Fn(&Session) -> bool) -> Survey {
        let list = self.list.borrow();
        let sessions = list.slots.iter().filter_map(|slot| slot.session.as_ref());
        let mut survey = Survey {
            late: self.late.get(),
            ..Survey::default()
        };
        for session in sessions.filter(|session| which(session)) {
            survey.take(session);
        }
        survey
    }

    /// What the sessions that `which` selects are doing, by the endpoint they dial or talk to.
    pub fn survey_by_endpoint(
        &self,
        which: impl Fn(&Session) -> bool,
    ) -> HashMap<EndpointNumber, Survey> {
        let list = self.list.borrow();
        let sessions = list.slots.iter().filter_map(|slot| slot.session.as_ref());
        let mut surveys = HashMap::<_, Survey>::new();
        for session in sessions.filter(|session| which(session)) {
            surveys.entry(session.endpoint()).or_default().take(session);
        }
        surveys
    }

    /// How many of the sessions that `which` selects each partner has.
    pub fn census(&self, which: impl Fn(&Session) -> bool) -> HashMap<Arc<str>, usize> {
        let list = self.list.borrow();
        let sessions = list.slots.iter().filter_map(|slot| slot.session.as_ref());
        let mut census = HashMap::new();
        for session in sessions.filter(|session| which(session)) {
            if let Some(partner) = session.owner.name() {
                *census.entry(partner).or_default() += 1;
            }
        }
        census
    }

    /// How many sessions `which` selects.
    pub fn count(&self, which: impl Fn(&Session) -> bool) -> usize {
        let list = self.list.borrow();
        let sessions = list.slots.iter().filter_map(|slot| slot.session.as_ref());
        sessions.filter(|session| which(session)).count()
    }

    /// Sessions in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        let list = self.list.borrow();
        list.slots.len() - list.free.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn schedule(&self, id: SessionId, session: &Session, deadline: Moment) {
        if deadline < session.scheduled.get() {
            let at = self.list.borrow_mut().wheel.schedule(id, deadline);
            session.scheduled.set(at);
        }
    }
}

impl Session {
    /// It belongs to this configured partner; those are cut first. Whether that is news.
    pub fn mark_partner(&self, known: &Arc<Known>) -> bool {
        self.owner.set(known)
    }

    /// The configured partner that it belongs to.
    #[must_use]
    pub fn partner(&self) -> Option<Arc<Known>> {
        self.owner.get()
    }

    /// Whether it belongs to a configured partner.
    #[must_use]
    pub fn is_partner(&self) -> bool {
        self.owner.is_known()
    }

    /// Whether it belongs to the configured partner called `name`.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        self.owner.is(name)
    }

    /// Its client looks as if it could not fail over by itself: it is pinned and cut like a partner.
    pub fn mark_legacy(&self) {
        self.looks_legacy.set(true);
    }

    /// Whether it was marked so.
    #[must_use]
    pub fn looks_legacy(&self) -> bool {
        self.looks_legacy.get()
    }

    /// Whether it is among the first that are cut.
    fn is_cut_first(&self) -> bool {
        self.is_partner() || self.looks_legacy()
    }

    /// The endpoint it dials or talks to; zero is none.
    #[must_use]
    pub fn endpoint(&self) -> EndpointNumber {
        self.endpoint.get()
    }
}

impl List {
    fn enter(&mut self, session: Rc<Session>) -> SessionId {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            place.session = Some(session);
            return SessionId {
                slot,
                generation: place.generation,
            };
        }
        // A worker that had four thousand million sessions at once would have failed long before.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot {
            generation: 0,
            session: Some(session),
        });
        SessionId {
            slot,
            generation: 0,
        }
    }

    fn leave(&mut self, id: SessionId) {
        if let Some(slot) = self.slots.get_mut(id.slot as usize)
            && slot.generation == id.generation
        {
            slot.generation = slot.generation.wrapping_add(1);
            slot.session = None;
            self.free.push(id.slot);
        }
    }

    fn find(&self, id: SessionId) -> Option<&Rc<Session>> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.session
            .as_ref()
            .filter(|_| slot.generation == id.generation)
    }
}

/// A session's place in the list, held by its task.
#[derive(Debug)]
pub struct Seat {
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    id: SessionId,
}

impl Seat {
    /// Starts a phase that may last `limit` without a byte, at most seven weeks; `None`: for ever.
    pub fn arm(&self, limit: Option<Duration>) {
        let limit = limit.map(|limit| {
            let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN)
        });
        self.session.touch(self.sessions.now());
        self.session.limit.set(limit);
        if let Some(deadline) = self.session.deadline() {
            self.sessions.schedule(self.id, &self.session, deadline);
        }
    }

    /// An interrupt was passed over. A deadline that came together with it was passed over as well, so the
    /// session is put on the wheel again.
    pub fn go_on_regardless(&self) {
        if let Some(deadline) = self.session.deadline() {
            self.sessions.schedule(self.id, &self.session, deadline);
        }
    }

    /// Bytes have passed. Reads the clock, which costs a hundredth of the system call that moved
    /// them, so that the ledger can tell a cut-off of milliseconds.
    fn mark_active(&self) -> Moment {
        let now = Moment::now();
        self.sessions.now.set(now);
        self.session.touch(now);
        now
    }

    /// Bytes have passed, none of them the node's.
    pub fn mark_asked(&self) {
        let now = self.mark_active();
        if self.session.asked_at.get() <= self.session.heard_at.get() {
            self.session.asked_at.set(now);
        }
    }

    /// Bytes have passed, some of them the node's: a client may go on talking to a dead node.
    pub fn mark_heard(&self) {
        let now = self.mark_active();
        self.session.heard_at.set(now);
        self.session.is_answered.set(true);
    }

    /// Its client is at `ip`. Clients are told apart by their prefix, since whoever has an IPv6 address has
    /// many.
    pub fn come_from(&self, ip: IpAddr, prefix: PinPrefix) {
        let client = Subject::of_client(ip, prefix);
        self.session.from.set(mapped(ip));
        let mut hasher = SipHasher13::new();
        client.hash(&mut hasher);
        let [_, _, _, _, a, b, c, d] = hasher.finish().to_be_bytes();
        self.session.client.set(u32::from_be_bytes([a, b, c, d]));
    }

    /// From here on it stands and falls with `endpoint`.
    pub fn bind(&self, endpoint: EndpointNumber) {
        self.session.endpoint.set(endpoint);
    }
}

impl std::ops::Deref for Seat {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.list.borrow_mut().leave(self.id);
    }
}

/// How a session ends that is interrupted so.
#[must_use]
pub const fn outcome_of(interrupt: Interrupt) -> Outcome {
    match interrupt {
        Interrupt::Deadline | Interrupt::Named => Outcome::Idle,
        Interrupt::NodeDown => Outcome::NodeDown,
        Interrupt::Drained => Outcome::Drained,
        Interrupt::Disabled => Outcome::Disabled,
        Interrupt::Moved => Outcome::Moved,
        Interrupt::NodeRemoved | Interrupt::ListenerRemoved => Outcome::Removed,
        Interrupt::Stopped => Outcome::Stopped,
    }
}

/// A worker that ticks so late has stood still: what its nodes have sent meanwhile it has yet to read.
const LATE: Duration = Duration::from_millis(100);

/// Who pauses longer than this between two lines is idle.
const TALKING: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "session/tests.rs"]
pub(super) mod tests;
