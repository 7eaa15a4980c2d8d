//! Handshake messages of one direction: payload in pieces → whole messages, of those worth reading.

use super::hello::{CLIENT_HELLO, HELLO_MAX};

pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_HELLO_DONE: u8 = 14;

/// The largest message of certificates that is read: chains of public authorities have 3 to 8 KiB.
const CERTIFICATE_MAX: usize = 32 * 1024;

/// A message, as far as anybody wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Whole, without its header.
    Whole(u8, Vec<u8>),
    /// Of a type that nobody reads; only its beginning is told.
    Begun(u8),
    /// Larger than any that makes sense.
    TooLarge(u8),
}

/// Where one direction stands in a message.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: [u8; 4],
    filled: usize,
    remaining: usize,
    is_kept: bool,
    kept: Vec<u8>,
}

impl Messages {
    /// Takes payload off the front of `bytes` until a message is told; `None` when it is used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        loop {
            if self.filled < self.header.len() {
                let missing = (self.header.len() - self.filled).min(bytes.len());
                let (begin, rest) = bytes.split_at(missing);
                self.header
                    .get_mut(self.filled..self.filled + missing)?
                    .copy_from_slice(begin);
                self.filled += missing;
                *bytes = rest;
                if self.filled < self.header.len() {
                    return None;
                }
                if let Some(message) = self.begin() {
                    return Some(message);
                }
            }
            let count = self.remaining.min(bytes.len());
            let (part, rest) = bytes.split_at(count);
            if self.is_kept {
                self.kept.extend_from_slice(part);
            }
            self.remaining -= count;
            *bytes = rest;
            if self.remaining > 0 {
                return None;
            }
            self.filled = 0;
            if self.is_kept {
                self.is_kept = false;
                return Some(Message::Whole(
                    self.header[0],
                    std::mem::take(&mut self.kept),
                ));
            }
        }
    }

    /// The header is whole: whether the message is kept.
    fn begin(&mut self) -> Option<Message> {
        let [kind, high, middle, low] = self.header;
        self.remaining = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let max = match kind {
            CLIENT_HELLO | SERVER_HELLO => HELLO_MAX,
            CERTIFICATE => CERTIFICATE_MAX,
            _ => return Some(Message::Begun(kind)),
        };
        if self.remaining > max {
            return Some(Message::TooLarge(kind));
        }
        self.is_kept = true;
        None
    }

    /// Lets go of what was kept.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
impl Messages {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}
