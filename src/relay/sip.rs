//! SIP inside TLS that ends here: messages pass to the byte, and a node's death does not end its client's connection.
//!
//! Owns the life of a client's connection: its node is found when the first request has come (`line`), and another one
//! when that node is gone (`rehoming`); meanwhile both sides are relayed (`relaying`), until it ends (`ending`) or is
//! looked at no more (`opaque`). `talk` looks at messages as they pass, `gate` says which of them may, `outstanding` who
//! waits for an answer, `side` holds what cannot go on at once, `traffic` counts. Deliberately no proxy: no header is
//! written or changed, no dialog is followed, and what a node must refuse is the node's to refuse.
//!
//! Invariants: what passes, passes as it came, whole messages in their order; what Pinfold says itself stands between
//! messages. Of a message whose node is gone in its midst the rest passes to nobody. A connection that is not looked at
//! any more stays so.
//!
//! Sources: RFC 3261 (17 transactions, 18.3 framing, 21.5.4 Retry-After), RFC 5626 3.5.1, `[MS-SIPCOMP]`, domain.md
//! 2.4 and 3.2.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use tokio::task::yield_now;

use self::ending::Ending;
use self::gate::{Gate, Identity, with_lower_case};
use self::line::Line;
use self::side::Inbound;
use self::talk::{Stop, Talk};
pub use self::traffic::{ANSWERS, CLASSES, CODES, Counts, METHODS, Slot, Traffic, Way};
use super::life::Life;
use super::placing::Hold;
use super::pump::{Leg, Side};
use super::session::{Interrupt, outcome_of};
use super::tcp::{Arrival, failed};
use super::terminated::ClientStream;
use crate::clock::Moment;
use crate::config::model::{self, OnNodeDown};
use crate::inspect::sip::Message;
use crate::net::options::reset_on_close;
use crate::snapshot::Ticket;
use crate::telemetry::outcome::Outcome;

mod ending;
mod gate;
mod line;
mod opaque;
mod outstanding;
mod passage;
mod rehoming;
mod relaying;
mod side;
mod talk;
mod traffic;

/// Seconds after which a client may ask again: its next node is dialled at once, and what it may say grows by then.
const RETRY_AFTER: u32 = 1;

/// Serves one client, whose certificate has these `names`, until its connection ends.
pub(super) async fn serve(
    life: Life<'_>,
    terms: &model::Sip,
    client: ClientStream,
    names: Vec<Box<str>>,
    arrival: Arrival,
) -> Outcome {
    let Arrival {
        ticket,
        header,
        turn,
        ..
    } = arrival;
    life.seat.mark_rehoming(true);
    let gate_turn = life.context().names.turn();
    let gate = gate(life, &names, terms);
    let mut visit = Visit {
        life,
        terms,
        header,
        turn,
        _ticket: ticket,
        names,
        client,
        up: Inbound::new(terms.max_body),
        talk: Talk::new(life, gate),
        gate_turn,
        hold: None,
        has_news: false,
        talk_has_begun: false,
        put_off: None,
        rehomed_at: None,
        failed_at: None,
    };
    let mut line = None;
    loop {
        let event = poll_fn(|context| visit.poll(context, line.as_mut())).await;
        match visit.live_on(event, &mut line).await {
            Ok(Goes::On) => {}
            Ok(Goes::Opaque(why)) => return visit.go_opaque(line, why).await,
            Err(ending) => {
                if let Some(line) = line.filter(|_| ending.is_reset) {
                    reset_on_close(line.leg.socket());
                }
                return visit.end(ending).await;
            }
        }
    }
}

/// What the client may say, as is known now: a partner may have come to be allowed, limited or blocked since it came.
fn gate(life: Life<'_>, names: &[Box<str>], terms: &model::Sip) -> Gate {
    life.context().names.with_partners(|partners| {
        let configured = partners.find(life.account.client().ip());
        let who = Identity {
            names,
            configured: configured.map(|known| &**known),
        };
        Gate::new(partners, who, terms.discovered_rate)
    })
}

/// Knows a stranger by the domain that its first request is from, where that is a partner's; whether it does. Only its
/// node is chosen by it.
fn claim(life: Life<'_>, request: &Message<'_>) -> bool {
    let from = request.from().and_then(|from| from.host());
    let Some(domain) = from.filter(|_| !life.account.is_partner()) else {
        return false;
    };
    let named = life.context().names.with_partners(|partners| {
        with_lower_case(domain, |domain| partners.by_domain(domain).map(Arc::clone))
    });
    if let Some(known) = &named {
        life.account.recognise(known);
        life.seat.mark_partner(known);
    }
    named.is_some()
}

/// One client's connection.
struct Visit<'a> {
    life: Life<'a>,
    terms: &'a model::Sip,
    /// The PROXY header that nodes are to see.
    header: Vec<u8>,
    /// The turn of the names when it was looked who it is.
    turn: u64,
    /// Its place within the limits.
    _ticket: Ticket,
    /// Those in its certificate.
    names: Vec<Box<str>>,
    client: ClientStream,
    up: Inbound,
    talk: Talk<'a>,
    /// The turn of the names by which its gate was made.
    gate_turn: u64,
    /// On its pin.
    hold: Option<Hold>,
    /// Something that was kept can go on now.
    has_news: bool,
    /// A message has come: from here on it may be idle.
    talk_has_begun: bool,
    /// What stops it once the client has what waits for the end of its node's message; until then nothing more of the
    /// client passes.
    put_off: Option<Stop>,
    /// When it last found another node than its first.
    rehomed_at: Option<Moment>,
    /// When it last found none.
    failed_at: Option<Moment>,
}

/// What happens to a session.
#[derive(Debug)]
enum Event {
    Interrupted(Interrupt),
    /// What the client has sent cannot all pass.
    Stopped(Stop),
    /// The client has finished, or its connection has failed.
    ClientGone(Option<io::Error>),
    /// The node has finished, or its connection has failed.
    NodeGone(Option<io::Error>),
}

/// How a session goes on.
enum Goes {
    On,
    /// Unread, for this reason.
    Opaque(&'static str),
}

impl Visit<'_> {
    /// Does what an event asks for.
    async fn live_on(&mut self, event: Event, line: &mut Option<Line>) -> Result<Goes, Ending> {
        match event {
            Event::Interrupted(interrupt) => self.interrupted(interrupt, line).await?,
            Event::Stopped(Stop::NeedsNode) => {
                if self.may_ask_again() {
                    *line = self.find_node(None).await.map_err(Ending::reset)?;
                }
                if line.is_none() {
                    self.talk.give_up_parked();
                    // The next request stops here as well.
                    yield_now().await;
                }
                self.has_news = true;
            }
            // Only whoever frames can tell where the node's message ends.
            Event::Stopped(stop @ (Stop::Opaque(_) | Stop::Refused(_)))
                if line.is_some() && self.talk.has_deferred() =>
            {
                self.put_off = Some(stop);
            }
            Event::Stopped(Stop::Opaque(why)) => {
                if line.is_none() {
                    *line = self.find_node(None).await.map_err(Ending::reset)?;
                }
                return Ok(Goes::Opaque(why));
            }
            Event::Stopped(Stop::Refused(refusal)) => {
                self.tell_refused(refusal);
                return Err(Ending {
                    outcome: Outcome::RefusedMessage,
                    is_reset: false,
                    is_awaited: true,
                });
            }
            Event::Stopped(Stop::Illegible) => {
                let error = io::Error::from(ErrorKind::InvalidData);
                self.node_gone(line, Some(error)).await?;
            }
            Event::Stopped(Stop::Failed(error)) => self.node_gone(line, Some(error)).await?,
            Event::NodeGone(error) => self.node_gone(line, error).await?,
            Event::ClientGone(None) => return Err(Ending::in_order(Outcome::ClientClosed)),
            Event::ClientGone(Some(error)) => {
                return Err(Ending::reset(outcome_of_failure(Side::Client, &error)));
            }
        }
        Ok(Goes::On)
    }

    async fn interrupted(
        &mut self,
        interrupt: Interrupt,
        line: &mut Option<Line>,
    ) -> Result<(), Ending> {
        let config = &self.life.policy().listener.config;
        match interrupt {
            Interrupt::Named => {
                self.life.take_name(&mut self.hold, true);
                self.life.tell_named(self.hold.as_ref());
                self.renew();
                Ok(())
            }
            Interrupt::Deadline if self.up.has_finished => {
                Err(Ending::reset(Outcome::ClientClosed))
            }
            Interrupt::Deadline if !self.talk.has_framed() => {
                Err(Ending::reset(Outcome::FirstBytesTimeout))
            }
            Interrupt::NodeDown if config.on_node_down == OnNodeDown::Leave => {
                self.life.seat.go_on_regardless();
                self.life.account.forsake();
                Ok(())
            }
            Interrupt::Deadline | Interrupt::ListenerRemoved | Interrupt::Stopped => {
                Err(Ending::reset(outcome_of(interrupt)))
            }
            Interrupt::NodeDown
            | Interrupt::Moved
            | Interrupt::Drained
            | Interrupt::Disabled
            | Interrupt::NodeRemoved => self.lose(line, outcome_of(interrupt), true).await,
        }
    }

    /// More is known of the client than before.
    fn renew(&mut self) {
        self.gate_turn = self.life.context().names.turn();
        self.talk
            .gate
            .renew(gate(self.life, &self.names, self.terms));
        self.talk.rename();
    }
}

/// The outcome of a connection that has failed, or of what it needed and could not have.
fn outcome_of_failure(side: Side, error: &io::Error) -> Outcome {
    if error.kind() == ErrorKind::OutOfMemory {
        return Outcome::Shortage;
    }
    failed(side, error).0
}
