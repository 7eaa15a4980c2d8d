//! The list of a worker's sessions, and what is done to many of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::seat::Seat;
use super::survey::{Concerned, Survey};
use super::{EndpointNumber, Interrupt, Session};
use crate::clock::Moment;
use crate::relay::wheel::{TICK, Wheel};

/// The sessions of one worker.
#[derive(Debug)]
pub struct Sessions {
    now: Cell<Moment>,
    ticked: Cell<Moment>,
    /// When this worker last ticked much later than it should.
    late: Cell<Option<Moment>>,
    pub(super) list: RefCell<List>,
}

/// A place in the list of a worker's sessions, unique while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    wheel: Wheel<SessionId>,
}

#[derive(Debug)]
pub(super) struct Slot {
    generation: u32,
    pub(super) session: Option<Rc<Session>>,
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
        let session = Rc::new(Session::new(listener, self.now()));
        let id = self.list.borrow_mut().enter(Rc::clone(&session));
        Seat::new(Rc::clone(self), session, id)
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

    /// Interrupts the sessions that `which` selects, partners first, and tells how many.
    pub fn interrupt(&self, interrupt: Interrupt, which: impl Fn(&Session) -> bool) -> Concerned {
        self.list.borrow().interrupt(interrupt, usize::MAX, which)
    }

    /// Interrupts at most so many of the sessions that `which` selects, partners first, and tells how many.
    /// One that was interrupted and has not noticed yet is not counted again.
    pub fn thin(
        &self,
        interrupt: Interrupt,
        most: usize,
        which: impl Fn(&Session) -> bool,
    ) -> Concerned {
        let is_left = |session: &Session| session.interrupt.get() <= Some(Interrupt::Named);
        let which = |session: &Session| is_left(session) && which(session);
        self.list.borrow().interrupt(interrupt, most, which)
    }

    /// What those sessions are doing that `which` selects.
    pub fn survey(&self, which: impl Fn(&Session) -> bool) -> Survey {
        let list = self.list.borrow();
        let mut survey = Survey {
            late: self.late.get(),
            ..Survey::default()
        };
        for session in list.sessions().filter(|session| which(session)) {
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
        let mut surveys = HashMap::<_, Survey>::new();
        for session in list.sessions().filter(|session| which(session)) {
            surveys.entry(session.endpoint()).or_default().take(session);
        }
        surveys
    }

    /// How many of the sessions that `which` selects each partner has.
    pub fn census(&self, which: impl Fn(&Session) -> bool) -> HashMap<Arc<str>, usize> {
        let list = self.list.borrow();
        let mut census = HashMap::new();
        for session in list.sessions().filter(|session| which(session)) {
            if let Some(partner) = session.owner.name() {
                *census.entry(partner).or_default() += 1;
            }
        }
        census
    }

    /// How many sessions `which` selects.
    pub fn count(&self, which: impl Fn(&Session) -> bool) -> Concerned {
        let list = self.list.borrow();
        list.sessions().filter(|session| which(session)).collect()
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

    /// Bytes have passed at this moment.
    pub(super) fn note_now(&self, now: Moment) {
        self.now.set(now);
    }

    /// Whoever has this place is gone.
    pub(super) fn leave(&self, id: SessionId) {
        self.list.borrow_mut().leave(id);
    }

    pub(super) fn schedule(&self, id: SessionId, session: &Session, deadline: Moment) {
        if deadline < session.scheduled.get() {
            let at = self.list.borrow_mut().wheel.schedule(id, deadline);
            session.scheduled.set(at);
        }
    }
}

impl List {
    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().filter_map(|slot| slot.session.as_deref())
    }

    /// Interrupts at most so many of those that `which` selects, partners first, and tells how many.
    fn interrupt(
        &self,
        interrupt: Interrupt,
        most: usize,
        which: impl Fn(&Session) -> bool,
    ) -> Concerned {
        let first = self.sessions().filter(|session| session.is_cut_first());
        let rest = self.sessions().filter(|session| !session.is_cut_first());
        let meant = first.chain(rest).filter(|session| which(session));
        let chosen = meant.take(most);
        chosen
            .inspect(|session| session.interrupt(interrupt))
            .collect()
    }

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

/// A worker that ticks so late has stood still: what its nodes have sent meanwhile it has yet to read.
const LATE: Duration = Duration::from_millis(100);
