//! The sessions of one worker: how each is found, timed and interrupted.
//!
//! Owns the list of a worker's sessions and its one coarse timer wheel; it does not move bytes.
//! Everything here belongs to one thread. Invariants: a session is in the list from
//! [`Sessions::admit`] until its [`Seat`] is dropped, however it ends; a session that is interrupted
//! is woken.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::owner::Owner;
use crate::clock::Moment;
use crate::partner::table::Known;
use crate::telemetry::outcome::Outcome;

mod list;
mod naming;
mod seat;
mod survey;

pub use list::{SessionId, Sessions};
pub use seat::Seat;
pub use survey::{Concerned, Survey};

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

impl Interrupt {
    /// Whether it is about the node alone: a session that has not met that may go to another one.
    #[must_use]
    pub const fn is_of_node(self) -> bool {
        match self {
            Self::NodeDown | Self::Drained | Self::Disabled | Self::NodeRemoved => true,
            Self::Named | Self::Deadline | Self::Moved | Self::ListenerRemoved | Self::Stopped => {
                false
            }
        }
    }
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
    /// It goes on with another node when it loses its own.
    rehomes: Cell<bool>,
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
    fn new(listener: u32, now: Moment) -> Self {
        Self {
            owner: Owner::default(),
            age: Cell::new(Age::Short),
            listener,
            from: Cell::new(Ipv6Addr::UNSPECIFIED),
            client: Cell::new(0),
            is_answered: Cell::new(false),
            looks_legacy: Cell::new(false),
            rehomes: Cell::new(false),
            interrupt: Cell::new(None),
            waker: Cell::new(None),
            active_at: Cell::new(now),
            heard_at: Cell::new(now),
            asked_at: Cell::new(Moment::START),
            limit: Cell::new(None),
            scheduled: Cell::new(Moment::NEVER),
            endpoint: Cell::new(0),
        }
    }

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

    /// As [`guard`](Self::guard), for one that has no node, and perhaps had one before: what becomes of that does not
    /// concern it.
    ///
    /// # Errors
    ///
    /// Any other interrupt, which is thereby consumed; `future` is dropped.
    pub async fn guard_without_node<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        loop {
            match self.guard(future.as_mut()).await {
                Err(interrupt) if interrupt.is_of_node() => {}
                ended => return ended,
            }
        }
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

    /// Whether it goes on with another node, where one takes it, when it loses its own: what is spoken within says.
    pub fn mark_rehoming(&self, rehomes: bool) {
        self.rehomes.set(rehomes);
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

/// Who pauses longer than this between two lines is idle.
const TALKING: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "session/tests.rs"]
pub(super) mod tests;
