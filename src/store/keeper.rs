//! The thread that keeps what has changed.
//!
//! Owns the decision when to write: to the journal and to the committer. What has changed is read from the
//! pin table and the books at that moment. It waits for nothing but news; a disk that hangs holds up the
//! committer alone.

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
use super::codec::{self, Present};
use super::committer::{Committer, Outcome};
use super::condition::Shared;
use super::directory::StateDir;
use super::disk::Disk;
use super::file::Rows;
use super::journal::Journal;
use super::shelf::{Beside, Shelf};
use crate::clock::Moment;
use crate::pool::pins::PinTable;

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
    /// Who waits for the next commit.
    waiting: Vec<Answer>,
    /// Who waits for the one that is under way.
    served: Vec<Answer>,
}

impl Keeper {
    /// Opens and reads the database at `path` and its journal, on the thread that is to run it.
    pub(super) fn open(
        path: &Path,
        home: Option<StateDir>,
        shared: Arc<Shared>,
        inbox: Receiver<Request>,
    ) -> io::Result<(Self, Contents)> {
        let shelf = Arc::new(Beside::new(path, home.clone()));
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
            committer: Committer::start(disk, shelf, thread::current())?,
            pins: None,
            unreadable: Vec::new(),
            is_stale: false,
            begun: Moment::now(),
            lived: rows.lived,
            due: None,
            next_round: Instant::now() + ROUND,
            waiting: Vec::new(),
            served: Vec::new(),
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
            match self.committer.outcomes().try_recv() {
                Ok(outcome) => self.settle(outcome),
                Err(TryRecvError::Empty) => {}
                // A defect; whoever asks is told that this thread has ended.
                Err(TryRecvError::Disconnected) => return,
            }
            let now = Instant::now();
            if self.next_round <= now {
                self.next_round = now + ROUND;
                self.look_around();
            }
            if self.due.is_none() && self.has_news() {
                self.due = Some(now + GATHER);
            }
            if self.due.is_some_and(|due| due <= now) || self.backlog.is_journal_due(now) {
                self.gather();
            }
            self.commit(now);
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
    fn rest(&self) -> Duration {
        let due = self.due.into_iter().chain(self.backlog.next_try());
        let next = due.fold(self.next_round, Instant::min);
        next.saturating_duration_since(Instant::now())
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

    /// Has what waits committed, where nobody is at it: what somebody waits for at once, and everything
    /// else unless it has just failed.
    fn commit(&mut self, now: Instant) {
        let is_wanted = !self.waiting.is_empty() && !self.backlog.is_under_way();
        if !is_wanted && !self.backlog.is_commit_due(now) {
            return;
        }
        if is_wanted {
            self.backlog.lose_patience();
        }
        if is_wanted || self.is_stale {
            self.gather();
        }
        self.served.append(&mut self.waiting);
        self.committer.hand(self.backlog.hand_over());
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
            served,
            waiting,
            ..
        } = self;
        committer.end();
        drop(backlog);
        for answer in served.into_iter().chain(waiting) {
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
            self.committer.hand(self.backlog.hand_over());
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
            lived: self.lived.saturating_add(lived_since(self.begun)),
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

fn lived_since(begun: Moment) -> u64 {
    u64::try_from(Moment::now().since(begun).as_micros()).unwrap_or(u64::MAX)
}

/// How long the first change waits for others: the contract's 10 ms, less what a wake-up takes.
pub(super) const GATHER: Duration = Duration::from_millis(8);
/// How often life that passes is written down.
const ROUND: Duration = Duration::from_secs(60);
