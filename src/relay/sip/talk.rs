//! What is made of the messages of one client and of its nodes, as they pass.
//!
//! Owns policy, counting, who still waits for an answer, and what the client is told by Pinfold itself. Every byte
//! that passes, passes as it came; what does not pass is left out as a whole message.

use std::io;
use std::task::Context;

use super::gate::Gate;
use super::line::Line;
use super::outstanding::{Key, Keys, Outstanding};
use super::passage::Passage;
use super::side::Outbound;
use super::traffic::{Counts, Slot, Way};
use super::{RETRY_AFTER, claim};
use crate::clock::Moment;
use crate::inspect::sip::{Answer, Fault, Found, Framer, HEAD_MAX, Message, Start};
use crate::relay::life::Life;
use crate::relay::memory::Hold;
use crate::relay::pump::{Gear, Meter};
use crate::relay::terminated::ClientStream;

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
/// Whose final response is acknowledged.
const INVITE: &str = "INVITE";
/// What an answer may take.
const ANSWER_ROOM: usize = 1024;

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

    /// Whether what was found at the beginning of `bytes` passes to a node.
    fn judge_up(&mut self, found: Found, bytes: &[u8], has_node: bool) -> bool {
        match found {
            Found::Incomplete => true,
            // Without a node it is this end that answers: RFC 5626, section 3.5.1.
            Found::LineEnd { is_ping } if !has_node => {
                if is_ping {
                    self.say(|text| text.extend(b"\r\n"));
                }
                false
            }
            Found::LineEnd { .. } => true,
            Found::Head { length, .. } => {
                (self.has_framed, self.has_declined) = (true, false);
                let head = bytes.get(..length).unwrap_or_default();
                let passes = match Message::read(head) {
                    Some(message) => match message.start {
                        Start::Request { method, .. } => {
                            self.request_up(&message, method, has_node)
                        }
                        Start::Response { code, .. } => self.response_up(&message, code, has_node),
                    },
                    None => self.unreadable_up(),
                };
                self.passage.begin(passes);
                passes
            }
            Found::Body { .. } => self.passage.goes_on(),
        }
    }

    fn request_up(&mut self, message: &Message<'_>, method: &str, has_node: bool) -> bool {
        // From there comes the name of a server: domain.md 2.4.
        if method != "NEGOTIATE"
            && !std::mem::replace(&mut self.has_claimed, true)
            && claim(self.life, message)
        {
            self.rename();
        }
        self.slot().count_request(Way::Up, method);
        let key = Key::of(message);
        if method == "ACK" && self.refused.take(key) {
            return false;
        }
        let names = &self.life.context().names;
        let judge = |partners: &_| self.gate.judge(message, partners, Moment::now());
        if let Some(answer) = names.with_partners(judge) {
            self.has_declined = answer == Answer::NotCompressed;
            if self.say(|text| answer.write(message, fastrand::u64(..), text)) {
                self.slot().count_answers(answer, 1);
                if method == INVITE {
                    self.refused.add(key);
                }
            }
            return false;
        }
        if method == "ACK" {
            return has_node;
        }
        self.remember(key, message);
        true
    }

    /// The client waits for the answer to a request. Where there is no memory for it, or for all that it waits for, its
    /// node's death will leave that to the client's own timers.
    fn remember(&mut self, key: Key, message: &Message<'_>) {
        let answer = Answer::Unavailable {
            retry_after: RETRY_AFTER,
        };
        if self.gear().memory().leaves_half(ANSWER_ROOM) {
            let write = |text: &mut Vec<u8>| answer.write(message, fastrand::u64(..), text);
            let is_invite = message.method() == Some(INVITE);
            self.outstanding.begin(key, is_invite, write);
            self.count_outstanding();
        }
    }

    fn count_outstanding(&mut self) {
        let held = self.outstanding.held();
        if held != self.counted.0 {
            self.counted = (held, None);
            let gear = self.gear();
            let has_room = gear.memory().leaves_half(held);
            self.counted.1 = has_room.then(|| gear.count(held));
            if self.counted.1.is_none() && held > ANSWER_ROOM {
                self.outstanding = Outstanding::default();
                self.counted = (0, None);
            }
        }
    }

    fn response_up(&mut self, message: &Message<'_>, code: u16, has_node: bool) -> bool {
        self.slot().count_response(Way::Up, code);
        let (key, is_final) = (Key::of(message), code >= 200);
        if self.orphaned.has(key) {
            if is_final {
                self.orphaned.take(key);
            }
            return false;
        }
        let answers = is_final && self.asked.take(key);
        let passes = has_node && (answers || self.gate.may_respond(Moment::now()));
        if passes && message.accepts_compression() {
            self.stop = Some(match self.gate.is_open() {
                true => Stop::Opaque("the client has agreed on compression"),
                false => Stop::Refused(Refusal::Compressed),
            });
        }
        passes
    }

    /// A head that cannot be read is a node's to refuse, unless it could hide what does not pass.
    fn unreadable_up(&mut self) -> bool {
        let passes = self.gate.is_open();
        if !passes {
            self.stop = Some(Stop::Refused(Refusal::Unreadable));
        }
        passes
    }

    /// What becomes of bytes that cannot be framed.
    fn fault(&mut self, fault: Fault, bytes: &[u8]) -> Stop {
        // Whose head is whole says a message, however large that is.
        let is_compressed = self.has_declined && !matches!(fault, Fault::BodyTooLarge { .. });
        let is_no_sip = is_compressed || !self.has_framed && fault == Fault::NoStartLine;
        if is_no_sip && self.gate.is_open() {
            return Stop::Opaque(match is_compressed {
                true => "the client does not take no for an answer to NEGOTIATE",
                false => "the client does not begin as SIP does",
            });
        }
        let (answer, head) = match fault {
            Fault::BodyTooLarge { head } => (Answer::BodyTooLarge, bytes.get(..head)),
            Fault::HeadTooLarge => (Answer::MessageTooLarge, Some(whole_lines(bytes))),
            Fault::NoHeader | Fault::BadLength | Fault::ConflictingLengths => {
                (Answer::Malformed, Some(whole_lines(bytes)))
            }
            Fault::NoStartLine | Fault::BareLineEnd => (Answer::Malformed, None),
        };
        if let Some(message) = head.and_then(Message::read)
            && self.say(|text| answer.write(&message, fastrand::u64(..), text))
        {
            self.slot().count_answers(answer, 1);
        }
        Stop::Refused(Refusal::Fault(fault))
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

    /// The node is gone: what it owes answers to is answered in its place, how many that were; what its own requests
    /// are answered goes nowhere. `is_within` a message of the client whose beginning it had: the rest goes nowhere.
    /// What waited for that node goes nowhere either, since it is answered with the others.
    pub(super) fn lose_node(&mut self, is_within: bool) -> usize {
        self.passage.lose_node(is_within);
        self.orphaned.take_over(&mut self.asked);
        self.answer_outstanding()
    }

    /// There is no node for what waits.
    pub(super) fn give_up_parked(&mut self) -> usize {
        self.passage.begin(false);
        self.answer_outstanding()
    }

    fn answer_outstanding(&mut self) -> usize {
        let count = self.outstanding.len();
        if count == 0 {
            return 0;
        }
        let (outstanding, refused) = (&mut self.outstanding, &mut self.refused);
        let (is_deferred, deferred) = (self.is_client_within, &mut self.deferred);
        let gear = &self.life.context().gear;
        let mut answer = |text: &mut Vec<u8>| {
            outstanding.answer(|key, answer| {
                text.extend(answer);
                if let Some(key) = key {
                    refused.add(key);
                }
            });
        };
        match is_deferred {
            true => answer(deferred),
            false => self.to_client.add(gear, answer),
        }
        let answer = Answer::Unavailable {
            retry_after: RETRY_AFTER,
        };
        self.slot().count_answers(answer, count as u64);
        self.count_outstanding();
        count
    }

    /// Tells the client what `write` appends, between the messages of its node.
    fn say<A>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> A) -> A {
        match self.is_client_within {
            true => write(&mut self.deferred),
            false => self.to_client.add(&self.life.context().gear, write),
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

/// The whole lines of a head that has no end, or is wrong.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.get(..HEAD_MAX.min(bytes.len())).unwrap_or_default();
    let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let last = || bytes.windows(2).rposition(|window| window == b"\r\n");
    let end = blank.map(|at| at + 4);
    let end = end.or_else(|| last().map(|at| at + 2)).unwrap_or(0);
    bytes.get(..end).unwrap_or_default()
}
