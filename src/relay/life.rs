//! What sessions and flows have in common: who they are, whether they may come in, and whom their node's answer
//! concerns.
//!
//! Moves no bytes and waits for nothing: `tcp` and `udp` do, each in its way.

use std::rc::Rc;

use super::account::Account;
use super::placing::{Hold, Placing};
use super::session::Seat;
use super::{Context, Policy};
use crate::clock::Moment;
use crate::pool::select::Choice;
use crate::snapshot::Endpoint;

mod entry;
mod naming;
mod reaching;
mod suspicion;

pub(super) use entry::Entry;
pub(super) use naming::take_pin_along;
pub(super) use reaching::{Approach, Undialled};

/// What a session goes by, all through its life.
#[derive(Clone, Copy)]
pub(super) struct Life<'a> {
    pub(super) seat: &'a Seat,
    pub(super) account: &'a Account,
}

impl<'a> Life<'a> {
    pub(super) fn context(&self) -> &'a Rc<Context> {
        self.account.context()
    }

    pub(super) fn policy(&self) -> &'a Rc<Policy> {
        self.account.policy()
    }

    /// The node has answered: the pin is made or moved, and whoever waits for the partner is told. The client
    /// learns of it after that, so that it is pinned wherever it comes next, and missed if it loses this node. The
    /// names' `turn` was that when the client came.
    pub(super) fn settle(
        self,
        placing: &Placing,
        choice: &Choice,
        endpoint: &Endpoint,
        turn: u64,
    ) -> Option<Hold> {
        let now = Moment::now();
        let mut hold = placing.answered(choice, endpoint, now);
        let mut is_home = placing.is_home(choice, endpoint);
        if self.context().names.turn() != turn && self.look_again(&mut hold) {
            // It came as somebody else.
            is_home = hold
                .as_ref()
                .is_some_and(|hold| hold.names(&endpoint.node, now));
        }
        self.account.appear();
        if !self.account.is_configured() {
            endpoint.pace.recovery().serve(now);
        }
        self.tell_served(endpoint, now, is_home);
        hold
    }
}
