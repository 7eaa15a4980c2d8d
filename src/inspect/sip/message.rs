//! The head of a message, read where it lies.

use super::header::{Header, Headers, Name};
use super::party::{Party, Via};
use super::text::{last_word, number, token, trim, word};

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// `INVITE sip:bob@example.com SIP/2.0`
    Request {
        /// What is wanted; case matters.
        method: &'a str,
        /// Of whom. Not verified, and whatever stands between method and version.
        uri: &'a [u8],
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// 100 to 699.
        code: u16,
        /// In any language, perhaps empty.
        reason: &'a [u8],
    },
}

impl<'a> Start<'a> {
    /// Whether `bytes` begin as a version does: `SIP/2.0`, or whatever its number is.
    pub(super) fn is_version(bytes: &[u8]) -> bool {
        bytes.split_at_checked(4).is_some_and(|(name, number)| {
            name.eq_ignore_ascii_case(b"SIP/") && number.first().is_some_and(u8::is_ascii_digit)
        })
    }

    fn read(line: &'a [u8]) -> Option<Self> {
        if Self::is_version(line) {
            let (_, rest) = word(line);
            let (code, reason) = word(rest);
            let code = number(code).filter(|_| code.len() == 3)??;
            let code = u16::try_from(code)
                .ok()
                .filter(|code| (100..700).contains(code))?;
            return Some(Self::Response { code, reason });
        }
        let (method, rest) = word(line);
        let (uri, version) = last_word(rest);
        let method = token(method).filter(|_| Self::is_version(version) && !uri.is_empty())?;
        Some(Self::Request { method, uri })
    }
}

/// Which request, and of what kind: RFC 3261, section 20.16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Counts requests of a dialog.
    pub number: u32,
    /// The method of the request, in responses too.
    pub method: &'a str,
}

/// A head. It borrows the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its first line.
    pub start: Start<'a>,
    lines: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a head as [`super::Framer`] finds it; `None` where its first line is not what it seemed, such as a
    /// response with a code that is none.
    #[must_use]
    pub fn read(head: &'a [u8]) -> Option<Self> {
        let lines = headers_of(head);
        let line = head
            .get(..head.len().saturating_sub(lines.len()))
            .unwrap_or_default();
        Some(Self {
            start: Start::read(trim(line))?,
            lines,
        })
    }

    /// Its method, if it is a request.
    #[must_use]
    pub const fn method(&self) -> Option<&'a str> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// Its code, if it is a response.
    #[must_use]
    pub const fn code(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(code),
        }
    }

    /// All headers, in order.
    #[must_use]
    pub const fn headers(&self) -> Headers<'a> {
        Headers::new(self.lines)
    }

    /// The values of every header of this name, in order.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let is_it = move |header: &Header<'a>| header.name == name;
        self.headers().filter(is_it).map(|header| header.value)
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The topmost Via: where a response goes, and by what its request is known.
    #[must_use]
    pub fn via(&self) -> Option<Via<'a>> {
        self.value(Name::Via).map(Via::top)
    }

    /// Who it is from.
    #[must_use]
    pub fn from(&self) -> Option<Party<'a>> {
        self.value(Name::From).map(Party::read)
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> Option<Party<'a>> {
        self.value(Name::To).map(Party::read)
    }

    /// What it belongs to; compared byte by byte.
    #[must_use]
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.value(Name::CallId).filter(|value| !value.is_empty())
    }

    /// Which request; `None` where the number is none.
    #[must_use]
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        let (number_written, method) = word(self.value(Name::CSeq)?);
        let number = u32::try_from(number(number_written)??).ok()?;
        let method = token(method)?;
        Some(CSeq { number, method })
    }

    /// Over how many hops it may still go; `None` where that is no number.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        u32::try_from(number(self.value(Name::MaxForwards)?)??).ok()
    }

    /// Whether it offers to compress what follows on this connection: the request NEGOTIATE of `[MS-SIPCOMP]`,
    /// section 4.1.
    #[must_use]
    pub fn offers_compression(&self) -> bool {
        let is_offer = |value: &[u8]| !value.is_empty() && !value.eq_ignore_ascii_case(b"none");
        self.method() == Some("NEGOTIATE") && self.values(Name::Compression).any(is_offer)
    }

    /// Whether it agrees to do so: then what follows on this connection is no SIP that anybody else reads.
    #[must_use]
    pub fn accepts_compression(&self) -> bool {
        let is_agreed = |value: &[u8]| !value.is_empty() && !value.eq_ignore_ascii_case(b"none");
        let is_answer = || self.cseq().is_some_and(|cseq| cseq.method == "NEGOTIATE");
        matches!(self.code(), Some(200..300))
            && is_answer()
            && self.values(Name::Compression).any(is_agreed)
    }
}

/// What follows the start line.
pub(super) fn headers_of(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| *byte == b'\n');
    head.get(end.map_or(head.len(), |end| end + 1)..)
        .unwrap_or_default()
}
