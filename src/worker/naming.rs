//! Looking whose the sessions are that are there already, when more is known of who is who.
//!
//! A walk through the list, a few places at a time: between two of them the worker does all else. One walk at
//! a time; what is told meanwhile makes it begin anew.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::{spawn_local, yield_now};

use crate::clock::Moment;
use crate::partner::table::Known;
use crate::relay::Context;

/// The walks of one worker.
#[derive(Debug)]
pub(super) struct Naming {
    context: Rc<Context>,
    /// The turn of the names that the last walk went by.
    walked: Cell<u64>,
    is_under_way: Cell<bool>,
}

impl Naming {
    pub(super) fn new(context: &Rc<Context>) -> Self {
        Self {
            context: Rc::clone(context),
            walked: Cell::new(context.names.turn()),
            is_under_way: Cell::new(false),
        }
    }

    /// Begins a walk, if there is anything new.
    pub(super) fn look(self: &Rc<Self>) {
        if self.is_new() && !self.is_under_way.replace(true) {
            let naming = Rc::clone(self);
            spawn_local(async move { naming.walk().await });
        }
    }

    fn is_new(&self) -> bool {
        self.walked.get() != self.context.names.turn()
    }

    async fn walk(&self) {
        while self.is_new() {
            self.walked.set(self.context.names.turn());
            let mut place = Some(0);
            while let Some(from) = place {
                place = self.look_from(from);
                yield_now().await;
            }
        }
        self.is_under_way.set(false);
    }

    fn look_from(&self, place: usize) -> Option<usize> {
        let (names, recognition) = (&self.context.names, &self.context.recognition);
        let (partners, now) = (names.partners(), Moment::now());
        let who =
            |ip, was: Option<&Known>| Some(recognition.recognise_anew(&partners, ip, was, now)?.0);
        self.context.sessions.name(place, AT_ONCE, who)
    }
}

/// Some ten microseconds' work.
const AT_ONCE: usize = 128;
