//! Coming back: how long an endpoint that answers again is held, and how its share grows after that.

use super::downs::Downs;
use super::{Evidence, Health, State};
use crate::clock::Moment;
use crate::config::model::{Flap, ReturnAfter};

/// Until when an endpoint that answers again is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is up and takes only its pinned clients until this moment.
    Until(Moment),
    /// The same until an administrator resumes it.
    Manual,
    /// It has come and gone too often: it stays down until this moment.
    Flapping(Moment),
}

impl Health {
    /// Until when it is held.
    #[must_use]
    pub const fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Whether it answers again and is kept down because it came and went too often.
    #[must_use]
    pub const fn is_damped(&self) -> bool {
        matches!(self.hold, Some(Hold::Flapping(_)))
    }

    /// Its share of new sessions in percent, at least 1: 100 unless it has just come back.
    #[must_use]
    pub fn warmth(&self, now: Moment) -> u8 {
        let whole = self.timing.warm_up.as_micros();
        let passed = self.warming.map(|since| now.since(since).as_micros());
        let percent = passed.and_then(|passed| (passed * 100).checked_div(whole));
        percent.map_or(100, |percent| {
            u8::try_from(percent.clamp(1, 100)).unwrap_or(100)
        })
    }

    /// An administrator ends the hold, and has it begin anew with a small share.
    pub fn resume(&mut self, now: Moment) {
        match self.hold {
            Some(Hold::Flapping(_)) => {
                self.downs = Downs::default();
                self.come_back(now);
            }
            Some(Hold::Until(_) | Hold::Manual) | None => {}
        }
        self.warm(now);
    }

    /// It is the last that answers: it comes back although it came and went too often.
    pub fn undamp(&mut self, now: Moment) {
        if self.is_damped() {
            self.come_back(now);
        }
    }

    /// It was kept from its work by something else that was down, and is held as if it had been down.
    pub fn hold_again(&mut self, now: Moment) {
        if self.state != State::Down {
            self.hold = Some(self.return_hold(now));
        }
    }

    pub(super) fn end_hold(&mut self, now: Moment) {
        match self.hold {
            Some(Hold::Until(end)) if end <= now && self.state != State::Down => self.warm(now),
            Some(Hold::Flapping(end)) if end <= now => self.come_back(now),
            Some(Hold::Until(_) | Hold::Manual | Hold::Flapping(_)) | None => {}
        }
    }

    /// Something speaks for it: it comes back unless it came and went too often.
    pub(super) fn try_to_come_back(&mut self, by: Evidence, now: Moment) {
        if self.is_damped() || self.state != State::Down {
            return;
        }
        self.evidence = Some((by, now));
        let too_many = |flap: &Flap| self.downs.are_too_many(flap, now);
        match self.timing.flap.filter(too_many) {
            Some(flap) => self.hold = Some(Hold::Flapping(now + flap.hold)),
            None => self.come_back(now),
        }
    }

    pub(super) fn come_back(&mut self, now: Moment) {
        self.away_until = None;
        self.first_evidence = None;
        self.hold = Some(self.return_hold(now));
        self.enter(State::Up, now);
    }

    pub(super) fn return_hold(&self, now: Moment) -> Hold {
        match self.timing.return_after {
            ReturnAfter::Healthy(time) => Hold::Until(now + time),
            ReturnAfter::Manual => Hold::Manual,
        }
    }

    /// Ends the hold: from here on its share of new sessions grows.
    pub(super) fn warm(&mut self, now: Moment) {
        self.hold = None;
        self.warming = Some(now);
    }
}
