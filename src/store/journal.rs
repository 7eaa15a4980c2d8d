//! What is not in the database yet, where a kill cannot reach it.
//!
//! Owns the segments and their numbers. Numbers only grow; each commit of the database writes down the
//! highest that it covers, so that a segment that could not be removed, or that a power failure brought
//! back, is never replayed over what is newer. An entry is written by one `write(2)` and never synced:
//! what is in the page cache outlives the process, and power is the database's matter.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::condition::{Part, Patience, Shared};
use super::segment;
use super::shelf::Shelf;

pub(super) struct Journal {
    shelf: Arc<dyn Shelf>,
    shared: Arc<Shared>,
    /// What is written to.
    current: Option<Current>,
    /// Segments that hold what no commit covers yet.
    kept: BTreeSet<u64>,
    /// The highest number that was given, or is covered.
    last: u64,
    /// The last entry could not be written.
    is_in_trouble: bool,
    /// The commit under way has what could not be written here: until it has ended nothing that comes
    /// later may be here, or a kill would take from the middle.
    has_gap: bool,
    patience: Patience,
}

struct Current {
    number: u64,
    file: Box<dyn Write + Send>,
    length: u64,
}

impl Journal {
    /// Reads the segments that a database which covers `covered` has not. One that cannot be used is set
    /// aside, and an end that is torn is left out.
    pub(super) fn open(
        shelf: Arc<dyn Shelf>,
        shared: Arc<Shared>,
        covered: u64,
    ) -> (Self, Option<Batch>) {
        let mut journal = Self {
            shelf,
            shared,
            current: None,
            kept: BTreeSet::new(),
            last: covered,
            is_in_trouble: false,
            has_gap: false,
            patience: Patience::new(),
        };
        // Where there is no directory the database has its say about it.
        let numbers = journal.shelf.numbers().unwrap_or_default();
        let mut found = None;
        for number in numbers {
            journal.last = journal.last.max(number);
            if number <= covered {
                let _ = journal.shelf.remove(number);
            } else if let Some(batches) = journal.replay(number) {
                journal.kept.insert(number);
                for batch in batches {
                    found.get_or_insert_with(Batch::default).merge(batch);
                }
            }
        }
        // An empty one goes with the next commit.
        let has_some = !journal.kept.is_empty();
        (journal, found.or_else(|| has_some.then(Batch::default)))
    }

    fn replay(&mut self, number: u64) -> Option<Vec<Batch>> {
        let path = self.shelf.path(number);
        let bytes = self.shelf.read(number).map_err(|error| error.to_string());
        let segment = bytes.and_then(|bytes| {
            let read = segment::read(number, &bytes);
            let read = read.map_err(|error| error.to_string())?;
            Ok((bytes.len() - read.intact, read.batches))
        });
        match segment {
            Ok((torn, batches)) => {
                if torn > 0 {
                    tracing::warn!(
                        file = %path.display(), bytes = torn,
                        "state-unreadable: the end of a journal is dropped"
                    );
                }
                Some(batches)
            }
            Err(why) => {
                match self.shelf.set_aside(number) {
                    Ok(aside) => self.shared.is_set_aside(&path, aside, &why),
                    Err(error) => self.fails(number, &error),
                }
                None
            }
        }
    }

    /// Whether the next entry is to be all that waits: where the segments are to be replaced by a shorter one,
    /// or the last entry could not be written.
    pub(super) fn begins_anew(&self, batch: &Batch) -> bool {
        batch.are_all_pins || self.is_in_trouble || self.kept.len() >= SEGMENTS_MAX
    }

    /// Writes `batch`; where it [begins anew](Self::begins_anew) to a segment that replaces all others, save
    /// what a commit that is under way covers, up to `busy`.
    pub(super) fn append(&mut self, batch: &Batch, is_anew: bool, busy: Option<u64>) {
        if self.has_gap || (self.is_in_trouble && Instant::now() < self.patience.next_try) {
            return;
        }
        if is_anew {
            self.current = None;
        }
        match self.write(batch) {
            Ok(()) => {
                if is_anew {
                    self.drop_before_current(busy);
                }
                self.is_in_trouble = false;
                self.patience.succeeds();
                self.shared
                    .succeeds(Part::Journal, &self.shelf.path(self.last));
            }
            Err(error) => {
                // What was written of it is torn, and nothing may follow it.
                self.current = None;
                if is_anew && self.shelf.remove(self.last).is_ok() {
                    self.kept.remove(&self.last);
                }
                self.fails(self.last, &error);
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let entry = segment::entry(current.number, current.length, batch);
        let entry = entry.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        current.file.write_all(&entry)?;
        current.length += entry.len() as u64;
        self.current = Some(current);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Current> {
        self.last += 1;
        let mut file = self.shelf.create(self.last)?;
        self.kept.insert(self.last);
        let header = segment::header(self.last);
        file.write_all(&header)?;
        Ok(Current {
            number: self.last,
            file,
            length: header.len() as u64,
        })
    }

    /// Removes what the newest segment holds as well, save what a commit that is under way removes.
    fn drop_before_current(&mut self, busy: Option<u64>) {
        let (from, to) = (busy.map_or(0, |busy| busy + 1), self.last);
        let old: Vec<_> = self.kept.range(from..to).copied().collect();
        for number in old {
            if self.shelf.remove(number).is_ok() {
                self.kept.remove(&number);
            }
        }
    }

    /// Ends the segment: what is written later goes to the next. The highest number there is, and those
    /// that there are.
    pub(super) fn close(&mut self) -> (u64, Vec<u64>) {
        self.current = None;
        self.has_gap = self.is_in_trouble;
        (self.last, self.kept.iter().copied().collect())
    }

    /// The commit under way has ended.
    pub(super) const fn is_settled(&mut self) {
        self.has_gap = false;
    }

    /// What stands in segments up to `number` is in the database.
    pub(super) fn is_covered(&mut self, number: u64) {
        self.kept = self.kept.split_off(&(number + 1));
    }

    /// When the journal is to be tried again, if it is in trouble.
    pub(super) fn next_try(&self) -> Option<Instant> {
        (self.is_in_trouble && !self.has_gap).then_some(self.patience.next_try)
    }

    pub(super) fn lose_patience(&mut self) {
        self.patience.next_try = Instant::now();
    }

    /// Whether all that was appended can be read.
    #[cfg(test)]
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_in_trouble
    }

    fn fails(&mut self, number: u64, error: &io::Error) {
        self.is_in_trouble = true;
        self.patience.fails();
        let path = self.shelf.path(number);
        let _ = self.shared.fails(Part::Journal, &path, error);
    }
}

/// Commits that may fail, one after the other, before what they did not cover is gathered in one segment.
const SEGMENTS_MAX: usize = 16;
