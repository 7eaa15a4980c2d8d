//! The thread that keeps what has changed.
//!
//! Owns the decision when to write to the journal, when it is synced, and when all that waits is committed. What
//! has changed is read from the pin table and the books at that moment. It waits for nothing but news; a disk
//! that hangs holds up the syncer and the committer alone.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Contents;
use super::backlog::{Backlog, Settled};
use super::batch::Batch;
use super::codec::{self, Present, micros};
use super::committer::{Committer, Outcome};
use super::condition::Shared;
use super::directory::StateDir;
use super::disk::Disk;
use super::file::Rows;
use super::journal::Journal;
use super::shelf::{Beside, Shelf};
use super::syncer::{Due, Synced, Syncer};
use crate::clock::Moment;
use crate::pool::pins::PinTable;
use crate::sys;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Keep(Arc<PinTable>),
    Flush(Answer),
    Finish(Answer),
}

/// Told once all that was changed before is durable, or why it is not.
type Answer = oneshot::Sender<Result<(), String>>;

/// What the thread holds.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    inbox: Receiver<Request>,
    backlog: Backlog,
    committer: Committer,
    syncer: Syncer,
    pins: Option<Arc<PinTable>>,
    /// Keys of records that nobody can read.
    unreadable: Vec<Vec<u8>>,
    /// Pins are to be written anew, whatever has changed.
    is_stale: bool,
    begun: Moment,
    /// What instances had lived when this one began.
    lived: u64,
    /// When what has changed is to be written.
    due: Option<Instant>,
    next_round: Instant,
    /// When the journal may be synced next.
    next_sync: Instant,
    /// Who waits for the next sync, or the next commit where the journal cannot be relied on.
    waiting: Vec<Answer>,
    /// Who waits for the commit that is under way.
    served: Vec<Answer>,
    /// Who waits for the sync that is under way, if one is.
    syncing: Option<Vec<Answer>>,
    /// What is written is not where the next start will look for it.
    is_displaced: bool,
}

impl Keeper {
    /// Opens and reads the database at `path` and its journal, on the thread that is to run it.
    pub(super) fn open(
        path: &Path,
        home: Option<StateDir>,
        shared: Arc<Shared>,
        inbox: Receiver<Request>,
    ) -> io::Result<(Self, Contents)> {
        let shelf = Arc::new(Beside::new(path, home.clone(), Arc::clone(&shared)));
        let disk = Disk::open(path.into(), home, Arc::clone(&shared));
        Self::open_with(disk, shelf, shared, inbox)
    }

    /// As [`open`](Self::open), with any disk.
    pub(super) fn open_with(
        (disk, mut rows): (Disk, Rows),
        shelf: Arc<dyn Shelf>,
        shared: Arc<Shared>,
        inbox: Receiver<Request>,
    ) -> io::Result<(Self, Contents)> {
        let (journal, found) = Journal::open(Arc::clone(&shelf), Arc::clone(&shared), rows.covers);
        if let Some(found) = &found {
            rows.add(found);
        }
        // Committed at once in any case: what the first commit of a thread takes of memory is there from the
        // start, and a disk that cannot be written to is known.
        let first = found.unwrap_or_else(|| Batch {
            lived: rows.lived,
            ..Batch::default()
        });
        let mut keeper = Self {
            shared,
            inbox,
            backlog: Backlog::new(journal, Some(first)),
            syncer: Syncer::start(Arc::clone(&shelf), thread::current())?,
            committer: Committer::start(disk, shelf, thread::current())?,
            pins: None,
            unreadable: Vec::new(),
            is_stale: false,
            begun: Moment::now(),
            lived: rows.lived,
            due: None,
            next_round: Instant::now() + ROUND,
            next_sync: Instant::now(),
            waiting: Vec::new(),
            served: Vec::new(),
            syncing: None,
            is_displaced: false,
        };
        let contents = keeper.understand(rows);
        Ok((keeper, contents))
    }

    fn understand(&mut self, rows: Rows) -> Contents {
        let mut contents = Contents {
            lived: rows.lived,
            ..Contents::default()
        };
        for (key, value) in rows.pins {
            match codec::decode(&key, &value) {
                Ok(pin) => contents.pins.push(pin),
                Err(error) => {
                    if self.unreadable.is_empty() {
                        tracing::warn!(%error, "state-unreadable: pins are dropped");
                    }
                    self.unreadable.push(key);
                }
            }
        }
        for (book, page, value) in rows.pages {
            contents.books.entry(book).or_default().push((page, value));
        }
        contents
    }

    pub(super) fn run(mut self) {
        loop {
            if self.hear() {
                return self.end();
            }
            // A defect; whoever asks is told that this thread has ended.
            let Ok(()) = self.take_outcomes() else {
                return;
            };
            let now = Instant::now();
            if self.next_round <= now {
                self.next_round = now + ROUND;
                self.look_around();
            }
            if self.due.is_none() && self.has_news() {
                self.due = Some(now + GATHER);
            }
            let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
            if is_due(self.due) || is_due(self.backlog.next_try()) || self.is_asked() {
                self.gather();
            }
            self.commit(now);
            self.sync(now);
            thread::park_timeout(self.rest());
        }
    }

    /// Takes what it was asked for; whether that was to finish, or nobody is left who could ask.
    fn hear(&mut self) -> bool {
        // Who asked may have lost patience with a disk that hangs.
        self.waiting.retain(|answer| !answer.is_closed());
        loop {
            match self.inbox.try_recv() {
                Ok(Request::Keep(pins)) => {
                    self.pins = Some(pins);
                    // The bell may have rung before anybody was there to take what it rang for.
                    self.shared.has_news.store(true, SeqCst);
                }
                Ok(Request::Flush(answer)) => self.waiting.push(answer),
                Ok(Request::Finish(answer)) => {
                    self.waiting.push(answer);
                    return true;
                }
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn has_news(&self) -> bool {
        self.shared.has_news.load(SeqCst)
            || (self.is_stale && self.pins.is_some())
            || !self.unreadable.is_empty()
            || (!self.shared.desk.is_empty() && self.backlog.has_room_for_pages())
    }

    /// How long there is nothing to do, unless it is woken.
    fn rest(&mut self) -> Duration {
        let is_stuck = self.syncing.is_none() && !self.backlog.is_under_way();
        if is_stuck && !self.waiting.is_empty() {
            return Duration::ZERO;
        }
        let is_free = self.syncing.is_none() && self.backlog.journal().has_unsynced();
        let sync = is_free.then_some(self.next_sync);
        let due = [self.due, self.backlog.next_try(), self.next_commit(), sync];
        let due = due.into_iter().flatten();
        let next = due.fold(self.next_round, Instant::min);
        next.saturating_duration_since(Instant::now())
    }

    /// When what waits is to be committed. A commit ends a segment, so it begins together with the sync of that
    /// one, and the next sync has only the next one: no sync takes longer than another.
    fn next_commit(&self) -> Option<Instant> {
        let next = self.backlog.next_commit()?;
        match self.backlog.is_sound() {
            true if self.syncing.is_some() => None,
            true => Some(next.max(self.next_sync)),
            false => Some(next),
        }
    }

    /// Whether somebody waits, and a sync of the journal would do.
    fn is_asked(&self) -> bool {
        let is_relied_on = self.backlog.is_sound() && !self.is_displaced;
        !self.waiting.is_empty() && self.syncing.is_none() && is_relied_on
    }

    /// Once in a while: sessions that last keep their pins, and life that passes is written down.
    fn look_around(&mut self) {
        let Some(pins) = &self.pins else { return };
        pins.note_held();
        if pins.counts().addresses > 0 {
            self.shared.has_news.store(true, SeqCst);
        }
    }

    /// Takes what has changed to where a kill cannot reach it.
    fn gather(&mut self) {
        self.due = None;
        self.shared.has_news.store(false, SeqCst);
        let batch = self.batch();
        self.backlog.add(batch);
        self.is_stale |= self.backlog.is_too_long();
    }

    /// Has what waits committed, where nobody is at it and it is time; at once where the journal is of no use to
    /// somebody who waits.
    fn commit(&mut self, now: Instant) {
        let is_relied_on = self.backlog.is_sound() && !self.is_displaced;
        let is_wanted = self.is_displaced || (!is_relied_on && !self.waiting.is_empty());
        let is_wanted = is_wanted && !self.backlog.is_under_way();
        if !is_wanted && self.next_commit().is_none_or(|next| next > now) {
            return;
        }
        if is_wanted {
            self.backlog.lose_patience();
        }
        if is_wanted || self.is_stale || self.due.is_some() {
            self.gather();
        }
        if !is_relied_on {
            self.served.append(&mut self.waiting);
        }
        self.is_displaced = false;
        self.committer.hand(self.backlog.hand_over(true));
    }

    /// Has the journal synced, where nobody is at it and it is time; at once where somebody waits.
    fn sync(&mut self, now: Instant) {
        let is_asked = self.is_asked();
        let is_due = self.backlog.journal().has_unsynced() && self.next_sync <= now;
        if self.syncing.is_some() || !(is_asked || is_due) {
            return;
        }
        let journal = self.backlog.journal();
        self.syncer.hand(Due {
            segments: journal.begin_sync(),
            needed: is_asked.then(|| journal.kept()),
        });
        let served = if is_asked {
            std::mem::take(&mut self.waiting)
        } else {
            Vec::new()
        };
        self.syncing = Some(served);
        self.next_sync = now + SYNC;
    }

    fn take_outcomes(&mut self) -> Result<(), TryRecvError> {
        // In this order: a segment that is missing may have been removed after a commit.
        let synced = news(self.syncer.outcomes())?;
        if let Some(outcome) = news(self.committer.outcomes())? {
            self.settle(outcome);
            // What was committed was made here and freed there.
            sys::memory::give_back();
        }
        if let Some(synced) = synced {
            self.settle_sync(synced);
        }
        Ok(())
    }

    fn settle_sync(&mut self, synced: Synced) {
        let Synced {
            result,
            mut missing,
            is_displaced,
        } = synced;
        let mut served = self.syncing.take().unwrap_or_default();
        let journal = self.backlog.journal();
        missing.retain(|number| journal.keeps(*number));
        for number in &missing {
            journal.is_removed(*number);
        }
        let is_durable = result.is_ok();
        journal.end_sync(result);
        self.is_displaced |= is_displaced || !missing.is_empty();
        if is_durable && !is_displaced && missing.is_empty() {
            for served in served {
                // Whoever asked may have gone.
                let _ = served.send(Ok(()));
            }
        } else {
            served.append(&mut self.waiting);
            self.waiting = served;
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        let result = match self.backlog.settle(outcome) {
            Settled::Committed => Ok(()),
            Settled::Failed(why) => Err(why),
            Settled::Anew => {
                self.is_stale = true;
                self.waiting.append(&mut self.served);
                return;
            }
        };
        for served in self.served.drain(..) {
            // Whoever asked may have gone.
            let _ = served.send(result.clone());
        }
    }

    /// Has everything committed and the files and their directory let go of, and tells whoever waits for that.
    fn end(mut self) {
        let written = self.finish();
        let Self {
            backlog,
            committer,
            syncer,
            served,
            waiting,
            syncing,
            ..
        } = self;
        committer.end();
        syncer.end();
        drop(backlog);
        let syncing = syncing.into_iter().flatten();
        for answer in served.into_iter().chain(waiting).chain(syncing) {
            let _ = answer.send(written.clone());
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        let has_ended = |_| "the thread that commits has ended".to_owned();
        // Nobody waits for ever for a disk that hangs; what is in the journal stands all the same.
        self.gather();
        if self.backlog.is_under_way() {
            let outcome = self.committer.outcomes().recv().map_err(has_ended)?;
            self.settle(outcome);
        }
        loop {
            self.gather();
            self.committer.hand(self.backlog.hand_over(false));
            let outcome = self.committer.outcomes().recv().map_err(has_ended)?;
            match self.backlog.settle(outcome) {
                Settled::Committed => return Ok(()),
                Settled::Failed(why) => return Err(why),
                Settled::Anew => self.is_stale = true,
            }
        }
    }

    fn batch(&mut self) -> Batch {
        let now = Present {
            moment: Moment::now(),
            wall: Timestamp::now(),
            lived: self
                .lived
                .saturating_add(micros(Moment::now().since(self.begun))),
        };
        let mut batch = Batch {
            lived: now.lived,
            ..Batch::default()
        };
        if self.backlog.has_room_for_pages() {
            batch.pages = self.shared.desk.take();
        }
        let unreadable = self.unreadable.drain(..);
        batch.pins.extend(unreadable.map(|key| (key, None)));
        let Some(pins) = &self.pins else { return batch };
        let mut changes = pins.take_changes();
        batch.are_all_pins = self.is_stale || changes.has_overflowed;
        self.is_stale = false;
        let found = if batch.are_all_pins {
            let all = pins.record_all(now.moment);
            all.into_iter().map(|(key, pin)| (key, Some(pin))).collect()
        } else {
            changes.keys.sort_unstable();
            changes.keys.dedup();
            let record = |key| {
                let pin = pins.record(&key, now.moment);
                (key, pin)
            };
            changes.keys.into_iter().map(record).collect::<Vec<_>>()
        };
        // A key or pin that cannot be written as JSON does not exist.
        batch
            .pins
            .extend(found.into_iter().filter_map(|(key, pin)| {
                let value = pin.map(|pin| codec::encode(&key, &pin, now)).transpose();
                Some((codec::encode_key(&key).ok()?, value.ok()?))
            }));
        batch
    }
}

/// What a thread has to tell; an error where it has ended.
fn news<T>(outcomes: &Receiver<T>) -> Result<Option<T>, TryRecvError> {
    match outcomes.try_recv() {
        Ok(outcome) => Ok(Some(outcome)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(error @ TryRecvError::Disconnected) => Err(error),
    }
}

/// How long the first change waits for others: the contract's 10 ms, less what a wake-up takes.
pub(super) const GATHER: Duration = Duration::from_millis(8);
/// How long one sync of the journal waits for the next, from beginning to beginning: with what gathers before it
/// and with its own time that is less than the contract's 100 ms, where the disk syncs in 45.
const SYNC: Duration = Duration::from_millis(40);
/// How often life that passes is written down.
const ROUND: Duration = Duration::from_secs(60);
