//! The life of one TCP session: arrive, place, dial, pump, account.
//!
//! Every session ends in one [`Outcome`]. Nothing here blocks another session, and nothing a peer
//! sends can make it panic. What leads to the node's first byte is `opening`; it lives in a box of its
//! own that is gone when bytes flow, so that an idle session is small.

use std::io;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::spawn_local;

pub(super) use self::arrival::{Arrival, arrive};
pub(super) use self::opening::Guest;
use self::opening::open;
use super::account::Account;
use super::life::Life;
use super::placing::Hold;
use super::pump::{End, FirstBytes, Leg, Side};
use super::report::Report;
use super::session::{Interrupt, Seat, outcome_of};
use super::{Context, Policy, terminated};
use crate::addr::ClientAddr;
use crate::config::model::OnNodeDown;
use crate::net::options::reset_on_close;
use crate::snapshot::Place;
use crate::telemetry::outcome::Outcome;

mod arrival;
mod opening;

/// Serves a client that has just been accepted, on a task of its own; or refuses it at once, where the
/// process has no room. At once, because a burst of clients would take every descriptor before the
/// first task has run.
pub fn welcome(context: &Rc<Context>, policy: Rc<Policy>, client: TcpStream, peer: ClientAddr) {
    match context.capacity.enter() {
        Some(place) => {
            let seat = context.sessions.admit(policy.listener.state.number);
            let account = Account::open(context, policy, peer);
            spawn_local(serve(account, seat, client, place));
        }
        None => {
            Account::open(context, policy, peer).close(Outcome::RefusedLimit);
            reset_on_close(&client);
        }
    }
}

/// Serves one client from its first packet to its last.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, and a session is its future"
)]
fn serve(
    account: Account,
    seat: Seat,
    client: TcpStream,
    place: Place,
) -> impl Future<Output = ()> {
    async move {
        let life = Life {
            seat: &seat,
            account: &account,
        };
        let outcome = match life.policy().listener.termination {
            None => match Box::pin(open(life, client, place)).await {
                Ok(mut flowing) => loop {
                    let end = flowing.pump.until_ended().await;
                    if !life.goes_on(&mut flowing.hold, &end) {
                        break life.finish(end, flowing.pump.into_parts());
                    }
                },
                Err(outcome) => outcome,
            },
            Some(_) => Box::pin(terminated::serve(life, client, place)).await,
        };
        account.close(outcome);
    }
}

impl Life<'_> {
    /// Whether a session goes on all the same: whoever was only named does, by its name from here on; and a listener
    /// may leave the sessions of a dead node to end by themselves.
    pub(super) fn goes_on(self, hold: &mut Option<Hold>, end: &End) -> bool {
        // First, so that its end is its partner's.
        let was_told = matches!(end, End::Interrupted(Interrupt::Named, _));
        self.take_name(hold, was_told);
        if was_told {
            self.tell_named(hold.as_ref());
        }
        self.is_left_alone(end)
    }

    /// Ends both connections as `end` asks, and names the outcome.
    pub(super) fn finish<C: Leg, N: Leg>(
        &self,
        end: End,
        (client, node, _): (C, N, Option<FirstBytes>),
    ) -> Outcome {
        self.tell_reset(&end);
        let (outcome, is_reset) = match end {
            End::Closed(Side::Client) => (Outcome::ClientClosed, false),
            End::Closed(Side::Node) => (Outcome::NodeClosed, false),
            End::Failed(side, error) => failed(side, &error),
            End::Interrupted(Interrupt::Deadline, Some(Side::Client)) => {
                (Outcome::ClientClosed, true)
            }
            End::Interrupted(Interrupt::Deadline, Some(Side::Node)) => (Outcome::NodeClosed, true),
            End::Interrupted(Interrupt::NodeDown, _) => (
                Outcome::NodeDown,
                self.policy().listener.config.on_node_down == OnNodeDown::Reset,
            ),
            End::Interrupted(interrupt, _) => (outcome_of(interrupt), true),
        };
        let outcome = self.account.explained(outcome);
        if is_reset && !client.is_taking_leave() {
            reset_on_close(client.socket());
        }
        if is_reset && !node.is_taking_leave() {
            reset_on_close(node.socket());
        }
        // A node that is killed closes its connections in order where it has read everything, so a
        // close too may be the beginning of a failover; the ledger knows which it was.
        if matches!(
            outcome,
            Outcome::NodeDown | Outcome::NodeReset | Outcome::NodeLost | Outcome::NodeClosed
        ) {
            self.account.tell_lost(self.seat, outcome);
        }
        outcome
    }

    fn is_left_alone(&self, end: &End) -> bool {
        if matches!(end, End::Interrupted(Interrupt::Named, _)) {
            return true;
        }
        let is_left = matches!(end, End::Interrupted(Interrupt::NodeDown, _))
            && self.policy().listener.config.on_node_down == OnNodeDown::Leave;
        if is_left {
            self.seat.go_on_regardless();
            self.account.forsake();
        }
        is_left
    }

    fn tell_reset(&self, end: &End) {
        // Whoever has said why it ends the session is well.
        if self.account.alert_from().is_none()
            && let (End::Failed(Side::Node, error), Some(endpoint)) = (end, self.account.endpoint())
            && error.kind() != io::ErrorKind::OutOfMemory
        {
            let client = self.account.client().ip();
            self.context()
                .reports
                .send(Report::SessionReset(endpoint.number, client));
        }
    }
}

/// Ends a client that has no node. One that left by itself, or was told why, needs no reset.
pub(super) fn end_client(client: &TcpStream, outcome: Outcome) {
    if !matches!(outcome, Outcome::ClientClosed | Outcome::RefusedTls) {
        reset_on_close(client);
    }
}

/// A connection that failed: whose, how, and whether the other side is reset.
pub(super) fn failed(side: Side, error: &io::Error) -> (Outcome, bool) {
    use std::io::ErrorKind::{
        HostUnreachable, NetworkUnreachable, OutOfMemory, TimedOut, UnexpectedEof,
    };
    match (side, error.kind()) {
        (_, OutOfMemory) => (Outcome::Shortage, true),
        (Side::Node, UnexpectedEof) => (Outcome::NodeClosed, false),
        (Side::Node, TimedOut | HostUnreachable | NetworkUnreachable) => (Outcome::NodeLost, true),
        (Side::Client, TimedOut | HostUnreachable | NetworkUnreachable) => {
            (Outcome::ClientLost, true)
        }
        (Side::Node, _) => (Outcome::NodeReset, true),
        (Side::Client, _) => (Outcome::ClientReset, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_here_is_nobodys_reset() {
        for side in [Side::Client, Side::Node] {
            let error = io::Error::from_raw_os_error(libc::ENOMEM);
            assert_eq!(failed(side, &error), (Outcome::Shortage, true));
        }
    }

    fn size<F>(_: impl Fn(Account, Seat, TcpStream, Place) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_is_small() {
        let (task, flowing) = (size(serve), size_of::<opening::Flowing<'_>>());
        // What the allocator has in store: 384 with a task's header, and 256. Besides these: two
        // registrations with the runtime, and a place in the list.
        assert!(task <= 256, "{task} bytes");
        assert!(flowing <= 256, "{flowing} bytes");
    }
}
