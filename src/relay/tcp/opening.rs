//! From the client's arrival to the node's first byte: place, connect, and the next node on failure.

use tokio::net::TcpStream;

use super::super::account::Counting;
use super::super::placing::{Claimant, Failure, Hold, Placing};
use super::super::pump::{End, FirstBytes, Leg, Pump, Side};
use super::super::session::Interrupt;
use super::arrival::{Arrival, FIRST_BYTES_MAX, arrive};
use super::{Life, end_client};
use crate::net::dial::Opening;
use crate::relay::life::Undialled;
use crate::snapshot::{Endpoint, Place, Ticket};
use crate::telemetry::outcome::Outcome;

/// A session whose node has answered. Boxed, because a future keeps room for every place that a value
/// moves through.
pub(in crate::relay) struct Flowing<'a, C = TcpStream, N = TcpStream> {
    pub(in crate::relay) pump: Pump<'a, Counting<'a>, C, N>,
    /// Its hold on the pin.
    pub(in crate::relay) hold: Option<Hold>,
    /// Its place within the limits.
    _ticket: Ticket,
}

/// Lets the client in and finds it a node that answers; or the session has ended.
pub(super) async fn open(
    life: Life<'_>,
    client: TcpStream,
    place: Place,
) -> Result<Box<Flowing<'_>>, Outcome> {
    let arrival = match arrive(life, &client, place).await {
        Ok(arrival) => arrival,
        Err(outcome) => {
            end_client(&client, outcome);
            return Err(outcome);
        }
    };
    let Arrival {
        ticket,
        turn,
        header,
        said,
    } = arrival;
    let first = FirstBytes {
        // Moved or joined, so that no copy is kept beside them until the node answers.
        bytes: match header.is_empty() {
            true => said,
            false => [header, said].concat(),
        },
        finished: false,
    };
    let opening = match first.bytes.is_empty() {
        true => Opening::Theirs,
        false => Opening::Ours,
    };
    let connect = async |endpoint: &Endpoint| life.approach().dial(endpoint, opening).await;
    let guest = Guest {
        client,
        first,
        ticket,
        turn,
    };
    life.find_node(guest, connect).await
}

/// A client that may have a node.
pub(in crate::relay) struct Guest<C> {
    pub(in crate::relay) client: C,
    /// What the node gets first.
    pub(in crate::relay) first: FirstBytes,
    /// Its place within the limits.
    pub(in crate::relay) ticket: Ticket,
    /// The turn of the names when it was looked who it is.
    pub(in crate::relay) turn: u64,
}

/// Why a node that was dialled did not answer.
enum Unanswered<C> {
    /// The session has ended.
    Over(Outcome),
    /// The node failed before its first byte; another one may be tried.
    Again(C, FirstBytes),
}

impl<'a> Life<'a> {
    /// Finds a node that answers the client, by way of `connect`.
    pub(in crate::relay) async fn find_node<C: Leg, N: Leg>(
        self,
        guest: Guest<C>,
        connect: impl AsyncFn(&Endpoint) -> Result<N, Undialled>,
    ) -> Result<Box<Flowing<'a, C, N>>, Outcome> {
        let Guest {
            mut client,
            mut first,
            ticket,
            turn,
        } = guest;
        let partner = self.account.partner();
        let claimant = Claimant {
            client: self.account.client().ip(),
            partner: partner.as_ref(),
            looks_legacy: self.seat.looks_legacy(),
        };
        let mut placing = Placing::new(self.context(), self.policy(), claimant);
        let mut may_replay = self.policy().listener.config.replay;
        while let Some(choice) = placing.choose() {
            let Some(node) = self.policy().listener.nodes.get(choice.index) else {
                break;
            };
            if let Err(outcome) = self.approach().keep_pace(&node.endpoint).await {
                end_client(client.socket(), outcome);
                return Err(outcome);
            }
            self.account.bind(self.seat, &node.endpoint);
            let connection = match connect(&node.endpoint).await {
                Ok(connection) => connection,
                Err(Undialled::Failed(how)) => {
                    placing.failed(&choice, how);
                    continue;
                }
                Err(Undialled::Over(outcome)) => {
                    end_client(client.socket(), outcome);
                    return Err(outcome);
                }
            };
            match self
                .ask((client, connection), first, may_replay, &node.endpoint)
                .await
            {
                Ok(pump) => {
                    let hold = self.settle(&placing, &choice, &node.endpoint, turn);
                    return Ok(Box::new(Flowing {
                        pump,
                        hold,
                        _ticket: ticket,
                    }));
                }
                Err(Unanswered::Over(outcome)) => return Err(outcome),
                Err(Unanswered::Again(again, bytes)) => {
                    placing.failed(&choice, Failure::Refused);
                    self.account.count_replay();
                    self.seat.goes_on();
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
        end_client(client.socket(), outcome);
        Err(outcome)
    }

    /// Sends the first bytes to the node, and whatever follows, until it has sent one itself, which the client
    /// has not got yet.
    async fn ask<C: Leg, N: Leg>(
        self,
        connections: (C, N),
        first: FirstBytes,
        may_replay: bool,
        endpoint: &'a Endpoint,
    ) -> Result<Pump<'a, Counting<'a>, C, N>, Unanswered<C>> {
        let config = &self.policy().listener.config;
        let keep = if config.replay { FIRST_BYTES_MAX } else { 0 };
        self.seat.arm(config.idle_timeout);
        let meter = self.account.meter(endpoint);
        let gear = &self.context().gear;
        let mut pump = Pump::new(
            gear,
            self.seat,
            meter,
            connections,
            first,
            keep,
            &config.fin_timeout,
        );
        let end = loop {
            match pump.until_answered().await {
                None => return Ok(pump),
                Some(end) if self.is_left_alone(&end) => {}
                Some(end) => break end,
            }
        };
        let has_node_failed = matches!(
            end,
            End::Failed(Side::Node, _) | End::Interrupted(Interrupt::NodeDown, _)
        );
        match pump.into_parts() {
            (client, _, Some(first)) if has_node_failed && may_replay => {
                self.tell_reset(&end);
                Err(Unanswered::Again(client, first))
            }
            parts => Err(Unanswered::Over(self.finish(end, parts))),
        }
    }
}
