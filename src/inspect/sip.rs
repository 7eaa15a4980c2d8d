//! SIP over streams, as far as a balancer that terminates TLS reads it: where messages begin and end, whose they are,
//! and the few answers that it gives itself.
//!
//! Owns framing ([`Framer`]), a view of a message's head ([`Message`]), answers ([`Answer`]) and the question of a
//! probe ([`Question`]). Deliberately no parser of SIP: nothing is rewritten, no header is judged that framing or
//! policy does not need, and what a node must refuse is the node's to refuse. No dialogs, no transactions.
//!
//! Invariants: what is framed is passed on to the byte. Nothing is allocated for a header; answers and questions are
//! one vector each. Time is linear in what has come, however it is chopped. No input panics.
//!
//! Sources: RFC 3261 (sections 7, 8.2.6, 18.3, 20, 25), RFC 5626 section 3.5.1 (keep-alive), RFC 4475 (what messages
//! may look like), `[MS-SIPCOMP]` and `[MS-CONMGMT]` (NEGOTIATE).

pub use self::answer::Answer;
pub use self::framer::{Fault, Found, Framer, HEAD_MAX};
pub use self::header::{Header, Headers, Name};
pub use self::message::{CSeq, Message, Start};
pub use self::party::{Party, Via};
pub use self::question::{Hearing, Judgement, Question, Transport};

mod answer;
mod framer;
mod header;
mod message;
mod party;
mod question;
#[cfg(test)]
mod tests;
mod text;
