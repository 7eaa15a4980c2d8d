//! The headers of a head, one after the other, each with its folds: RFC 3261, section 7.3.

use super::text::trim;

/// Headers that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `Via`, `v`.
    Via,
    /// `From`, `f`.
    From,
    /// `To`, `t`.
    To,
    /// `Call-ID`, `i`.
    CallId,
    /// `CSeq`.
    CSeq,
    /// `Max-Forwards`.
    MaxForwards,
    /// `Content-Length`, `l`.
    ContentLength,
    /// `Record-Route`.
    RecordRoute,
    /// `Compression`, of `[MS-SIPCOMP]`.
    Compression,
    /// Any other.
    Other,
}

impl Name {
    const ALL: [(Self, &'static str, &'static str); 9] = [
        (Self::Via, "Via", "v"),
        (Self::From, "From", "f"),
        (Self::To, "To", "t"),
        (Self::CallId, "Call-ID", "i"),
        (Self::CSeq, "CSeq", ""),
        (Self::MaxForwards, "Max-Forwards", ""),
        (Self::ContentLength, "Content-Length", "l"),
        (Self::RecordRoute, "Record-Route", ""),
        (Self::Compression, "Compression", ""),
    ];

    /// Which header is called `name`, in full or in its compact form; case says nothing.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let is_it = |own: &str| !own.is_empty() && name.eq_ignore_ascii_case(own.as_bytes());
        let found = Self::ALL
            .iter()
            .find(|(_, full, compact)| is_it(full) || is_it(compact));
        found.map_or(Self::Other, |(name, ..)| *name)
    }
}

/// One header. It borrows the head it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which.
    pub name: Name,
    /// As it is written, without the space before the colon.
    pub written: &'a [u8],
    /// Without the space around it; folds within are still there.
    pub value: &'a [u8],
}

/// Walks through the headers of a head. Lines that are none are passed over.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Of what follows the start line.
    pub(super) const fn new(lines: &'a [u8]) -> Self {
        Self { rest: lines }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        while !self.rest.is_empty() {
            let (header, rest) = self.rest.split_at(end_of_header(self.rest));
            self.rest = rest;
            if let Some(colon) = header.iter().position(|byte| *byte == b':') {
                let (written, value) = header.split_at(colon);
                let written = trim(written);
                return Some(Header {
                    name: Name::of(written),
                    written,
                    value: trim(value.get(1..).unwrap_or_default()),
                });
            }
        }
        None
    }
}

/// Where the next header begins: behind the first line end that whitespace does not follow.
fn end_of_header(bytes: &[u8]) -> usize {
    let is_end = |pair: &[u8]| matches!(pair, [b'\n', next] if !matches!(next, b' ' | b'\t'));
    let end = bytes.windows(2).position(is_end);
    end.map_or(bytes.len(), |end| end + 1)
}
