//! From the client's arrival to the node's first byte: place, dial, and the next node on failure.

use tokio::net::TcpStream;

use super::super::account::Counting;
use super::super::placing::{Claimant, Failure, Hold, Placing};
use super::super::pump::{End, FirstBytes, Pump, Side};
use super::super::report::Report;
use super::super::session::{Interrupt, outcome_of};
use super::arrival::{Arrival, FIRST_BYTES_MAX, arrive};
use super::{Life, end_client};
use crate::clock::Moment;
use crate::net::dial::{Opening, Refusal, dial};
use crate::pool::pace::Admittance;
use crate::pool::select::Standing;
use crate::snapshot::{Endpoint, Place, Ticket};
use crate::telemetry::outcome::Outcome;

/// A session whose node has answered. Boxed, because a future keeps room for every place that a value
/// moves through.
pub(super) struct Flowing<'a> {
    pub(super) pump: Pump<'a, Counting<'a>>,
    /// Its hold on the pin.
    pub(super) hold: Option<Hold>,
    /// Its place within the limits.
    _ticket: Ticket,
}

/// Lets the client in and finds it a node that answers; or the session has ended.
pub(super) async fn open(
    life: Life<'_>,
    client: TcpStream,
    place: Place,
) -> Result<Box<Flowing<'_>>, Outcome> {
    match arrive(life, &client, place).await {
        Ok(arrival) => life.find_node(client, arrival).await,
        Err(outcome) => {
            end_client(&client, outcome);
            Err(outcome)
        }
    }
}

/// Why a node that was dialled did not answer.
enum Unanswered {
    /// The session has ended.
    Over(Outcome),
    /// The node failed before its first byte; another one may be tried.
    Again(TcpStream, FirstBytes),
}

/// Why a dial brought no connection.
enum Undialled {
    Failed(Failure),
    Over(Outcome),
}

impl<'a> Life<'a> {
    async fn find_node(
        self,
        mut client: TcpStream,
        arrival: Arrival,
    ) -> Result<Box<Flowing<'a>>, Outcome> {
        let Arrival {
            ticket,
            mut first,
            turn,
        } = arrival;
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
            if let Err(outcome) = self.keep_pace(&node.endpoint).await {
                end_client(&client, outcome);
                return Err(outcome);
            }
            self.account.bind(self.seat, &node.endpoint);
            let connection = match self.dial(&node.endpoint, &first).await {
                Ok(connection) => connection,
                Err(Undialled::Failed(how)) => {
                    placing.failed(&choice, how);
                    continue;
                }
                Err(Undialled::Over(outcome)) => {
                    end_client(&client, outcome);
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
        end_client(&client, outcome);
        Err(outcome)
    }

    /// Waits, while the pool recovers from a failover, until the node may have one more stranger.
    async fn keep_pace(self, endpoint: &Endpoint) -> Result<(), Outcome> {
        let Some(rate) = self.policy().listener.max_new_per_node else {
            return Ok(());
        };
        if self.account.is_configured() {
            return Ok(());
        }
        let now = Moment::now();
        match endpoint.pace.admit(rate, now) {
            Admittance::Now => Ok(()),
            Admittance::Never => Err(Outcome::RefusedPace),
            Admittance::At(moment) => {
                self.seat.arm(None);
                let wait = tokio::time::sleep(moment.since(now));
                self.seat.guard(wait).await.map_err(outcome_of)
            }
        }
    }

    async fn dial(self, endpoint: &Endpoint, first: &FirstBytes) -> Result<TcpStream, Undialled> {
        let config = &self.policy().listener.config;
        let opening = if first.bytes.is_empty() {
            Opening::Theirs
        } else {
            Opening::Ours
        };
        self.seat.arm(Some(config.connect_timeout));
        let reports = &self.context().reports;
        let dialled = dial(endpoint.address.socket(), opening, self.origin());
        match self.seat.guard(dialled).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match Refusal::of(&error) {
                // Once it is known to be down, each further refusal would only be noise.
                Refusal::Node if endpoint.standing() == Standing::Down => {
                    Err(Undialled::Failed(Failure::Refused))
                }
                Refusal::Node => {
                    reports.send(Report::DialRefused(endpoint.number));
                    Err(Undialled::Failed(Failure::Refused))
                }
                Refusal::Silence => {
                    reports.send(Report::DialTimedOut(endpoint.number));
                    Err(Undialled::Failed(Failure::Unanswered))
                }
                Refusal::Us => Err(Undialled::Over(Outcome::Shortage)),
            },
            Err(Interrupt::Deadline) => {
                reports.send(Report::DialTimedOut(endpoint.number));
                Err(Undialled::Failed(Failure::Unanswered))
            }
            // Whatever became of the node, the client has not met it yet.
            Err(
                Interrupt::NodeDown
                | Interrupt::Drained
                | Interrupt::Disabled
                | Interrupt::NodeRemoved,
            ) => Err(Undialled::Failed(Failure::Refused)),
            // One that was moved knows only its old pin: it comes again.
            Err(
                interrupt @ (Interrupt::Named
                | Interrupt::Moved
                | Interrupt::ListenerRemoved
                | Interrupt::Stopped),
            ) => Err(Undialled::Over(outcome_of(interrupt))),
        }
    }

    /// Sends the first bytes to the node, and whatever follows, until it has sent one itself, which the client
    /// has not got yet.
    async fn ask(
        self,
        connections: (TcpStream, TcpStream),
        first: FirstBytes,
        may_replay: bool,
        endpoint: &'a Endpoint,
    ) -> Result<Pump<'a, Counting<'a>>, Unanswered> {
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
