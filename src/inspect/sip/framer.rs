//! Where messages begin and end in a stream of bytes.
//!
//! A head is kept until it is whole, at most [`HEAD_MAX`] bytes; of a body nothing is kept, however large it is. What
//! two readers might frame differently is a [`Fault`]: whoever wrote it could hide one message in another.

use super::header::{Headers, Name};
use super::message::{Start, headers_of};
use super::text::{is_token, last_word, number};

/// The longest head, start line and blank line included. Routes that nodes sign make some of them long; a message
/// over UDP has at most this much.
pub const HEAD_MAX: usize = 64 * 1024;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// More of it must come.
    Incomplete,
    /// A line end between messages. Two in a row are the question of a keep-alive, one is its answer: RFC 5626,
    /// section 3.5.1. Each is told by itself, so that an answer need not wait for what follows.
    LineEnd {
        /// Whether it is the second of a question.
        is_ping: bool,
    },
    /// A whole head: start line, headers and the blank line.
    Head {
        /// Its bytes.
        length: usize,
        /// Bytes of the body that follows.
        body: u64,
        /// Whether the message says so itself. Over a stream it must (RFC 3261, section 18.3); where it does not,
        /// there is no body.
        is_declared: bool,
    },
    /// Some of the body.
    Body {
        /// How much of it is there.
        length: usize,
        /// Whether the message ends with it.
        is_last: bool,
    },
}

impl Found {
    /// How many bytes it takes off the stream.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Incomplete => 0,
            Self::LineEnd { .. } => 2,
            Self::Head { length, .. } | Self::Body { length, .. } => length,
        }
    }
}

/// Why a stream cannot be framed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What should begin a message does not.
    #[error("neither a request nor a response begins where a message should")]
    NoStartLine,
    /// A line end is half there.
    #[error("a CR or LF stands alone in a header, where lines end by both")]
    BareLineEnd,
    /// A line is no header and continues none.
    #[error("a line among the headers is none")]
    NoHeader,
    /// The head has no end within [`HEAD_MAX`].
    #[error("the headers are longer than {HEAD_MAX} bytes")]
    HeadTooLarge,
    /// The body is longer than the caller allows.
    #[error("the body is longer than allowed")]
    BodyTooLarge {
        /// Where the head ends; it may be read for an answer.
        head: usize,
    },
    /// Content-Length is no number.
    #[error("Content-Length is no number")]
    BadLength,
    /// There are several Content-Lengths.
    #[error("Content-Lengths contradict each other")]
    ConflictingLengths,
}

/// Frames one direction of a connection.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    /// The last thing was a line end that is not part of a question.
    has_line_end: bool,
    body_max: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A message may begin.
    Between,
    /// Within a head: where its last line begins, and how far it has been looked at.
    Head { line: usize, seen: usize },
    /// So much of a body is to come.
    Body { rest: u64 },
    /// For good.
    Faulty(Fault),
}

impl Framer {
    /// At the beginning of a stream whose bodies have at most `body_max` bytes.
    #[must_use]
    pub const fn new(body_max: u64) -> Self {
        Self {
            state: State::Between,
            has_line_end: false,
            body_max,
        }
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub const fn is_within_message(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// How much of a body is still to come.
    #[must_use]
    pub const fn rest_of_body(&self) -> u64 {
        match self.state {
            State::Body { rest } => rest,
            State::Between | State::Head { .. } | State::Faulty(_) => 0,
        }
    }

    /// Looks at `bytes`, which begin where what was found last ends. After [`Found::Incomplete`] they are those of
    /// the last call and more.
    ///
    /// # Errors
    ///
    /// What is wrong; the same from then on.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Found, Fault> {
        let found = match self.state {
            State::Between => self.begin(bytes),
            State::Head { line, seen } => self.head(bytes, line, seen),
            State::Body { rest } => Ok(self.body(bytes, rest)),
            State::Faulty(fault) => Err(fault),
        };
        if let Err(fault) = found {
            self.state = State::Faulty(fault);
        }
        found
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<Found, Fault> {
        match bytes {
            [] | [b'\r'] => Ok(Found::Incomplete),
            [b'\r', b'\n', ..] => {
                let is_ping = self.has_line_end;
                self.has_line_end = !is_ping;
                Ok(Found::LineEnd { is_ping })
            }
            [first, ..] if is_token(*first) => {
                self.has_line_end = false;
                self.head(bytes, 0, 0)
            }
            _ => Err(Fault::NoStartLine),
        }
    }

    fn head(&mut self, bytes: &[u8], mut line: usize, mut seen: usize) -> Result<Found, Fault> {
        let bytes = bytes.get(..HEAD_MAX.min(bytes.len())).unwrap_or_default();
        loop {
            let rest = bytes.get(seen..).unwrap_or_default();
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let end = end.map_or(bytes.len(), |end| seen + end);
            match bytes.get(end..).unwrap_or_default() {
                [b'\r', b'\n', ..] if end == line => {
                    let head = bytes.get(..end + 2).unwrap_or_default();
                    return self.end_head(head);
                }
                [b'\r', b'\n', ..] => {
                    check_line(bytes.get(line..end).unwrap_or_default(), line)?;
                    (line, seen) = (end + 2, end + 2);
                }
                [] | [b'\r'] if bytes.len() == HEAD_MAX => return Err(Fault::HeadTooLarge),
                [] | [b'\r'] => {
                    self.state = State::Head { line, seen: end };
                    return Ok(Found::Incomplete);
                }
                _ => return Err(Fault::BareLineEnd),
            }
        }
    }

    fn end_head(&mut self, head: &[u8]) -> Result<Found, Fault> {
        let declared = content_length(head)?;
        let body = match declared {
            Some(Some(length)) if length <= self.body_max => length,
            Some(_) => return Err(Fault::BodyTooLarge { head: head.len() }),
            None => 0,
        };
        self.state = match body {
            0 => State::Between,
            rest => State::Body { rest },
        };
        Ok(Found::Head {
            length: head.len(),
            body,
            is_declared: declared.is_some(),
        })
    }

    fn body(&mut self, bytes: &[u8], rest: u64) -> Found {
        let length = usize::try_from(rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
        if length == 0 {
            return Found::Incomplete;
        }
        let rest = rest.saturating_sub(length as u64);
        let is_last = rest == 0;
        self.state = if is_last {
            State::Between
        } else {
            State::Body { rest }
        };
        Found::Body { length, is_last }
    }
}

/// A line of a head that begins at `place` within it.
fn check_line(line: &[u8], place: usize) -> Result<(), Fault> {
    if place == 0 {
        let (_, last) = last_word(line);
        let is_start = Start::is_version(line) || Start::is_version(last);
        return if is_start {
            Ok(())
        } else {
            Err(Fault::NoStartLine)
        };
    }
    // The first header continues nothing, but for the start line, which has no folds.
    let continues = line.starts_with(b" ") || line.starts_with(b"\t");
    if continues || line.contains(&b':') {
        Ok(())
    } else {
        Err(Fault::NoHeader)
    }
}

/// What the head says of its body; the inner `None`: more than can be counted.
fn content_length(head: &[u8]) -> Result<Option<Option<u64>>, Fault> {
    let lines = headers_of(head);
    if matches!(lines.first(), Some(b' ' | b'\t')) {
        return Err(Fault::NoHeader);
    }
    let mut known = None;
    for header in Headers::new(lines).filter(|header| header.name == Name::ContentLength) {
        let length = number(header.value).ok_or(Fault::BadLength)?;
        if known.is_some_and(|known| known != length) {
            return Err(Fault::ConflictingLengths);
        }
        known = Some(length);
    }
    Ok(known)
}
