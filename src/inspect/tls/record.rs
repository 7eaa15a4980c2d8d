//! The record layer of one direction: bytes in any pieces → payload in pieces.

/// Record types.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
const HEARTBEAT: u8 = 24;

/// Something that TLS does not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTls;

/// A record's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) length: usize,
}

impl Header {
    pub(super) const SIZE: usize = 5;

    /// The header at the beginning of `bytes`; `None` where it is cut short but right so far.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, NotTls> {
        let (kind, major, minor) = match bytes {
            [] => return Ok(None),
            [kind, major, minor, ..] => (kind, *major, *minor),
            [kind, major] => (kind, *major, 0),
            [kind] => (kind, 3, 0),
        };
        if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(kind) || major != 3 || minor > 4 {
            return Err(NotTls);
        }
        let [_, _, _, high, low, ..] = bytes else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > RECORD_MAX {
            return Err(NotTls);
        }
        Ok(Some(Self {
            kind: *kind,
            length,
        }))
    }
}

/// Where one direction stands between two records, or within one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Records {
    header: [u8; Header::SIZE],
    filled: usize,
    kind: u8,
    remaining: usize,
}

/// A piece of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl Records {
    /// Takes one piece of a record off the front of `bytes`; `None` when they are used up.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, NotTls> {
        if self.remaining == 0 {
            // A header that was taken whole stays until the next byte, which begins another.
            if self.filled == Header::SIZE && !bytes.is_empty() {
                self.filled = 0;
            }
            let missing = (Header::SIZE - self.filled).min(bytes.len());
            let (begin, rest) = bytes.split_at(missing);
            if let Some(place) = self.header.get_mut(self.filled..self.filled + missing) {
                place.copy_from_slice(begin);
            }
            self.filled += missing;
            *bytes = rest;
            let Some(header) = Header::parse(self.header.get(..self.filled).unwrap_or_default())?
            else {
                return Ok(None);
            };
            if missing == 0 {
                return Ok(None);
            }
            (self.kind, self.remaining) = (header.kind, header.length);
            return Ok(Some(Piece {
                kind: self.kind,
                payload: &[],
            }));
        }
        let count = self.remaining.min(bytes.len());
        if count == 0 {
            return Ok(None);
        }
        let (payload, rest) = bytes.split_at(count);
        self.remaining -= count;
        *bytes = rest;
        Ok(Some(Piece {
            kind: self.kind,
            payload,
        }))
    }
}

/// A ciphertext may be larger than its plaintext by this much (RFC 5246 section 6.2.3).
const RECORD_MAX: usize = 16 * 1024 + 2048;
