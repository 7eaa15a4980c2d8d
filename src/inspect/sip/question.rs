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

    /// Whoever has asked it listens.
    #[must_use]
    pub const fn hearing(&self) -> Hearing<'_> {
        Hearing {
            question: self,
            framer: Framer::new(BODY_MAX),
            done: 0,
        }
    }

    fn answered(&self, message: &Message<'_>) -> Option<u16> {
        let branch = message.via()?.branch()?;
        let is_ours = branch == self.branch.as_bytes();
        message.code().filter(|code| is_ours && *code >= 200)
    }
}

/// What comes back to a question, as it comes.
#[derive(Clone, Debug)]
pub struct Hearing<'q> {
    question: &'q Question,
    framer: Framer,
    /// So many bytes of what has come are done with.
    done: usize,
}

impl Hearing<'_> {
    /// What the answer is so far; `said` is all that has come since the question, and more each time. Any final
    /// response will do: also one that refuses comes from a stack that is alive.
    #[must_use]
    pub fn judge(&mut self, said: &[u8]) -> Judgement {
        loop {
            let rest = said.get(self.done..).unwrap_or_default();
            let found = match self.framer.look(rest) {
                Ok(Found::Incomplete) => return Judgement::Awaited,
                Ok(found) => found,
                Err(_) => return Judgement::Wrong,
            };
            let piece = rest.get(..found.length()).unwrap_or_default();
            self.done += piece.len();
            let message = matches!(found, Found::Head { .. }).then(|| Message::read(piece));
            if let Some(code) = message
                .flatten()
                .and_then(|message| self.question.answered(&message))
            {
                return Judgement::Answered(code);
            }
        }
    }
}

/// What an answer to OPTIONS may carry; nobody sends as much.
const BODY_MAX: u64 = 64 * 1024;
