//! A segment of the journal as bytes.
//!
//! ```text
//! segment  magic (8) · format (u32) · number (u64) · what it follows: number (u64), length (u64)
//!          · checksum of these (u64) · entries
//! entry    length of the body (u32) · checksum of the body (u64) · body
//! body     are all pins (0 or 1) · lived (u64) · records
//! record   kind (1) · fields, each a length (u32) and bytes
//! ```
//!
//! Integers are little-endian. Checksums are SipHash-1-3 keyed by the segment's number and the place in
//! it, so that what another segment left on the same blocks is no entry. An entry is there wholly or not
//! at all: the first that is not as it was written ends the segment. What comes later than something that
//! never reached the disk may have reached it: so a segment names the one that it follows, and how much of
//! it must be there. Pure, and total: any bytes make a segment or an error; memory is bounded by their length.

use siphasher::sip::SipHasher13;

pub use super::batch::{Batch, Name, Pages};

/// A place in the journal: what stands before it in this segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Of the segment; 0 is none.
    pub number: u64,
    /// Bytes of it.
    pub length: u64,
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// What must be there as well, in the database or before this one, for it to be of any use.
    pub follows: End,
    /// Its entries in their order.
    pub batches: Vec<Batch>,
    /// Bytes that were read; what follows is torn or damaged.
    pub intact: usize,
}

/// Why nothing in a file can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Something else, or damaged at its very beginning.
    #[error("damaged: its beginning is not that of a journal with this number")]
    Foreign,
    /// A later version of Pinfold has written it.
    #[error("written by a later version (format {0}, and this one knows {FORMAT})")]
    Newer(u32),
}

/// The beginning of a segment.
#[must_use]
pub fn header(number: u64, follows: End) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    for integer in [number, follows.number, follows.length] {
        bytes.extend(integer.to_le_bytes());
    }
    let sum = checksum(number, 0, &bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The entry that stands at `offset` of segment `number`; `None` where it is too long for one, 4 GiB.
#[must_use]
pub fn entry(number: u64, offset: u64, batch: &Batch) -> Option<Vec<u8>> {
    let mut bytes = vec![0; ENTRY_HEAD];
    write_body(&mut bytes, batch)?;
    let (head, body) = bytes.split_at_mut(ENTRY_HEAD);
    let length = u32::try_from(body.len()).ok()?;
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum(number, offset, body).to_le_bytes());
    Some(bytes)
}

/// Reads the segment `number`. One that is empty, or whose beginning never reached the disk, holds nothing.
///
/// # Errors
///
/// It is no such segment, or of a later format.
pub fn read(number: u64, bytes: &[u8]) -> Result<Segment, Unreadable> {
    let Some((head, _)) = bytes.split_at_checked(HEADER) else {
        return Ok(Segment::default());
    };
    if head.iter().all(|byte| *byte == 0) {
        return Ok(Segment::default());
    }
    let mut segment = Segment {
        follows: read_header(number, head)?,
        intact: HEADER,
        ..Segment::default()
    };
    while let Some((batch, length)) = read_entry(number, segment.intact, bytes) {
        segment.batches.push(batch);
        segment.intact += length;
    }
    Ok(segment)
}

/// Reads the body of an entry; `None` where it is none.
#[must_use]
pub fn read_body(body: &[u8]) -> Option<Batch> {
    let mut rest = body;
    let mut batch = Batch {
        are_all_pins: match take(&mut rest, 1)?[0] {
            0 => false,
            1 => true,
            _ => return None,
        },
        lived: u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
        ..Batch::default()
    };
    while let [kind, fields @ ..] = rest {
        rest = fields;
        match *kind {
            PIN_GONE => drop(batch.pins.insert(field(&mut rest)?, None)),
            PIN => {
                let key = field(&mut rest)?;
                batch.pins.insert(key, Some(field(&mut rest)?));
            }
            PAGE_GONE => {
                let name = name(&mut rest)?;
                batch.pages.insert(name, None);
            }
            PAGE => {
                let name = name(&mut rest)?;
                batch.pages.insert(name, Some(field(&mut rest)?));
            }
            _ => return None,
        }
    }
    Some(batch)
}

/// Writes the body of an entry; `None` where a field is too long.
#[must_use]
pub fn body(batch: &Batch) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    write_body(&mut bytes, batch)?;
    Some(bytes)
}

fn write_body(bytes: &mut Vec<u8>, batch: &Batch) -> Option<()> {
    bytes.push(batch.are_all_pins.into());
    bytes.extend(batch.lived.to_le_bytes());
    for (key, value) in &batch.pins {
        bytes.push(if value.is_some() { PIN } else { PIN_GONE });
        put(bytes, key)?;
        value
            .as_deref()
            .map_or(Some(()), |value| put(bytes, value))?;
    }
    for ((book, page), value) in &batch.pages {
        bytes.push(if value.is_some() { PAGE } else { PAGE_GONE });
        put(bytes, book.as_bytes())?;
        put(bytes, page.as_bytes())?;
        value
            .as_deref()
            .map_or(Some(()), |value| put(bytes, value))?;
    }
    Some(())
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    bytes.extend(u32::try_from(field.len()).ok()?.to_le_bytes());
    bytes.extend(field);
    Some(())
}

fn read_header(number: u64, head: &[u8]) -> Result<End, Unreadable> {
    let mut rest = head;
    if take(&mut rest, MAGIC.len()) != Some(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    let format = take(&mut rest, 4).and_then(|bytes| bytes.try_into().ok());
    match format.map(u32::from_le_bytes) {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => return Err(Unreadable::Newer(newer)),
        _ => return Err(Unreadable::Foreign),
    }
    let mut integer = || {
        let bytes = take(&mut rest, 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (_, follows, length) = (integer(), integer(), integer());
    let follows = End {
        number: follows.ok_or(Unreadable::Foreign)?,
        length: length.ok_or(Unreadable::Foreign)?,
    };
    if head != header(number, follows) {
        return Err(Unreadable::Foreign);
    }
    Ok(follows)
}

/// The entry at `offset` and its length.
fn read_entry(number: u64, offset: usize, bytes: &[u8]) -> Option<(Batch, usize)> {
    let mut rest = bytes.get(offset..)?;
    let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let sum = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
    let body = take(&mut rest, usize::try_from(length).ok()?)?;
    if checksum(number, u64::try_from(offset).ok()?, body) != sum {
        return None;
    }
    Some((read_body(body)?, ENTRY_HEAD + body.len()))
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn field(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, usize::try_from(length).ok()?).map(Into::into)
}

fn name(rest: &mut &[u8]) -> Option<Name> {
    let book = String::from_utf8(field(rest)?).ok()?;
    Some((book.into(), String::from_utf8(field(rest)?).ok()?))
}

fn checksum(number: u64, offset: u64, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(number, offset).hash(bytes)
}

const MAGIC: &[u8] = b"pinfoldJ";
const FORMAT: u32 = 2;
/// Bytes before the first entry.
pub const HEADER: usize = 44;
const ENTRY_HEAD: usize = 12;
const PIN_GONE: u8 = 0;
const PIN: u8 = 1;
const PAGE_GONE: u8 = 2;
const PAGE: u8 = 3;

#[cfg(test)]
pub(super) mod tests;
