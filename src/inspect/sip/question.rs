//! The question of a probe: OPTIONS, which whoever speaks SIP answers by something.

use std::net::SocketAddr;

use super::framer::{Found, Framer};
use super::message::Message;

/// What a question goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In clear.
    Tcp,
    /// Within TLS.
    Tls,
}

/// One question, and by what its answer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is sent.
    pub text: Vec<u8>,
    branch: String,
}

/// What has come back so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A final response to the question, with this code.
    Answered(u16),
    /// It is SIP, and not the answer, or not all of it yet.
    Awaited,
    /// Not SIP.
    Wrong,
}

impl Question {
    /// OPTIONS for `target`, a host, from `local`; `random` makes it one of a kind. With Max-Forwards 0 whoever gets
    /// it answers it: RFC 3261, sections 11 and 16.3.
    #[must_use]
    pub fn new(target: &str, local: SocketAddr, transport: Transport, random: [u64; 3]) -> Self {
        let [branch, tag, call] = random;
        let over = match transport {
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        };
        let host = match local {
            SocketAddr::V4(local) => local.ip().to_string(),
            SocketAddr::V6(local) => format!("[{}]", local.ip()),
        };
        let branch = format!("z9hG4bK{branch:016x}");
        let text = format!(
            "OPTIONS sip:{target} SIP/2.0\r\n\
             Via: SIP/2.0/{over} {local};branch={branch}\r\n\
             From: <sip:{host}>;tag={tag:016x}\r\n\
             To: <sip:{target}>\r\n\
             Call-ID: {call:016x}@{host}\r\n\
             CSeq: 1 OPTIONS\r\n\
             Max-Forwards: 0\r\n\
             User-Agent: pinfold\r\n\
             Content-Length: 0\r\n\r\n"
        );
        Self {
            text: text.into_bytes(),
            branch,
        }
    }

    /// What the bytes of an answer are so far. Any final response will do: also one that refuses comes from a stack
    /// that is alive.
    #[must_use]
    pub fn judge(&self, mut bytes: &[u8]) -> Judgement {
        let mut framer = Framer::new(BODY_MAX);
        loop {
            let found = match framer.look(bytes) {
                Ok(Found::Incomplete) => return Judgement::Awaited,
                Ok(found) => found,
                Err(_) => return Judgement::Wrong,
            };
            let (piece, rest) = bytes
                .split_at_checked(found.length())
                .unwrap_or((bytes, &[]));
            bytes = rest;
            let message = matches!(found, Found::Head { .. }).then(|| Message::read(piece));
            if let Some(code) = message
                .flatten()
                .and_then(|message| self.answered(&message))
            {
                return Judgement::Answered(code);
            }
        }
    }

    fn answered(&self, message: &Message<'_>) -> Option<u16> {
        let branch = message.via()?.branch()?;
        let is_ours = branch == self.branch.as_bytes();
        message.code().filter(|code| is_ours && *code >= 200)
    }
}

/// What an answer to OPTIONS may carry; nobody sends as much.
const BODY_MAX: u64 = 64 * 1024;
