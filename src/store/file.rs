//! The one file: what is in it, how it is opened, checked and written.
//!
//! Knows redb, and nothing of who asks. Every call may panic, where the file is not what redb has
//! written: callers go through [`guarded`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend};
use redb::{TableDefinition, TableError, WriteTransaction};

pub(super) use self::copy::Failure;
pub(super) use self::unusable::Unusable;
use super::batch::{Batch, Name};
use crate::telemetry::panics;

mod copy;
mod unusable;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const PINS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pins");
/// Names of books and of the pages in them.
const BOOKS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("books");

/// Of the tables and of what is in them. A version that reads what the one before it wrote needs no
/// other number.
const VERSION: u64 = 1;
/// What is written is seldom read again before the next start, and the system has it in its own cache: more
/// makes no commit quicker, and is memory that is never given back.
const CACHE_BYTES: usize = 64 << 10;

/// Key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);
/// Names of the book and the page, and the value.
pub(super) type Page = (String, String, Vec<u8>);

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) pins: Vec<Row>,
    pub(super) pages: Vec<Page>,
    /// Microseconds that instances have lived.
    pub(super) lived: u64,
    /// The highest number of a journal's segment that is in it.
    pub(super) covers: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct StateFile(Database);

impl Rows {
    /// Adds what a journal has kept.
    pub(super) fn add(&mut self, batch: &Batch) {
        let mut all = Batch::default();
        let pins = std::mem::take(&mut self.pins).into_iter();
        all.pins = pins.map(|(key, value)| (key, Some(value))).collect();
        let pages = std::mem::take(&mut self.pages).into_iter();
        let page = |(book, page, value): Page| ((book.into(), page), Some(value));
        all.pages = pages.map(page).collect();
        all.lived = self.lived;
        all.merge(batch.clone());
        let pins = all.pins.into_iter();
        self.pins = pins
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let pages = all.pages.into_iter();
        let page = |((book, page), value): (Name, Option<Vec<u8>>)| {
            Some((book.into_owned(), page, value?))
        };
        self.pages = pages.filter_map(page).collect();
        self.lived = all.lived;
    }
}

impl StateFile {
    /// Opens the file, makes it where there is none, and reads it.
    pub(super) fn open(path: &Path) -> Result<(Self, Rows), Unusable> {
        builder().create(path).map_err(Into::into).and_then(checked)
    }

    /// As [`open`](Self::open), on any storage.
    pub(super) fn open_with(backend: impl StorageBackend) -> Result<(Self, Rows), Unusable> {
        builder()
            .create_with_backend(backend)
            .map_err(Into::into)
            .and_then(checked)
    }

    /// Reads a file that cannot be written to: a copy of it in memory can.
    pub(super) fn read_only(path: &Path) -> Result<Rows, Unusable> {
        let bytes = std::fs::read(path).map_err(|error| Unusable::Disk(error.to_string()))?;
        let memory = InMemoryBackend::new();
        let length = bytes.len() as u64;
        let copied = memory
            .set_len(length)
            .and_then(|()| memory.write(0, &bytes));
        copied.map_err(|error| Unusable::Disk(error.to_string()))?;
        Self::open_with(memory).map(|(_, rows)| rows)
    }

    /// Writes all of it, or nothing, and with it that the journal's segments up to `covers` are in it;
    /// durable on return.
    pub(super) fn commit(&self, batch: &Batch, covers: u64) -> Result<(), Unusable> {
        let transaction = self.0.begin_write()?;
        write(&transaction, batch, covers)?;
        transaction.commit()?;
        Ok(())
    }
}

/// Runs `work`, which touches the file. A panic is damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    let panicked = |payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(Unusable::Damaged(
            text.unwrap_or("it cannot be understood").into(),
        ))
    };
    panics::expected(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(panicked)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Every page's checksum, each time: a file that passes is safe to use, and a full one takes a
    // fraction of a second.
    builder.set_check_integrity_on_open(true);
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn checked(database: Database) -> Result<(StateFile, Rows), Unusable> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        // A new file, or one whose first commit did not come about.
        Err(TableError::TableDoesNotExist(_)) => {
            drop(transaction);
            let file = StateFile(database);
            file.commit(&Batch::default(), 0)?;
            return Ok((file, Rows::default()));
        }
        Err(error) => return Err(error.into()),
    };
    let number =
        |name| -> Result<Option<u64>, Unusable> { Ok(meta.get(name)?.map(|value| value.value())) };
    match number("version")? {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => return Err(Unusable::Newer(newer)),
        other => return Err(Unusable::Damaged(format!("its version is {other:?}"))),
    }
    let mut rows = Rows {
        lived: number("lived")?.unwrap_or(0),
        covers: number("journal")?.unwrap_or(0),
        ..Rows::default()
    };
    for row in transaction.open_table(PINS)?.iter()? {
        let (key, value) = row?;
        rows.pins.push((key.value().into(), value.value().into()));
    }
    for row in transaction.open_table(BOOKS)?.iter()? {
        let (key, value) = row?;
        let (book, page) = key.value();
        rows.pages
            .push((book.into(), page.into(), value.value().into()));
    }
    drop((meta, transaction));
    Ok((StateFile(database), rows))
}

fn write(transaction: &WriteTransaction, batch: &Batch, covers: u64) -> Result<(), Unusable> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("version", VERSION)?;
    meta.insert("lived", batch.lived)?;
    meta.insert("journal", covers)?;
    let mut pins = transaction.open_table(PINS)?;
    if batch.are_all_pins {
        pins.retain(|_, _| false)?;
    }
    for (key, value) in &batch.pins {
        match value {
            Some(value) => drop(pins.insert(&**key, &**value)?),
            None => drop(pins.remove(&**key)?),
        }
    }
    let mut books = transaction.open_table(BOOKS)?;
    for ((book, page), value) in &batch.pages {
        let key = (&**book, &**page);
        match value {
            Some(value) => drop(books.insert(key, &**value)?),
            None => drop(books.remove(key)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
