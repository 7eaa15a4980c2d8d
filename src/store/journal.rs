//! What is not in the database yet: where a kill cannot reach it at once, and a power failure soon.
//!
//! Owns the segments and their numbers. Numbers only grow; each commit of the database writes down the
//! highest that it covers, so that a segment that could not be removed, or that a power failure brought
//! back, is never replayed over what is newer. An entry is written by one `write(2)`, which outlives the
//! process; it is durable once a sync has covered it. Segments are synced in their order, and each names
//! the one that it follows, so that what is found after a power failure is what was at some moment: an end
//! may be missing, nothing in the middle.
//!
//! What a sync that failed was to cover is not trusted, nor anything that follows it: what comes later
//! waits for a commit, or begins anew with all that waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::condition::{Part, Patience, Shared};
use super::segment::{self, End, Segment};
use super::shelf::{Leaf, Shelf};

pub(super) struct Journal {
    shelf: Arc<dyn Shelf>,
    shared: Arc<Shared>,
    /// What is written to.
    current: Option<Current>,
    /// Segments that hold what no commit covers yet; those of an earlier instance are not open.
    kept: BTreeMap<u64, Option<Arc<dyn Leaf>>>,
    /// The highest number that was given, or is covered.
    last: u64,
    /// Where the newest entry ends: the next segment follows it.
    end: End,
    /// The commit under way: the number up to which it covers, and where that ends.
    under_way: Option<(u64, End)>,
    /// Segments in which something is not covered by any sync.
    unsynced: BTreeSet<u64>,
    /// Those that the sync under way covers.
    syncing: BTreeSet<u64>,
    /// The highest of which a part is durable.
    firm: u64,
    /// What the segment at its end replaces, as soon as that is durable.
    replaced: Option<Range<u64>>,
    /// The last entry could not be written, or synced.
    is_in_trouble: bool,
    /// Since something failed no sync has succeeded: whoever asks is told of trouble.
    is_in_doubt: bool,
    /// The commit under way has what could not be written here: until it has ended nothing that comes
    /// later may be here, or a kill would take from the middle.
    has_gap: bool,
    patience: Patience,
}

struct Current {
    number: u64,
    file: Arc<dyn Leaf>,
    length: u64,
}

/// What a commit of all that waits covers.
pub(super) struct Closed {
    /// The highest number there is.
    pub(super) covers: u64,
    /// The segments that there are, up to that.
    pub(super) segments: Vec<u64>,
    /// Where what comes later is written.
    pub(super) next: Option<Arc<dyn Leaf>>,
}

impl Journal {
    /// Reads the segments that a database which covers `covered` has not. One that cannot be used is set
    /// aside, an end that is torn is left out, and so is what follows it.
    pub(super) fn open(
        shelf: Arc<dyn Shelf>,
        shared: Arc<Shared>,
        covered: u64,
    ) -> (Self, Option<Batch>) {
        let mut journal = Self {
            shelf,
            shared,
            current: None,
            kept: BTreeMap::new(),
            // A database that covers nothing has had no commit.
            last: covered.max(1),
            end: End::default(),
            under_way: None,
            unsynced: BTreeSet::new(),
            syncing: BTreeSet::new(),
            firm: 0,
            replaced: None,
            is_in_trouble: false,
            is_in_doubt: false,
            has_gap: false,
            patience: Patience::new(),
        };
        let found = journal.replay_all(covered);
        (journal, found)
    }

    fn replay_all(&mut self, covered: u64) -> Option<Batch> {
        // Where there is no directory the database has its say about it.
        let numbers = self.shelf.numbers().unwrap_or_default();
        let (mut found, mut ends) = (None, BTreeMap::new());
        for number in numbers {
            self.last = self.last.max(number);
            if number <= covered {
                let _ = self.shelf.remove(number);
                continue;
            }
            let Some(segment) = self.replay(number) else {
                continue;
            };
            self.kept.insert(number, None);
            let follows = segment.follows;
            let is_there = |length: &u64| *length >= follows.length;
            // Where the database had to begin anew whatever there is is better than nothing.
            let is_exempt = follows.number <= covered || covered == 0;
            if !is_exempt && !ends.get(&follows.number).is_some_and(is_there) {
                if !segment.batches.is_empty() {
                    self.tells_torn(number, segment.intact);
                }
                continue;
            }
            let length = segment.intact as u64;
            ends.insert(number, length);
            self.end = End { number, length };
            for batch in segment.batches {
                found.get_or_insert_with(Batch::default).merge(batch);
            }
        }
        // An empty one goes with the next commit.
        let has_some = !self.kept.is_empty();
        found.or_else(|| has_some.then(Batch::default))
    }

    fn replay(&mut self, number: u64) -> Option<Segment> {
        let bytes = self.shelf.read(number).map_err(|error| error.to_string());
        let segment = bytes.and_then(|bytes| {
            let read = segment::read(number, &bytes);
            let read = read.map_err(|error| error.to_string())?;
            Ok((bytes.len() - read.intact, read))
        });
        match segment {
            Ok((torn, segment)) => {
                if torn > 0 {
                    self.tells_torn(number, torn);
                }
                Some(segment)
            }
            Err(why) => {
                let path = self.shelf.path(number);
                match self.shelf.set_aside(number) {
                    Ok(aside) => self.shared.is_set_aside(&path, aside, &why),
                    Err(error) => self.fails(number, &error),
                }
                None
            }
        }
    }

    fn tells_torn(&self, number: u64, bytes: usize) {
        let path = self.shelf.path(number);
        tracing::warn!(
            file = %path.display(), bytes,
            "state-unreadable: the end of a journal is dropped"
        );
    }

    /// Whether the next entry is to be all that waits: where the segments are to be replaced by a shorter one,
    /// or the last entry could not be written.
    pub(super) fn begins_anew(&self, batch: &Batch) -> bool {
        let since = self.replaced.as_ref().map_or(0, |replaced| replaced.end);
        batch.are_all_pins || self.is_in_trouble || self.kept.range(since..).count() >= SEGMENTS_MAX
    }

    /// Writes `batch`; where it [begins anew](Self::begins_anew) to a segment that replaces all others, save
    /// what a commit that is under way covers.
    pub(super) fn append(&mut self, batch: &Batch, is_anew: bool) {
        if self.has_gap || (self.is_in_trouble && Instant::now() < self.patience.next_try) {
            return;
        }
        if is_anew {
            self.current = None;
            // All that waits needs nothing of what was written since the commit under way was handed over.
            self.end = self.under_way.map_or_else(End::default, |(_, end)| end);
        }
        match self.write(batch) {
            Ok(()) => {
                self.is_in_trouble = false;
                if is_anew {
                    self.replaces(self.last);
                }
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
        let number = current.number;
        let entry = segment::entry(number, current.length, batch);
        let entry = entry.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        current.file.append(&entry)?;
        current.length += entry.len() as u64;
        let length = current.length;
        self.end = End { number, length };
        self.current = Some(current);
        self.unsynced.insert(number);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Current> {
        self.last += 1;
        let file = self.shelf.create(self.last)?;
        self.kept.insert(self.last, Some(Arc::clone(&file)));
        let header = segment::header(self.last, self.end);
        file.append(&header)?;
        Ok(Current {
            number: self.last,
            file,
            length: header.len() as u64,
        })
    }

    /// The segment `anew` holds what all before it hold, save what a commit that is under way covers. What is
    /// durable of them stays until it is durable as well.
    fn replaces(&mut self, anew: u64) {
        let covered = self.under_way.map_or(0, |(covers, _)| covers);
        let replaced = covered + 1..anew;
        let is_replaced = |number: &u64| replaced.contains(number);
        self.unsynced.retain(|number| !is_replaced(number));
        let is_firm = |number: &u64| *number <= self.firm || self.syncing.contains(number);
        let old: Vec<_> = self.kept.keys().copied().filter(is_replaced).collect();
        let old = old.into_iter().filter(|number| !is_firm(number)).collect();
        self.drop_all(old);
        self.replaced = Some(replaced);
    }

    fn drop_all(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            if self.shelf.remove(number).is_ok() {
                self.kept.remove(&number);
            }
        }
    }

    /// Whether there is something that a power failure could take, or a sync is to show that the trouble is over:
    /// what was in doubt may all be committed meanwhile.
    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty() || (self.is_in_doubt && self.current.is_some())
    }

    /// What is to be synced, in this order, so that all that was written is durable.
    pub(super) fn begin_sync(&mut self) -> Vec<(u64, Arc<dyn Leaf>)> {
        self.syncing = std::mem::take(&mut self.unsynced);
        let current = self.current.as_ref().filter(|_| self.is_in_doubt);
        self.syncing.extend(current.map(|current| current.number));
        let leaf = |number: &u64| Some((*number, self.kept.get(number)?.clone()?));
        self.syncing.iter().filter_map(leaf).collect()
    }

    /// What has become of that; or which of them failed, and why.
    pub(super) fn end_sync(&mut self, result: Result<(), (u64, io::Error)>) {
        let syncing = std::mem::take(&mut self.syncing);
        match result {
            Ok(()) => {
                self.firm = syncing
                    .last()
                    .map_or(self.firm, |last| self.firm.max(*last));
                let is_durable = |replaced: &mut Range<u64>| replaced.end <= self.firm;
                if let Some(replaced) = self.replaced.take_if(is_durable) {
                    let old = self.kept.range(replaced).map(|(number, _)| *number);
                    self.drop_all(old.collect());
                }
                if !self.is_in_trouble {
                    self.is_in_doubt = false;
                    self.patience.succeeds();
                    let path = self.shelf.path(self.last);
                    self.shared.succeeds(Part::Journal, &path);
                }
            }
            Err((number, error)) => {
                self.unsynced.clear();
                self.current = None;
                self.replaced = None;
                self.has_gap = self.under_way.is_some();
                self.fails(number, &error);
            }
        }
    }

    /// Ends the segment: what is written later goes to the next, which is begun where it `goes_on`.
    pub(super) fn close(&mut self, goes_on: bool) -> Closed {
        self.current = None;
        self.has_gap = self.is_in_trouble;
        let covers = self.last;
        let segments = self.kept.keys().copied().collect();
        self.under_way = Some((covers, self.end));
        if goes_on && !self.is_in_trouble {
            match self.begin() {
                Ok(next) => self.current = Some(next),
                Err(error) => {
                    self.has_gap = true;
                    self.fails(self.last, &error);
                }
            }
        }
        let next = self.current.as_ref().map(|next| Arc::clone(&next.file));
        Closed {
            covers,
            segments,
            next,
        }
    }

    /// The commit under way has ended.
    pub(super) const fn is_settled(&mut self) {
        self.under_way = None;
        self.has_gap = false;
    }

    /// What stands in segments up to `number` is in the database.
    pub(super) fn is_covered(&mut self, number: u64) {
        self.kept = self.kept.split_off(&(number + 1));
        self.unsynced = self.unsynced.split_off(&(number + 1));
        self.replaced.take_if(|replaced| replaced.end <= number);
    }

    /// Whether `number` is of any use.
    pub(super) fn keeps(&self, number: u64) -> bool {
        self.kept.contains_key(&number)
    }

    /// The segments that hold what no commit covers yet.
    pub(super) fn kept(&self) -> Vec<(u64, Arc<dyn Leaf>)> {
        let leaf = |(number, leaf): (&u64, &Option<Arc<dyn Leaf>>)| Some((*number, leaf.clone()?));
        self.kept.iter().filter_map(leaf).collect()
    }

    /// The segment `number` is not where it was.
    pub(super) fn is_removed(&self, number: u64) {
        self.shared.is_removed(&self.shelf.path(number), None);
    }

    /// When the journal is to be tried again, if it is in trouble.
    pub(super) fn next_try(&self) -> Option<Instant> {
        (self.is_in_trouble && !self.has_gap).then_some(self.patience.next_try)
    }

    pub(super) fn lose_patience(&mut self) {
        self.patience.next_try = Instant::now();
    }

    /// Whether all that was appended can be read.
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_in_trouble
    }

    fn fails(&mut self, number: u64, error: &io::Error) {
        (self.is_in_trouble, self.is_in_doubt) = (true, true);
        self.patience.fails();
        let path = self.shelf.path(number);
        let _ = self.shared.fails(Part::Journal, &path, error);
    }
}

/// Commits that may fail, one after the other, before what they did not cover is gathered in one segment.
const SEGMENTS_MAX: usize = 16;
