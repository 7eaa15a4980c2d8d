//! Watching a handshake from outside: both directions, in whatever pieces they come.
//!
//! Feed it every byte of either side until it [has ended](Handshake::has_ended): then nothing more
//! can be learned, because the rest is encrypted, is no TLS, or is more than a handshake should be.
//! Memory is bounded by one message of each side; what it has seen of a message that nobody reads is
//! not kept.

use super::alert::{Alert, Level};
use super::hello::{
    CLIENT_HELLO, ClientHello, SUPPORTED_VERSIONS, may_become_version_2, version_2_length,
};
use super::message::{CERTIFICATE, Message, Messages, SERVER_HELLO, SERVER_HELLO_DONE};
use super::reader::Reader;
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, NotTls, Records};
use super::version::Version;
use crate::tls::certificate::Certificate;

/// Who sent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The node.
    Node,
}

/// What a handshake has shown so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the client offers.
    pub hello: Option<Box<ClientHello>>,
    /// What the node chose.
    pub negotiated: Option<Version>,
    /// The node's own certificate, up to TLS 1.2.
    pub node_certificate: Option<Box<Certificate>>,
    /// The client's own certificate, up to TLS 1.2.
    pub client_certificate: Option<Box<Certificate>>,
    /// Whether an earlier session goes on, so that no certificate is shown; known up to TLS 1.2 once
    /// the node changes to its keys.
    pub resumed: Option<bool>,
    /// The alert in clear that ended it, or the last warning.
    pub alert: Option<(Side, Alert)>,
    /// Both sides have sent application data: the node has accepted whatever the client has shown.
    pub completed: bool,
    /// Bytes were seen that are no TLS.
    pub is_other: bool,
}

impl Facts {
    /// The fatal alert, and who sent it.
    #[must_use]
    pub fn fatal(&self) -> Option<(Side, Alert)> {
        self.alert.filter(|(_, alert)| alert.level == Level::Fatal)
    }
}

/// A handshake that is watched.
#[derive(Debug, Default)]
pub struct Handshake {
    client: Half,
    node: Half,
    facts: Facts,
    is_done: bool,
    seen_done: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    records: Records,
    messages: Messages,
    alert: [u8; 2],
    alert_filled: usize,
    /// A hello in the format of SSL 2.0, as far as it has come.
    old: Vec<u8>,
    seen: usize,
    has_begun: bool,
    is_encrypted: bool,
    has_sent_data: bool,
}

impl Handshake {
    /// Nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing more can be learned.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.is_done
    }

    /// What is known so far.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What was learned.
    #[must_use]
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// `side` has sent `bytes`.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) {
        let half = self.half(side);
        if half.has_sent_data {
            return;
        }
        let room = SEEN_MAX - half.seen;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        half.seen += bytes.len();
        if self.is_done {
            return;
        }
        if self.read(side, bytes).is_err() {
            self.facts.is_other = true;
            self.is_done = true;
        }
        // Between its hello and its data each side has far less to say.
        let half = self.half(side);
        self.is_done |= half.seen == SEEN_MAX && !half.has_sent_data;
        if self.client.has_sent_data && self.node.has_sent_data {
            self.facts.completed = true;
            self.is_done = true;
        }
        if self.is_done {
            self.client.messages.clear();
            self.node.messages.clear();
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Node => &mut self.node,
        }
    }

    fn read(&mut self, side: Side, bytes: &[u8]) -> Result<(), NotTls> {
        let mut rest = bytes;
        if side == Side::Client && !self.client.has_begun {
            rest = self.read_version_2(rest)?;
        }
        if let Some(first) = rest.first()
            && !std::mem::replace(&mut self.half(side).has_begun, true)
            && !matches!((side, *first), (_, HANDSHAKE) | (Side::Node, ALERT))
        {
            return Err(NotTls);
        }
        while !self.is_done && !self.half(side).has_sent_data {
            let half = self.half(side);
            let Some(piece) = half.records.next(&mut rest)? else {
                return Ok(());
            };
            match piece.kind {
                CHANGE_CIPHER_SPEC if !half.is_encrypted => {
                    half.is_encrypted = true;
                    if side == Side::Node {
                        self.facts.resumed = Some(!self.seen_done);
                    }
                }
                APPLICATION_DATA if half.is_encrypted => half.has_sent_data = true,
                HANDSHAKE if !half.is_encrypted => self.read_messages(side, piece.payload)?,
                ALERT if !half.is_encrypted => self.read_alert(side, piece.payload),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a hello in the format of SSL 2.0 off the front, or what may become one.
    fn read_version_2<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NotTls> {
        let old = &mut self.client.old;
        if old.is_empty() && bytes.first().is_none_or(|first| *first < 0x80) {
            return Ok(bytes);
        }
        let mut rest = bytes;
        while let Some((next, behind)) = rest.split_first() {
            old.push(*next);
            rest = behind;
            if let Some(length) = version_2_length(old) {
                if let Some(body) = old.get(2..2 + length) {
                    let hello = ClientHello::parse_version_2(body).ok_or(NotTls)?;
                    self.facts.hello = Some(Box::new(hello));
                    *old = Vec::new();
                    self.client.has_begun = true;
                    return Ok(rest);
                }
            } else if !may_become_version_2(old) {
                return Err(NotTls);
            }
        }
        Ok(rest)
    }

    fn read_messages(&mut self, side: Side, payload: &[u8]) -> Result<(), NotTls> {
        let mut rest = payload;
        while !self.is_done {
            let Some(message) = self.half(side).messages.next(&mut rest) else {
                break;
            };
            match (side, message) {
                (Side::Client, Message::Whole(CLIENT_HELLO, body)) => {
                    // A second one answers a HelloRetryRequest; what counts was in the first.
                    if self.facts.hello.is_none() {
                        let hello = ClientHello::parse(&body).ok_or(NotTls)?;
                        self.facts.hello = Some(Box::new(hello));
                    }
                }
                (Side::Node, Message::Whole(SERVER_HELLO, body)) => {
                    let chosen = chosen(&body).ok_or(NotTls)?;
                    self.facts.negotiated = Some(chosen);
                    // From here on everything is encrypted.
                    self.is_done |= chosen >= Version::TLS_1_3;
                }
                (Side::Client, Message::Whole(CERTIFICATE, body)) => {
                    self.facts.client_certificate = first_certificate(&body);
                }
                (Side::Node, Message::Whole(CERTIFICATE, body)) => {
                    self.facts.node_certificate = first_certificate(&body);
                }
                (Side::Node, Message::Begun(SERVER_HELLO_DONE)) => self.seen_done = true,
                (_, Message::TooLarge(CLIENT_HELLO | SERVER_HELLO)) => return Err(NotTls),
                (_, Message::Whole(..) | Message::Begun(_) | Message::TooLarge(_)) => {}
            }
        }
        Ok(())
    }

    fn read_alert(&mut self, side: Side, payload: &[u8]) {
        for byte in payload {
            let half = self.half(side);
            if let Some(place) = half.alert.get_mut(half.alert_filled) {
                *place = *byte;
            }
            half.alert_filled += 1;
            if half.alert_filled == half.alert.len() {
                half.alert_filled = 0;
                let alert = Alert::new(half.alert);
                self.facts.alert = Some((side, alert));
                if alert.level == Level::Fatal {
                    self.is_done = true;
                    return;
                }
            }
        }
    }
}

/// The version that a ServerHello chooses (RFC 8446 section 4.1.3).
fn chosen(body: &[u8]) -> Option<Version> {
    let mut body = Reader::new(body);
    let legacy = Version(body.u16()?);
    body.take(32)?;
    body.vector(1)?;
    body.take(3)?;
    if body.is_empty() {
        return Some(legacy);
    }
    let mut extensions = body.vector(2)?;
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let mut content = extensions.vector(2)?;
        if kind == SUPPORTED_VERSIONS {
            return content.u16().map(Version);
        }
    }
    Some(legacy)
}

/// The sender's own certificate: the first of the list (RFC 5246 section 7.4.2).
fn first_certificate(body: &[u8]) -> Option<Box<Certificate>> {
    let mut list = Reader::new(body).vector(3)?;
    let first = list.vector(3)?;
    Certificate::parse(first.rest()).map(Box::new)
}

/// Two chains as long as they may be, and everything else there is in a handshake.
const SEEN_MAX: usize = 96 * 1024;

#[cfg(test)]
#[path = "handshake/tests.rs"]
mod tests;
