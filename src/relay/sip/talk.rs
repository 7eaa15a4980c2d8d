//! What is made of the messages of one client and of its nodes, as they pass.
//!
//! Owns the order in which messages pass, and counting. `judging` says which of a client's messages pass, `answering`
//! what the client is told by Pinfold itself. Every byte that passes, passes as it came; what does not pass is left out
//! as a whole message.

use std::io;
use std::task::Context;

use super::gate::Gate;
use super::line::Line;
use super::outstanding::{Key, Keys, Outstanding};
use super::passage::Passage;
use super::side::Outbound;
use super::traffic::{Counts, Slot, Way};
use crate::inspect::sip::{Fault, Found, Framer, Message, Start};
use crate::relay::life::Life;
use crate::relay::memory::Hold;
use crate::relay::pump::{Gear, Meter};
use crate::relay::terminated::ClientStream;

mod answering;
mod judging;

/// Why the rest of what has come must wait.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is for a node, and there is none.
    NeedsNode,
    /// It is no SIP, or will not be from here on: it passes unread.
    Opaque(&'static str),
    /// It does not pass, and nothing that follows it can.
    Refused(Refusal),
    /// What the node sends cannot be read, and its client is one whose messages must be.
    Illegible,
    /// The side that it goes to has failed.
    Failed(io::Error),
}

/// Why nothing more of what a client sends can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It cannot be framed.
    #[error("{0}")]
    Fault(Fault),
    /// It would be compressed.
    #[error("what follows would be compressed, and this client's messages must be readable")]
    Compressed,
    /// It is framed as a message is, and its first line is none of SIP.
    #[error("its first line cannot be read, and this client's messages must be readable")]
    Unreadable,
}

/// The conversation of one client.
pub(super) struct Talk<'a> {
    life: Life<'a>,
    pub(super) gate: Gate,
    counts: Counts,
    /// Requests of the client that its node has not finally answered.
    outstanding: Outstanding,
    /// So many bytes of memory are counted for them.
    counted: (usize, Option<Hold>),
    /// Requests of the node that the client has not finally answered.
    asked: Keys,
    /// Those of nodes that are gone: what answers them goes nowhere.
    orphaned: Keys,
    /// INVITEs that Pinfold has answered: the ACK is for it.
    refused: Keys,
    pub(super) to_client: Outbound,
    /// Answers that wait until a node's message has passed to its end.
    deferred: Vec<u8>,
    /// The client gets a node's message, and has not got its end.
    is_client_within: bool,
    passage: Passage,
    /// A message has been framed.
    has_framed: bool,
    /// Compression was declined, and no message has come since.
    has_declined: bool,
    /// What becomes of all that follows what was found last.
    stop: Option<Stop>,
    /// A request has come, other than NEGOTIATE, by whose domain the client may be known.
    has_claimed: bool,
}

/// Answers that may be owed to a client whose next messages are read.
const OWED_MAX: usize = 16 * 1024;

impl<'a> Talk<'a> {
    pub(super) fn new(life: Life<'a>, gate: Gate) -> Self {
        Self {
            life,
            gate,
            counts: counts(life),
            outstanding: Outstanding::default(),
            counted: (0, None),
            asked: Keys::default(),
            orphaned: Keys::default(),
            refused: Keys::default(),
            to_client: Outbound::default(),
            deferred: Vec::new(),
            is_client_within: false,
            passage: Passage::default(),
            has_framed: false,
            has_declined: false,
            stop: None,
            has_claimed: false,
        }
    }

    fn gear(&self) -> &'a Gear {
        &self.life.context().gear
    }

    /// What it counts in.
    pub(super) fn slot(&self) -> &Slot {
        self.counts.slot(self.life.context().worker)
    }

    /// The client has got a name.
    pub(super) fn rename(&mut self) {
        self.counts = counts(self.life);
    }

    /// Whether the client may be read: it takes what it is told.
    pub(super) fn may_say_more(&self) -> bool {
        let owed = self.to_client.owed() + self.deferred.len();
        owed == 0 || owed <= OWED_MAX && self.gear().memory().has_room(OWED_MAX)
    }

    /// Whether the client gets an answer when its node's message has passed to its end.
    pub(super) const fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Whether a message has come.
    pub(super) const fn has_framed(&self) -> bool {
        self.has_framed
    }

    /// Passes on what the client has sent, as far as it can: how much is done with, and what stops the rest.
    pub(super) fn take_up(
        &mut self,
        context: &mut Context<'_>,
        mut line: Option<&mut Line>,
        framer: &mut Framer,
        bytes: &[u8],
    ) -> (usize, Option<Stop>) {
        let (mut begin, mut done) = (0, 0);
        let stop = loop {
            let rest = bytes.get(done..).unwrap_or_default();
            let (found, passes) = match self.passage.resume() {
                Some(waiting) => waiting,
                None => match framer.look(rest) {
                    Ok(Found::Incomplete) => break None,
                    Ok(found) => (found, self.judge_up(found, rest, line.is_some())),
                    Err(fault) => break Some(self.fault(fault, rest)),
                },
            };
            if passes && line.is_none() {
                self.passage.park(found);
                break Some(Stop::NeedsNode);
            }
            let end = done + found.length();
            if !passes {
                let passing = bytes.get(begin..done).unwrap_or_default();
                if let Err(error) = self.give_up(context, line.as_deref_mut(), passing) {
                    // It was found, and is still to be left out.
                    self.passage.park(found);
                    return (done, Some(Stop::Failed(error)));
                }
                begin = end;
            }
            done = end;
            self.passage.done(found);
            if let Some(stop) = self.stop.take() {
                break Some(stop);
            }
        };
        let passing = bytes.get(begin..done).unwrap_or_default();
        match self.give_up(context, line, passing) {
            Ok(()) => (done, stop),
            Err(error) => (done, Some(Stop::Failed(error))),
        }
    }

    fn give_up(
        &self,
        context: &mut Context<'_>,
        line: Option<&mut Line>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let Some(line) = line.filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        let endpoint = &line.endpoint;
        self.life
            .account
            .meter(endpoint)
            .sent_up(bytes.len() as u64);
        line.to_node
            .give(context, self.gear(), &mut line.leg, bytes)
    }

    /// Passes on what the node has sent, as far as it can: how much is done with, and what stops the rest.
    pub(super) fn take_down(
        &mut self,
        context: &mut Context<'_>,
        client: &mut ClientStream,
        framer: &mut Framer,
        bytes: &[u8],
    ) -> (usize, Option<Stop>) {
        let mut done = 0;
        let stop = loop {
            let rest = bytes.get(done..).unwrap_or_default();
            match framer.look(rest) {
                Ok(Found::Incomplete) => break None,
                Ok(found) => {
                    if let Found::Head { length, .. } = found {
                        self.note_down(rest.get(..length).unwrap_or_default());
                    }
                    done += found.length();
                }
                Err(_) if !self.gate.is_open() => break Some(Stop::Illegible),
                Err(_) => break Some(Stop::Opaque("what the node sends is no SIP")),
            }
        };
        let passing = bytes.get(..done).unwrap_or_default();
        let gear = self.gear();
        if let Err(error) = self.to_client.give(context, gear, client, passing) {
            return (done, Some(Stop::Failed(error)));
        }
        self.is_client_within = framer.rest_of_body() > 0;
        if !self.is_client_within && !self.deferred.is_empty() {
            let deferred = std::mem::take(&mut self.deferred);
            self.to_client.add(gear, |text| text.extend(deferred));
        }
        (done, stop)
    }

    fn note_down(&mut self, head: &[u8]) {
        let Some(message) = Message::read(head) else {
            return;
        };
        match message.start {
            Start::Request { method, .. } => {
                self.slot().count_request(Way::Down, method);
                // Of these nobody answers any: RFC 3261, section 17; `[MS-SIPRE]`.
                if !matches!(method, "ACK" | "BENOTIFY") {
                    self.asked.add(Key::of(&message));
                }
            }
            Start::Response { code, .. } => {
                self.slot().count_response(Way::Down, code);
                if code >= 200 {
                    self.outstanding.end(Key::of(&message));
                    self.count_outstanding();
                }
            }
        }
    }
}

fn counts(life: Life<'_>) -> Counts {
    let partner = life.account.partner();
    let partner = partner.map(|partner| partner.name.clone());
    let listener = &life.policy().listener.state.name;
    let traffic = &life.context().recognition.sip;
    traffic.of(listener, partner.unwrap_or_default())
}
