//! What has changed and is not committed: in memory, and in the journal.
//!
//! The journal is what makes it durable; a commit takes it to the database once in a while, so that the
//! journal stays short, and at once where the journal cannot be relied on.
//!
//! Invariant: whatever a segment holds is in the database, in the batch under way, or in what waits.
//! So a commit of what waits covers every segment there is when it is handed over; and where it fails, its
//! batch comes back beneath what came meanwhile, and nothing is missing.

use std::time::{Duration, Instant};

use super::batch::Batch;
use super::committer::{Handed, Outcome};
use super::condition::Patience;
use super::journal::{Closed, Journal};

pub(super) struct Backlog {
    journal: Journal,
    /// Nothing where there is nothing to commit.
    pending: Option<Batch>,
    /// The segments that a commit which is under way covers.
    under_way: Option<u64>,
    /// Bytes that were added and not committed since, nor all pins added.
    grown: usize,
    /// Those among them that are in the commit under way.
    handed: usize,
    /// Bytes that were added since the last commit was handed over.
    added: usize,
    /// When what waits is committed, if nothing else asks for it.
    next_commit: Instant,
    /// The last commit came about.
    is_committed: bool,
    patience: Patience,
}

/// What became of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Committed,
    /// The database begins anew: all pins are to be added.
    Anew,
    Failed(String),
}

impl Backlog {
    pub(super) fn new(journal: Journal, pending: Option<Batch>) -> Self {
        Self {
            journal,
            pending,
            under_way: None,
            grown: 0,
            handed: 0,
            added: 0,
            next_commit: Instant::now(),
            is_committed: false,
            patience: Patience::new(),
        }
    }

    /// Adds what has changed: a kill cannot take it back, where the journal can be written.
    pub(super) fn add(&mut self, batch: Batch) {
        self.added = self.added.saturating_add(batch.size());
        if batch.are_all_pins {
            (self.grown, self.handed) = (0, 0);
        } else {
            self.grown += batch.size();
        }
        // An entry that is all that waits comes after it is put together; any other one is written as it
        // is, so that nothing is copied.
        let is_anew = self.journal.begins_anew(&batch);
        if !is_anew {
            self.journal.append(&batch, false);
        }
        let pending = self.pending.get_or_insert_default();
        pending.merge(batch);
        if is_anew {
            self.journal.append(pending, true);
        }
    }

    /// Whether the journal has grown so long that all pins are shorter.
    pub(super) fn is_too_long(&self) -> bool {
        self.grown > GROWN_MAX
    }

    /// Whether pages may be added; where they may not they wait, bounded, at the desk.
    pub(super) fn has_room_for_pages(&self) -> bool {
        let pages = self.pending.as_ref().map_or(0, |batch| batch.pages.len());
        pages < PAGES_MAX
    }

    /// When what waits is to be committed; nothing while a commit is under way, or nothing waits.
    pub(super) fn next_commit(&self) -> Option<Instant> {
        let is_urgent = !self.journal.is_whole() || self.added >= ADDED_MAX;
        let next = match is_urgent {
            true => self.patience.next_try,
            false => self.patience.next_try.max(self.next_commit),
        };
        (self.pending.is_some() && !self.is_under_way()).then_some(next)
    }

    /// When the journal is to be tried again, if it is in trouble.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.journal.next_try()
    }

    /// Whether what is added is in the journal, and will be read there on top of what is committed.
    pub(super) const fn is_sound(&self) -> bool {
        self.is_committed && self.journal.is_whole()
    }

    pub(super) const fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Somebody waits: what has failed is tried now.
    pub(super) fn lose_patience(&mut self) {
        self.journal.lose_patience();
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// All that waits, to be committed; its outcome is to be [settled](Self::settle) before the next. Whether
    /// it `goes_on` after that.
    pub(super) fn hand_over(&mut self, goes_on: bool) -> Handed {
        let Closed {
            covers,
            segments,
            next,
        } = self.journal.close(goes_on);
        self.added = 0;
        self.next_commit = Instant::now() + COMMIT;
        self.under_way = Some(covers);
        self.handed = self.grown;
        Handed {
            batch: self.pending.take().unwrap_or_default(),
            covers,
            segments,
            next,
        }
    }

    pub(super) fn settle(&mut self, outcome: Outcome) -> Settled {
        let covers = self.under_way.take();
        self.journal.is_settled();
        self.is_committed = matches!(outcome, Outcome::Committed);
        match outcome {
            Outcome::Committed => {
                self.journal.is_covered(covers.unwrap_or(0));
                self.grown -= self.handed;
                self.patience.succeeds();
                Settled::Committed
            }
            Outcome::Anew(batch) => {
                self.put_back(batch);
                Settled::Anew
            }
            Outcome::Failed(batch, why) => {
                self.put_back(batch);
                self.patience.fails();
                Settled::Failed(why)
            }
        }
    }

    fn put_back(&mut self, older: Batch) {
        self.next_commit = Instant::now();
        let newer = self.pending.replace(older);
        if let (Some(pending), Some(newer)) = (&mut self.pending, newer) {
            pending.merge(newer);
        }
    }
}

/// What a commit that hangs, or fails again and again, may make of the journal, besides all pins.
const GROWN_MAX: usize = 32 << 20;
/// How long what is in the journal waits for the database, and how large it may grow meanwhile.
const COMMIT: Duration = Duration::from_secs(1);
const ADDED_MAX: usize = 1 << 18;
/// Some minutes of a busy ledger while a disk hangs.
const PAGES_MAX: usize = 16_384;

#[cfg(test)]
mod tests;
