//! STUN and TURN messages, as far as a balancer needs them: whose answer is this, and where does it send the client?
//!
//! Two dialects share their codes. RFC 8489 has its cookie in the header and attributes that begin at multiples of
//! four bytes; `[MS-TURN]` (sections 2.2.1 and 2.2.2), which Edge Servers of every version speak, has a transaction of
//! sixteen bytes, the cookie in the first attribute, and attributes one right after the other. Nothing is verified: a
//! message integrity is between the client and its node. Whatever is relayed is relayed as it came.

use std::net::SocketAddr;

use self::attribute::Attributes;

mod attribute;
mod question;

pub use question::{ASKED_MAX, allocate};

/// Bytes of a header, in both dialects.
pub const HEADER: usize = 20;
/// RFC 8489, section 5.
const COOKIE: u32 = 0x2112_A442;
/// The value of the first attribute in `[MS-TURN]`, section 2.2.2.
const MS_COOKIE: u32 = 0x72C6_4BC6;

/// Which rules a message goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 8489 and RFC 8656.
    Rfc,
    /// `[MS-TURN]`.
    Microsoft,
}

/// RFC 8489, section 5: the class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It wants an answer.
    Request,
    /// It wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad one.
    Error,
}

/// The methods that mean something here; RFC 8489, section 18.2, and RFC 8656, section 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Who am I, seen from there?
    Binding,
    /// A relayed address is wanted.
    Allocate,
    /// Any other.
    Other(u16),
}

/// What tells an answer from the answers to other requests: the cookie of RFC 8489 is a part of it here.
pub type Transaction = [u8; 16];

/// One message. It borrows the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which rules it goes by.
    pub dialect: Dialect,
    /// What it is.
    pub class: Class,
    /// What it is about.
    pub method: Method,
    /// Which request it belongs to.
    pub transaction: Transaction,
    attributes: Attributes<'a>,
}

impl<'a> Message<'a> {
    /// Reads a message that fills `datagram` to its last byte; `None` where that is anything else, such as media or
    /// channel data.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let (header, body) = datagram.split_first_chunk::<HEADER>()?;
        let [k0, k1, l0, l1, transaction @ ..] = *header;
        let kind = u16::from_be_bytes([k0, k1]);
        let is_whole = usize::from(u16::from_be_bytes([l0, l1])) == body.len();
        if kind >= 0x4000 || !is_whole {
            return None;
        }
        let dialect = Dialect::of(&transaction, body)?;
        Some(Self {
            dialect,
            class: Class::of(kind),
            method: Method::of(kind),
            transaction,
            attributes: Attributes::new(body, dialect),
        })
    }

    /// The code of an error, 300 to 699: RFC 8489, section 14.8.
    #[must_use]
    pub fn error(&self) -> Option<u16> {
        let value = self.attributes.find(attribute::ERROR_CODE)?;
        let [_, _, hundreds, rest, ..] = *value else {
            return None;
        };
        let (hundreds, rest) = (u16::from(hundreds & 7), u16::from(rest));
        ((3..=6).contains(&hundreds) && rest < 100).then_some(hundreds * 100 + rest)
    }

    /// Where the client is to go on: RFC 8489, section 14.15; `[MS-TURN]`, section 2.2.2.7.
    #[must_use]
    pub fn alternate_server(&self) -> Option<SocketAddr> {
        let kind = attribute::alternate_server(self.dialect);
        attribute::address(self.attributes.find(kind)?)
    }

    /// Whether this answer ends what the client has to do with a virtual address: it is told to prove who it is,
    /// and where. Over UDP it goes on there: `[MS-TURN]`, section 2.2.2.7.
    #[must_use]
    pub fn sends_away(&self) -> bool {
        self.class == Class::Error
            && self.method == Method::Allocate
            && matches!(self.error(), Some(401 | 300))
            && self.alternate_server().is_some()
    }
}

impl Dialect {
    fn of(transaction: &Transaction, body: &[u8]) -> Option<Self> {
        if transaction.starts_with(&COOKIE.to_be_bytes()) && body.len().is_multiple_of(4) {
            return Some(Self::Rfc);
        }
        let first = Attributes::new(body, Self::Microsoft).next()?;
        (first == (attribute::MAGIC_COOKIE, &MS_COOKIE.to_be_bytes())).then_some(Self::Microsoft)
    }

    /// What an attribute of `length` bytes takes beyond its own.
    const fn padding(self, length: usize) -> usize {
        match self {
            Self::Rfc => length.wrapping_neg() & 3,
            Self::Microsoft => 0,
        }
    }
}

impl Class {
    const fn of(kind: u16) -> Self {
        match kind & 0x0110 {
            0 => Self::Request,
            0x0010 => Self::Indication,
            0x0100 => Self::Success,
            _ => Self::Error,
        }
    }
}

impl Method {
    /// The bits of the method stand around those of the class: RFC 8489, figure 3.
    const fn of(kind: u16) -> Self {
        match (kind & 0x000f) | ((kind & 0x00e0) >> 1) | ((kind & 0x3e00) >> 2) {
            1 => Self::Binding,
            3 => Self::Allocate,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests;
