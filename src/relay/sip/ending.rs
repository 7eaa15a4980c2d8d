//! How a client's connection ends, and what it is still told.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use super::Visit;
use super::talk::Refusal;
use crate::net::options::reset_on_close;
use crate::net::wire::Waiting;
use crate::relay::pump::{Leg, give_way};
use crate::telemetry::outcome::Outcome;

/// How a session ends.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    /// The client is reset, and told nothing more.
    pub(super) is_reset: bool,
    /// The client may still be sending, and is to read the answer.
    pub(super) is_awaited: bool,
}

impl Ending {
    pub(super) const fn reset(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_reset: true,
            is_awaited: false,
        }
    }

    pub(super) const fn in_order(outcome: Outcome) -> Self {
        Self {
            outcome,
            is_reset: false,
            is_awaited: false,
        }
    }
}

impl Visit<'_> {
    /// Ends the client's connection; what it is owed it gets, as long as it takes it.
    pub(super) async fn end(mut self, ending: Ending) -> Outcome {
        if ending.is_reset {
            reset_on_close(self.client.socket());
            return ending.outcome;
        }
        let life = self.life;
        let config = &life.policy().listener.config;
        life.seat.arm(Some(config.fin_timeout));
        let (mut is_told, mut waiting) = (false, Waiting::No);
        let telling = poll_fn(|context| {
            ready!(self.poll_tell(context))?;
            let client = &mut self.client;
            if !is_told {
                ready!(client.poll_finish(context))?;
                is_told = true;
            }
            // Closed while the client still sends, it would be reset, and what it was told be lost.
            if ending.is_awaited {
                let gear = &life.context().gear;
                let read = |room: &mut [u8]| client.poll_read(context, room, &mut waiting);
                // Once more, until the client has finished.
                if ready!(gear.with_buffer(read))? > 0 {
                    give_way(context);
                    return Poll::Pending;
                }
            }
            Poll::Ready(Ok::<_, io::Error>(()))
        });
        // Whatever interrupts it, the connection ends.
        let _ = life.seat.guard(telling).await;
        ending.outcome
    }

    pub(super) fn tell_refused(&self, refusal: Refusal) {
        let life = self.life;
        if let Some(suppressed) = life.context().refusals.allow() {
            let (listener, client) = (&*life.policy().listener.state.name, life.account.client());
            let partner = life.account.partner();
            let partner = partner.as_ref().map(|partner| &*partner.name);
            tracing::warn!(listener, partner, %client, error = %refusal, suppressed, "sip-refused");
        }
    }
}
