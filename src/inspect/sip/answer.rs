//! What a balancer answers itself, in the place of a node: RFC 3261, section 8.2.6.

use std::io::Write as _;

use super::header::Name;
use super::message::Message;

/// An answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 400: what follows it cannot be framed.
    Malformed,
    /// 403: its sender is blocked.
    Forbidden,
    /// 413: its body is larger than is taken here.
    BodyTooLarge,
    /// 488: nothing is compressed on this connection.
    ///
    /// NEGOTIATE is an offer (`[MS-SIPCOMP]`, section 4.1), which a 200 that repeats its Compression takes up
    /// (section 4.2). 488 is how SIP says that what is offered is not acceptable here (RFC 3261, section 21.4.26), and
    /// no more is needed: who offered goes on without.
    NotCompressed,
    /// 503: its node is gone; so many seconds later there may be another.
    Unavailable {
        /// RFC 3261, section 20.33.
        retry_after: u32,
    },
    /// 513: the message is longer than is taken here.
    MessageTooLarge,
}

impl Answer {
    /// Its code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Forbidden => 403,
            Self::BodyTooLarge => 413,
            Self::NotCompressed => 488,
            Self::Unavailable { .. } => 503,
            Self::MessageTooLarge => 513,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::BodyTooLarge => "Request Entity Too Large",
            Self::NotCompressed => "Not Acceptable Here",
            Self::Unavailable { .. } => "Service Unavailable",
            Self::MessageTooLarge => "Message Too Large",
        }
    }

    /// This answer to `request`, whole; `tag` makes its To one of a kind, where it has no tag yet. `None` where
    /// nobody would take an answer: to a response, to ACK (RFC 3261, section 17.1.1.3), or without a Via.
    #[must_use]
    pub fn to(self, request: &Message<'_>, tag: u64) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.write(request, tag, &mut text).then_some(text)
    }

    /// Appends this answer to `request` to `text`; whether there is one.
    pub fn write(self, request: &Message<'_>, tag: u64, text: &mut Vec<u8>) -> bool {
        let is_answered = request.method().is_some_and(|method| method != "ACK");
        let has_way_back = request.value(Name::Via).is_some();
        if !is_answered || !has_way_back {
            return false;
        }
        // A vector takes whatever is written.
        let _ = write!(text, "SIP/2.0 {} {}\r\n", self.code(), self.reason());
        for via in request.values(Name::Via) {
            text.extend([b"Via: ", via, b"\r\n"].into_iter().flatten());
        }
        for (name, title) in [
            (Name::From, "From"),
            (Name::To, "To"),
            (Name::CallId, "Call-ID"),
            (Name::CSeq, "CSeq"),
        ] {
            let Some(value) = request.value(name) else {
                continue;
            };
            let needs_tag = name == Name::To && request.to().is_some_and(|to| to.tag().is_none());
            text.extend([title.as_bytes(), b": ", value].into_iter().flatten());
            if needs_tag {
                let _ = write!(text, ";tag={tag:016x}");
            }
            text.extend(b"\r\n");
        }
        if let Self::Unavailable { retry_after } = self {
            let _ = write!(text, "Retry-After: {retry_after}\r\n");
        }
        text.extend(b"Content-Length: 0\r\n\r\n");
        true
    }
}
