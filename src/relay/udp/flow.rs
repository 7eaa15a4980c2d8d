//! One flow: its node, its pin, and what is written down of it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::config::model::OnNodeDown;
use crate::inspect::stun::{Class, Message, Transaction};
use crate::net::dial::{Origin, Refusal, dial_datagrams};
use crate::net::wire::{receive_datagram, send_datagram};
use crate::pool::select::{Choice, Standing};
use crate::relay::account::Account;
use crate::relay::life::Life;
use crate::relay::placing::{Claimant, Failure, Hold, Placing};
use crate::relay::pump::Meter;
use crate::relay::report::Report;
use crate::relay::session::{EndpointNumber, Interrupt, Seat};
use crate::relay::{Context, Policy};
use crate::snapshot::{Endpoint, Ticket};
use crate::sys::datagram::{Batch, Outbox};
use crate::telemetry::outcome::Outcome;

/// A client's datagrams to one node, and back.
#[derive(Debug)]
pub(super) struct Flow {
    seat: Seat,
    account: Account,
    endpoint: Arc<Endpoint>,
    leg: Leg,
    /// Gone once the node has answered.
    opening: Option<Box<Opening>>,
    hold: Option<Hold>,
    _ticket: Ticket,
}

/// How its datagrams reach the node.
#[derive(Debug)]
pub(super) enum Leg {
    /// In this machine's name, over a socket of its own.
    Own(UdpSocket),
    /// In the client's name, over a socket that all share.
    Shared,
}

/// What is needed until the node has answered.
#[derive(Debug)]
struct Opening {
    placing: Placing,
    choice: Choice,
    turn: u64,
    /// Nodes that were there for none of the client's datagrams before.
    refused: Vec<Refused>,
    /// What an A/V client has asked its node, the last few, each once however often it is repeated.
    asked: Vec<Transaction>,
}

/// A node that a client must not be given next, and how it failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    endpoint: EndpointNumber,
    how: Failure,
}

/// What became of a client's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Gone,
    /// It is lost; the flow goes on.
    Lost,
    /// Nobody is there.
    NodeIsGone,
}

/// What was heard of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A datagram, which is in the batch.
    Answer,
    /// Nothing, or an error that says nothing.
    Nothing,
    /// Nobody is there.
    NodeIsGone,
}

impl Flow {
    /// Lets the client in and finds it a node that is not among the `refused`. Its end is written down where it may
    /// not, or there is none.
    pub(super) fn open(
        context: &Rc<Context>,
        policy: &Rc<Policy>,
        client: ClientAddr,
        refused: Vec<Refused>,
    ) -> Result<Self, Outcome> {
        let account = Account::open(context, Rc::clone(policy), client);
        let needs_place = policy.listener.config.needs_descriptors();
        let place = needs_place.then(|| context.capacity.enter()).flatten();
        if needs_place && place.is_none() {
            account.close(Outcome::RefusedLimit);
            return Err(Outcome::RefusedLimit);
        }
        let seat = context.sessions.admit(policy.listener.state.number);
        let life = Life {
            seat: &seat,
            account: &account,
        };
        let entered = life.enter(place);
        let found = entered.and_then(|entry| {
            let found = find_node(life, &refused)?;
            Ok((entry, found))
        });
        match found {
            Ok((entry, found)) => Ok(Self {
                opening: Some(Box::new(Opening {
                    placing: found.placing,
                    choice: found.choice,
                    turn: entry.turn,
                    refused,
                    asked: Vec::new(),
                })),
                seat,
                account,
                endpoint: found.endpoint,
                leg: found.leg,
                hold: None,
                _ticket: entry.ticket,
            }),
            Err(outcome) => {
                account.close(outcome);
                Err(outcome)
            }
        }
    }

    /// Whose it is.
    pub(super) fn client(&self) -> SocketAddr {
        self.account.client().socket()
    }

    /// Where its node is.
    pub(super) fn node(&self) -> SocketAddr {
        self.endpoint.address.socket()
    }

    /// Over which socket it reaches its node.
    pub(super) fn leg(&self) -> &Leg {
        &self.leg
    }

    /// Sends what the client says, or puts it into `outbox` where all share a socket.
    pub(super) fn send<'a>(&mut self, bytes: &'a [u8], outbox: &mut Outbox<'a>) -> Sent {
        self.note_question(bytes);
        let sent = match &self.leg {
            Leg::Own(socket) => send_datagram(socket, bytes).map(|()| true),
            Leg::Shared => Ok(outbox.add(self.client(), self.node(), bytes)),
        };
        match sent {
            Ok(true) => {
                self.seat.mark_asked();
                let meter = self.account.meter(&self.endpoint);
                meter.sent_up(bytes.len() as u64);
                Sent::Gone
            }
            Err(error) if self.blames_node(&error) => Sent::NodeIsGone,
            Ok(false) | Err(_) => Sent::Lost,
        }
    }

    /// Takes a datagram of the node's from its own socket.
    pub(super) fn hear(&mut self, batch: &mut Batch) -> Heard {
        let Leg::Own(socket) = &self.leg else {
            return Heard::Nothing;
        };
        match batch.add(self.client(), |room| receive_datagram(socket, room)) {
            Ok(length) => {
                self.note_answer(length);
                Heard::Answer
            }
            Err(error) if self.blames_node(&error) => Heard::NodeIsGone,
            Err(_) => Heard::Nothing,
        }
    }

    /// The node has sent it so many bytes.
    pub(super) fn note_answer(&mut self, length: usize) {
        self.seat.mark_heard();
        let meter = self.account.meter(&self.endpoint);
        meter.came_down(length as u64);
        if let Some(opening) = self.opening.take() {
            self.settle(&opening);
        }
    }

    /// Remembers what the client asks while nothing has been answered.
    fn note_question(&mut self, bytes: &[u8]) {
        let is_av = self.is_av();
        let Some(opening) = self.opening.as_mut().filter(|_| is_av) else {
            return;
        };
        let message = Message::read(bytes).filter(|message| message.class == Class::Request);
        let asked = message.map(|message| message.transaction);
        if let Some(asked) = asked.filter(|asked| !opening.asked.contains(asked)) {
            if opening.asked.len() == ASKED_MAX {
                opening.asked.remove(0);
            }
            opening.asked.push(asked);
        }
    }

    /// Whether the node speaks to the client of something else than what it was asked through here: the two have been
    /// speaking with each other directly.
    pub(super) fn is_stranger_to(&self, answer: &[u8]) -> bool {
        let opening = self.opening.as_ref();
        let Some(opening) = opening.filter(|opening| !opening.asked.is_empty()) else {
            return false;
        };
        let is_answer = |message: &Message<'_>| {
            matches!(message.class, Class::Success | Class::Error)
                && opening.asked.contains(&message.transaction)
        };
        !Message::read(answer).as_ref().is_some_and(is_answer)
    }

    fn is_av(&self) -> bool {
        self.account.policy().listener.config.service.is_av()
    }

    /// Whether the node sends the client away from `here` by this answer, to go on with the node from the same port.
    pub(super) fn is_redirected_by(&self, answer: &[u8], here: SocketAddr) -> bool {
        if !self.is_av() {
            return false;
        }
        let message = Message::read(answer).filter(Message::sends_away);
        let to = message.and_then(|message| message.alternate_server());
        to.is_some_and(|to| to != here)
    }

    /// The network says that a datagram of its did not arrive. Whoever has sent one could say so, too: the node is
    /// asked at once, and only what it answers itself condemns it. A host says so for fifty datagrams at once and not
    /// for the others (`icmp(7)`, `icmp_msgs_burst`), whose flows wait for that.
    pub(super) fn note_unreachable(&self) {
        let reports = &self.account.context().reports;
        reports.send(Report::Undelivered(self.endpoint.number));
    }

    fn settle(&mut self, opening: &Opening) {
        let life = Life {
            seat: &self.seat,
            account: &self.account,
        };
        let (placing, choice) = (&opening.placing, &opening.choice);
        self.hold = life.settle(placing, choice, &self.endpoint, opening.turn);
    }

    /// Whether the network says that nobody is there (`udp(7)`: errors of a connected socket are ICMP's, which the kernel
    /// believes only where addresses and ports are its).
    fn blames_node(&self, error: &io::Error) -> bool {
        let is_blamed = Refusal::of(error) == Refusal::Node;
        if is_blamed && self.endpoint.standing() != Standing::Down {
            let endpoint = self.endpoint.number;
            // Of other errors our own routes may be the cause as well.
            let report = if error.kind() == io::ErrorKind::ConnectionRefused {
                Report::DatagramRefused {
                    endpoint,
                    client: self.client().ip(),
                    at: Moment::now(),
                }
            } else {
                Report::DialRefused(endpoint)
            };
            self.account.context().reports.send(report);
        }
        is_blamed
    }

    /// Its node has failed so: the nodes that its client must not be given next.
    pub(super) fn refused(&mut self, how: Failure) -> Vec<Refused> {
        let opening = self.opening.as_mut();
        let mut refused = opening
            .map(|opening| std::mem::take(&mut opening.refused))
            .unwrap_or_default();
        refused.push(Refused {
            endpoint: self.endpoint.number,
            how,
        });
        refused
    }

    /// Whoever interrupts it wakes `waker`.
    pub(super) fn listen_to(&self, waker: &Waker) {
        // Nobody can have interrupted what was nobody's until now.
        let _ = self.seat.poll_interrupt(&TaskContext::from_waker(waker));
    }

    /// Takes an interrupt, and goes on unless it is one that ends the flow.
    pub(super) fn heed(&mut self, waker: &Waker) -> Option<Interrupt> {
        let Poll::Ready(interrupt) = self.seat.poll_interrupt(&TaskContext::from_waker(waker))
        else {
            return None;
        };
        self.listen_to(waker);
        let Self {
            seat,
            account,
            hold,
            ..
        } = self;
        let life = Life { seat, account };
        let is_named = interrupt == Interrupt::Named;
        life.take_name(hold, is_named);
        if is_named {
            life.tell_named(hold.as_ref());
            return None;
        }
        let is_left = interrupt == Interrupt::NodeDown
            && life.policy().listener.config.on_node_down == OnNodeDown::Leave;
        if is_left {
            account.forsake();
            return None;
        }
        Some(interrupt)
    }

    /// Ends it. Its client's next datagram begins another one.
    pub(super) fn end(self, outcome: Outcome) {
        if matches!(outcome, Outcome::NodeDown | Outcome::NodeReset) {
            self.account.tell_lost(&self.seat, outcome);
        }
        self.account.close(outcome);
    }
}

/// Where a client belongs.
struct Found {
    leg: Leg,
    endpoint: Arc<Endpoint>,
    placing: Placing,
    choice: Choice,
}

/// Finds the client's node, and a way to it.
fn find_node(life: Life<'_>, refused: &[Refused]) -> Result<Found, Outcome> {
    let (context, policy) = (life.context(), life.policy());
    let partner = life.account.partner();
    let claimant = Claimant {
        client: life.account.client().ip(),
        partner: partner.as_ref(),
        looks_legacy: false,
    };
    let mut placing = Placing::new(context, policy, claimant);
    while let Some(choice) = placing.choose() {
        let Some(node) = policy.listener.nodes.get(choice.index) else {
            break;
        };
        let number = node.endpoint.number;
        if let Some(refused) = refused.iter().find(|each| each.endpoint == number) {
            placing.failed(&choice, refused.how);
            continue;
        }
        life.account.bind(life.seat, &node.endpoint);
        let leg = match life.approach().origin() {
            Origin::Client { .. } => Ok(Leg::Shared),
            Origin::Own(sources) => {
                dial_datagrams(node.endpoint.address.socket(), sources).map(Leg::Own)
            }
        };
        match leg {
            Ok(leg) => {
                return Ok(Found {
                    leg,
                    endpoint: Arc::clone(&node.endpoint),
                    placing,
                    choice,
                });
            }
            Err(error) if Refusal::of(&error) == Refusal::Node => {
                context
                    .reports
                    .send(Report::DialRefused(node.endpoint.number));
                placing.failed(&choice, Failure::Refused);
            }
            Err(_) => return Err(Outcome::Shortage),
        }
    }
    Err(match placing.has_tried() {
        true => Outcome::DialFailed,
        false => Outcome::NoNode,
    })
}

/// A client that asks anew has given up what it asked before, and rarely asks two things at once.
const ASKED_MAX: usize = 4;
