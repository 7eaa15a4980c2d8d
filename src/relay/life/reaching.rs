//! From a choice to a connection with the node.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::Life;
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::net::dial::{Opening, Origin, Refusal, Sources, dial};
use crate::pool::pace::Admittance;
use crate::pool::select::Standing;
use crate::relay::placing::Failure;
use crate::relay::report::Report;
use crate::relay::session::{Interrupt, Seat, outcome_of};
use crate::relay::{Context, Policy};
use crate::snapshot::Endpoint;
use crate::telemetry::outcome::Outcome;

/// Why a dial brought no connection.
#[derive(Debug)]
pub(in crate::relay) enum Undialled {
    /// Another node may be tried.
    Failed(Failure),
    /// The session has ended.
    Over(Outcome),
}

/// What a node is reached by: on whose behalf, and by which seat the wait for it is interrupted.
#[derive(Clone, Copy)]
pub(in crate::relay) struct Approach<'a> {
    pub(in crate::relay) context: &'a Rc<Context>,
    pub(in crate::relay) policy: &'a Policy,
    pub(in crate::relay) seat: &'a Seat,
    /// Where the client is.
    pub(in crate::relay) client: ClientAddr,
    /// Whether configured addresses say who it is.
    pub(in crate::relay) is_configured: bool,
}

impl<'a> Life<'a> {
    pub(in crate::relay) fn approach(self) -> Approach<'a> {
        Approach {
            context: self.context(),
            policy: self.policy(),
            seat: self.seat,
            client: self.account.client(),
            is_configured: self.account.is_configured(),
        }
    }
}

impl<'a> Approach<'a> {
    /// In whose name the node is asked.
    pub(in crate::relay) fn origin(self) -> Origin<'a> {
        let listener = &self.policy.listener;
        if listener.is_transparent() {
            return Origin::Client {
                address: self.client.socket(),
                mark: self.context.diverted.mark(),
            };
        }
        Origin::Own(Sources {
            addresses: &listener.sources,
            turn: &self.context.source_turn,
        })
    }

    /// Waits, while the pool recovers from a failover, until the node may have one more stranger.
    pub(in crate::relay) async fn keep_pace(self, endpoint: &Endpoint) -> Result<(), Outcome> {
        let Some(rate) = self.policy.listener.max_new_per_node else {
            return Ok(());
        };
        if self.is_configured {
            return Ok(());
        }
        let now = Moment::now();
        match endpoint.pace.admit(rate, now) {
            Admittance::Now => Ok(()),
            Admittance::Never => Err(Outcome::RefusedPace),
            Admittance::At(moment) => {
                self.seat.arm(None);
                let wait = tokio::time::sleep(moment.since(now));
                // It may have tried another one before, and be bound to that still.
                let waited = self.seat.guard_without_node(wait).await;
                waited.map_err(outcome_of)
            }
        }
    }

    /// Dials the node. A refusal and a silence are reported.
    pub(in crate::relay) async fn dial(
        self,
        endpoint: &Endpoint,
        opening: Opening,
    ) -> Result<TcpStream, Undialled> {
        let config = &self.policy.listener.config;
        self.seat.arm(Some(config.connect_timeout));
        let reports = &self.context.reports;
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
            Err(interrupt) => Err(self.interrupted_dial(endpoint, interrupt)),
        }
    }

    /// What becomes of a dial that was interrupted.
    pub(in crate::relay) fn interrupted_dial(
        self,
        endpoint: &Endpoint,
        interrupt: Interrupt,
    ) -> Undialled {
        if interrupt.is_of_node() {
            // Whatever became of the node, the client has not met it yet.
            return Undialled::Failed(Failure::Refused);
        }
        if interrupt == Interrupt::Deadline {
            let reports = &self.context.reports;
            reports.send(Report::DialTimedOut(endpoint.number));
            return Undialled::Failed(Failure::Unanswered);
        }
        // One that was moved knows only its old pin: it comes again.
        Undialled::Over(outcome_of(interrupt))
    }
}
