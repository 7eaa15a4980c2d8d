//! The life of one TCP session: arrive, place, dial, pump, account.
//!
//! Every session ends in one [`Outcome`]. Nothing here blocks another session, and nothing a peer
//! sends can make it panic.

use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use self::arrival::{Arrival, FIRST_BYTES_MAX};
use super::account::Account;
use super::placing::{Failure, Placing};
use super::pump::{End, FirstBytes, Pump, Side};
use super::report::{Report, Served};
use super::session::{Interrupt, Seat};
use super::{Context, Policy};
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::config::model::OnNodeDown;
use crate::net::dial::{Refusal, dial};
use crate::net::options::{LegOptions, reset_on_close};
use crate::pool::select::Choice;
use crate::snapshot::Endpoint;
use crate::telemetry::outcome::Outcome;

mod arrival;

/// Serves one client from its first packet to its last.
pub async fn serve(context: Rc<Context>, policy: Rc<Policy>, client: TcpStream, peer: ClientAddr) {
    let mut account = Account::open(&context, &policy, peer);
    let seat = context.sessions.admit(policy.listener.state.number);
    let outcome = match arrival::arrive(&context, &policy, &seat, &client, &mut account).await {
        Ok(arrival) => {
            Life {
                context: &context,
                policy: &policy,
                seat: &seat,
                account: &mut account,
            }
            .run(client, arrival)
            .await
        }
        Err(outcome) => {
            end_client(&client, outcome);
            outcome
        }
    };
    account.close(outcome);
}

struct Life<'a> {
    context: &'a Context,
    policy: &'a Policy,
    seat: &'a Seat,
    account: &'a mut Account,
}

/// What became of one attempt at a node.
enum Attempt {
    /// The session has ended.
    Over(Outcome),
    /// The node failed before its first byte; another one may be tried.
    Again(TcpStream, FirstBytes, Failure),
}

impl Life<'_> {
    async fn run(&mut self, mut client: TcpStream, arrival: Arrival) -> Outcome {
        let _place_within_limits = arrival.ticket;
        let mut first = arrival.first;
        let (context, policy) = (self.context, self.policy);
        let partner = self.account.partner.clone();
        let mut placing = Placing::new(context, policy, self.account.client, partner.as_ref());
        let mut may_replay = policy.listener.config.replay;
        while let Some(choice) = placing.choose() {
            let Some(node) = policy.listener.nodes.get(choice.index) else {
                break;
            };
            let endpoint = Arc::clone(&node.endpoint);
            self.account.bind(self.seat, &endpoint);
            let connection = match self.dial(&endpoint).await {
                Ok(connection) => connection,
                Err(Dialled::Failed(how)) => {
                    placing.failed(&choice, how);
                    continue;
                }
                Err(Dialled::Over(outcome)) => {
                    end_client(&client, outcome);
                    return outcome;
                }
            };
            let connections = (client, connection);
            match self
                .relay(
                    (&endpoint, choice),
                    connections,
                    first,
                    may_replay,
                    &placing,
                )
                .await
            {
                Attempt::Over(outcome) => return outcome,
                Attempt::Again(again, bytes, how) => {
                    placing.failed(&choice, how);
                    self.account.count_replay();
                    may_replay = false;
                    (client, first) = (again, bytes);
                }
            }
        }
        let outcome = if placing.has_tried() {
            Outcome::DialFailed
        } else {
            Outcome::NoNode
        };
        end_client(&client, outcome);
        outcome
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<TcpStream, Dialled> {
        let config = &self.policy.listener.config;
        let options = LegOptions {
            keepalive: config.keepalive,
            user_timeout: config.user_timeout,
        };
        self.seat.arm(Some(config.connect_timeout));
        let reports = &self.context.reports;
        match self
            .seat
            .guard(dial(endpoint.address.socket(), &options))
            .await
        {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match Refusal::of(&error) {
                Refusal::Node => {
                    reports.send(Report::DialRefused(endpoint.number));
                    Err(Dialled::Failed(Failure::Refused))
                }
                Refusal::Silence => {
                    reports.send(Report::DialTimedOut(endpoint.number));
                    Err(Dialled::Failed(Failure::Unanswered))
                }
                Refusal::Us => Err(Dialled::Over(Outcome::Shortage)),
            },
            Err(Interrupt::Deadline) => {
                reports.send(Report::DialTimedOut(endpoint.number));
                Err(Dialled::Failed(Failure::Unanswered))
            }
            Err(Interrupt::NodeDown) => Err(Dialled::Failed(Failure::Refused)),
            Err(interrupt) => Err(Dialled::Over(outcome_of(interrupt))),
        }
    }

    /// Pumps until the end, and holds the pin from the node's first byte on.
    async fn relay(
        &self,
        (endpoint, choice): (&Endpoint, Choice),
        connections: (TcpStream, TcpStream),
        first: FirstBytes,
        may_replay: bool,
        placing: &Placing<'_>,
    ) -> Attempt {
        let config = &self.policy.listener.config;
        let keep = if config.replay { FIRST_BYTES_MAX } else { 0 };
        self.seat.arm(config.idle_timeout);
        let meter = self.account.meter(endpoint);
        let gear = &self.context.gear;
        let mut pump = Pump::new(
            gear,
            self.seat,
            meter,
            connections,
            first,
            keep,
            config.fin_timeout,
        );
        if let Some(end) = pump.until_answered().await {
            return self.unanswered(end, pump.into_parts(), may_replay, endpoint);
        }
        let lease = placing.answered(&choice, endpoint);
        self.tell_served(endpoint);
        let mut end = pump.until_ended().await;
        while matches!(end, End::Interrupted(Interrupt::NodeDown, _)) && self.is_left_alone() {
            end = pump.until_ended().await;
        }
        placing.release(lease);
        Attempt::Over(self.finish(end, pump.into_parts(), endpoint))
    }

    /// The node has failed before its first byte.
    fn unanswered(
        &self,
        end: End,
        parts: (TcpStream, TcpStream, Option<FirstBytes>),
        may_replay: bool,
        endpoint: &Endpoint,
    ) -> Attempt {
        let (client, node, first) = parts;
        let how = match &end {
            End::Failed(Side::Node, _) => Some(Failure::Refused),
            End::Interrupted(Interrupt::NodeDown, _) => Some(Failure::Refused),
            End::Failed(Side::Client, _) | End::Closed(_) | End::Interrupted(..) => None,
        };
        match (how, first) {
            (Some(how), Some(first)) if may_replay => {
                self.tell_reset(&end, endpoint);
                Attempt::Again(client, first, how)
            }
            (_, first) => Attempt::Over(self.finish(end, (client, node, first), endpoint)),
        }
    }

    /// Ends both connections as `end` asks, and names the outcome.
    fn finish(
        &self,
        end: End,
        (client, node, _): (TcpStream, TcpStream, Option<FirstBytes>),
        endpoint: &Endpoint,
    ) -> Outcome {
        self.tell_reset(&end, endpoint);
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
                self.policy.listener.config.on_node_down == OnNodeDown::Reset,
            ),
            End::Interrupted(interrupt, _) => (outcome_of(interrupt), true),
        };
        if is_reset {
            reset_on_close(&client);
            reset_on_close(&node);
        }
        // A node that is killed closes its connections in order where it has read everything, so a
        // close too may be the beginning of a failover; the ledger knows which it was.
        if matches!(
            outcome,
            Outcome::NodeDown | Outcome::NodeReset | Outcome::NodeLost | Outcome::NodeClosed
        ) {
            self.account.tell_lost(self.seat.heard_at(), outcome);
        }
        outcome
    }

    fn is_left_alone(&self) -> bool {
        self.policy.listener.config.on_node_down == OnNodeDown::Leave
    }

    fn tell_reset(&self, end: &End, endpoint: &Endpoint) {
        if let End::Failed(Side::Node, _) = end {
            let client = self.account.client.ip();
            self.context
                .reports
                .send(Report::SessionReset(endpoint.number, client));
        }
    }

    fn tell_served(&self, endpoint: &Endpoint) {
        let Some(partner) = &self.account.partner else {
            return;
        };
        if self.context.reports.is_anybody_awaited() {
            self.context.reports.send(Report::PartnerServed(Served {
                partner: Arc::clone(&partner.name),
                listener: Arc::clone(&self.policy.listener.state.name),
                endpoint: endpoint.number,
                connected: self.account.started,
                first_byte: Moment::now(),
            }));
        }
    }
}

enum Dialled {
    Failed(Failure),
    Over(Outcome),
}

/// Ends a client that has no node. One that left by itself needs no reset.
fn end_client(client: &TcpStream, outcome: Outcome) {
    if outcome != Outcome::ClientClosed {
        reset_on_close(client);
    }
}

/// A connection that failed: whose, how, and whether the other side is reset.
fn failed(side: Side, error: &std::io::Error) -> (Outcome, bool) {
    use std::io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut, UnexpectedEof};
    match (side, error.kind()) {
        (Side::Node, UnexpectedEof) => (Outcome::NodeClosed, false),
        (Side::Node, TimedOut | HostUnreachable | NetworkUnreachable) => (Outcome::NodeLost, true),
        (Side::Client, TimedOut | HostUnreachable | NetworkUnreachable) => {
            (Outcome::ClientLost, true)
        }
        (Side::Node, _) => (Outcome::NodeReset, true),
        (Side::Client, _) => (Outcome::ClientReset, true),
    }
}

fn outcome_of(interrupt: Interrupt) -> Outcome {
    match interrupt {
        Interrupt::Deadline => Outcome::Idle,
        Interrupt::NodeDown => Outcome::NodeDown,
        Interrupt::Drained => Outcome::Drained,
        Interrupt::Disabled => Outcome::Disabled,
        Interrupt::Removed => Outcome::Removed,
        Interrupt::Stopped => Outcome::Stopped,
    }
}
