//! Taking all that one file holds to another, a little at a time.

use std::ops::Bound;

use redb::ReadableDatabase;

use super::{BOOKS, Batch, META, PINS, StateFile, Unusable, guarded};

/// Which of two files it was.
#[derive(Debug)]
pub(in crate::store) enum Failure {
    /// The one that is read.
    Old(Unusable),
    /// The one that is written.
    New(Unusable),
}

/// Where the next part begins.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Begin,
    AfterPin(Vec<u8>),
    AfterPage(String, String),
}

impl StateFile {
    /// Writes all that `old` holds into this one, which holds nothing. By half where it fails: it is to be
    /// used only afterwards.
    pub(in crate::store) fn take_over(&self, old: &Self) -> Result<(), Failure> {
        let mut place = Some(Place::Begin);
        while let Some(from) = place {
            let read = guarded(|| old.part(&from)).map_err(Failure::Old)?;
            let (batch, covers) = (read.batch, read.covers);
            guarded(|| self.commit(&batch, covers)).map_err(Failure::New)?;
            place = read.next;
        }
        Ok(())
    }

    /// What the file holds from `from` on, as far as it fits into one transaction.
    fn part(&self, from: &Place) -> Result<Part, Unusable> {
        let transaction = self.0.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |name| -> Result<u64, Unusable> {
            Ok(meta.get(name)?.map_or(0, |value| value.value()))
        };
        let mut part = Part {
            covers: number("journal")?,
            ..Part::default()
        };
        part.batch.lived = number("lived")?;
        let mut room = PART_BYTES;
        let after = match from {
            Place::Begin => Some(Bound::Unbounded),
            Place::AfterPin(last) => Some(Bound::Excluded(&**last)),
            Place::AfterPage(..) => None,
        };
        if let Some(after) = after {
            let pins = transaction.open_table(PINS)?;
            for row in pins.range::<&[u8]>((after, Bound::Unbounded))? {
                let (key, value) = row?;
                let (key, value) = (key.value().to_vec(), value.value().to_vec());
                room = room.saturating_sub(key.len() + value.len());
                part.batch.pins.insert(key.clone(), Some(value));
                if room == 0 {
                    part.next = Some(Place::AfterPin(key));
                    return Ok(part);
                }
            }
        }
        let after = match from {
            Place::AfterPage(book, page) => Bound::Excluded((&**book, &**page)),
            Place::Begin | Place::AfterPin(_) => Bound::Unbounded,
        };
        let books = transaction.open_table(BOOKS)?;
        for row in books.range::<(&str, &str)>((after, Bound::Unbounded))? {
            let (key, value) = row?;
            let (book, page) = key.value();
            let (book, page, value) = (book.to_owned(), page.to_owned(), value.value().to_vec());
            room = room.saturating_sub(book.len() + page.len() + value.len());
            let name = (book.clone().into(), page.clone());
            part.batch.pages.insert(name, Some(value));
            if room == 0 {
                part.next = Some(Place::AfterPage(book, page));
                return Ok(part);
            }
        }
        Ok(part)
    }
}

/// Some of what a file holds.
#[derive(Debug, Default)]
struct Part {
    batch: Batch,
    covers: u64,
    /// Nothing where this is the last.
    next: Option<Place>,
}

/// Keys and values of one transaction.
const PART_BYTES: usize = 1 << 20;
