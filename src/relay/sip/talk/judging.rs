//! Which messages of a client pass to its node, and what is said of those that do not.

use super::answering::INVITE;
use super::{Refusal, Stop, Talk};
use crate::clock::Moment;
use crate::inspect::sip::{Answer, Fault, Found, HEAD_MAX, Message, Start};
use crate::relay::sip::claim;
use crate::relay::sip::outstanding::Key;
use crate::relay::sip::traffic::Way;

impl Talk<'_> {
    /// Whether what was found at the beginning of `bytes` passes to a node.
    pub(super) fn judge_up(&mut self, found: Found, bytes: &[u8], has_node: bool) -> bool {
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
    pub(super) fn fault(&mut self, fault: Fault, bytes: &[u8]) -> Stop {
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
