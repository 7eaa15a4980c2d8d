//! When an endpoint last went down, to know one that comes and goes.

use std::collections::VecDeque;

use crate::clock::Moment;
use crate::config::model::Flap;

/// The last moments at which an endpoint that had been up went down, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Downs(VecDeque<Moment>);

impl Downs {
    pub(super) fn note(&mut self, now: Moment) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// Whether it went down as often as `flap` says, within the time that it says.
    pub(super) fn are_too_many(&self, flap: &Flap, now: Moment) -> bool {
        let recent = self.0.iter().rev();
        let recent = recent.take_while(|at| now.since(**at) < flap.within);
        u32::try_from(recent.count()).is_ok_and(|count| count >= flap.downs)
    }
}

/// More than anybody counts to before calling it flapping.
const REMEMBERED: usize = 64;
