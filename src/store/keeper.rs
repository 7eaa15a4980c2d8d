//! The thread that writes.
//!
//! Owns the file and the only decision about it: when to write, and what to do where that fails. What
//! has changed is read from the pin table and the books at that moment.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use self::disk::Disk;
use super::book::{Book, Desk};
use super::codec::{self, Key, Present, Record};
use super::file::{Batch, Rows};
use crate::clock::Moment;
use crate::pool::pins::PinTable;

mod disk;

/// A running store, as others see it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    requests: SyncSender<Request>,
    writer: Arc<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A pin has changed.
    has_news: AtomicBool,
    desk: Arc<Desk>,
    condition: Mutex<Condition>,
}

/// How the store fares.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Why nothing can be written at this moment.
    pub trouble: Option<Trouble>,
    /// Files that could not be read, under their new names.
    pub set_aside: Vec<PathBuf>,
    /// Pages of books that found no room while nothing could be written.
    pub dropped: u64,
}

/// Why nothing can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The file and the cause, in words.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

/// What was found in the file.
#[derive(Debug, Default)]
pub struct Contents {
    /// Pins.
    pub pins: Vec<(Key, Record)>,
    /// Microseconds that instances had lived.
    pub lived: u64,
    books: HashMap<String, Vec<(String, Vec<u8>)>>,
}

impl Contents {
    /// The present, as lived time goes on from this.
    #[must_use]
    pub fn present(&self) -> Present {
        Present {
            moment: Moment::now(),
            wall: Timestamp::now(),
            lived: self.lived,
        }
    }
}

#[derive(Debug)]
enum Request {
    Keep(Arc<PinTable>),
    Flush(oneshot::Sender<Result<(), String>>),
    Finish(oneshot::Sender<Result<(), String>>),
}

impl Store {
    /// Starts the thread, and waits until it has read the file at `path`. Whatever is the matter with
    /// that, the store starts, and says so.
    ///
    /// # Errors
    ///
    /// No thread.
    pub fn start(path: &Path) -> io::Result<(Self, Contents)> {
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let (tell, told) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let (of_thread, path) = (Arc::clone(&shared), path.to_path_buf());
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            let (keeper, contents) = Keeper::open(path, of_thread, inbox);
            let _ = tell.send(contents);
            keeper.run();
        })?;
        let contents = told.recv().map_err(io::Error::other)?;
        let store = Self {
            shared,
            requests,
            writer: Arc::new(thread),
        };
        Ok((store, contents))
    }

    /// From here on what changes in `pins` is kept.
    pub fn keep(&self, pins: &Arc<PinTable>) {
        let (shared, writer) = (Arc::clone(&self.shared), self.thread());
        pins.keep_changes(move || {
            shared.has_news.store(true, SeqCst);
            writer.unpark();
        });
        let _ = self.ask(Request::Keep(Arc::clone(pins)));
    }

    /// The book called `name`, and what `contents` has of it. A page that cannot be read is removed.
    pub fn book<T: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        contents: &mut Contents,
    ) -> (Book<T>, Vec<(String, T)>) {
        let book = Book::new(name, Arc::clone(&self.shared.desk), self.thread());
        let pages = contents.books.remove(name).unwrap_or_default();
        let mut readable = Vec::with_capacity(pages.len());
        for (key, bytes) in pages {
            match serde_json::from_slice(&bytes) {
                Ok(value) => readable.push((key, value)),
                Err(error) => {
                    tracing::warn!(book = name, key, %error, "state-unreadable: an entry is dropped");
                    book.remove(key);
                }
            }
        }
        (book, readable)
    }

    /// Waits until all that was changed before is durable.
    ///
    /// # Errors
    ///
    /// It cannot be written, and why; it will be tried again.
    pub async fn flush(&self) -> Result<(), String> {
        self.answered(Request::Flush).await
    }

    /// As [`flush`](Self::flush), and nothing is written after it.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn finish(&self) -> Result<(), String> {
        self.answered(Request::Finish).await
    }

    /// How it fares.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let mut condition = self.shared.condition().clone();
        condition.dropped = self.shared.desk.dropped();
        if self.writer.is_finished() {
            let since = Timestamp::now();
            let what = "the thread that writes has ended, by a defect of ours".into();
            condition.trouble.get_or_insert(Trouble { what, since });
        }
        condition
    }

    fn thread(&self) -> Thread {
        self.writer.thread().clone()
    }

    async fn answered(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Request,
    ) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.ask(request(answer))?;
        let silent = |_| Err("the thread that writes it has ended".into());
        answered.await.unwrap_or_else(silent)
    }

    fn ask(&self, request: Request) -> Result<(), String> {
        let sent = self.requests.try_send(request);
        self.writer.thread().unpark();
        sent.map_err(|_| "the thread that writes it does not answer".into())
    }
}

impl Shared {
    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread holds.
struct Keeper {
    shared: Arc<Shared>,
    inbox: Receiver<Request>,
    disk: Disk,
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
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Keeper {
    fn open(path: PathBuf, shared: Arc<Shared>, inbox: Receiver<Request>) -> (Self, Contents) {
        let (disk, rows) = Disk::open(path, Arc::clone(&shared));
        let mut keeper = Self {
            shared,
            inbox,
            disk,
            pins: None,
            unreadable: Vec::new(),
            is_stale: false,
            begun: Moment::now(),
            lived: rows.lived,
            due: None,
            next_round: Instant::now() + ROUND,
            waiting: Vec::new(),
        };
        let contents = keeper.understand(rows);
        (keeper, contents)
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

    fn run(mut self) {
        loop {
            let is_over = self.hear();
            let now = Instant::now();
            if self.next_round <= now {
                self.next_round = now + ROUND;
                self.look_around();
            }
            if self.due.is_none() && self.has_news() {
                self.due = Some(now + GATHER);
            }
            let is_due = self.due.is_some_and(|due| due <= now) && self.disk.may_be_tried(now);
            if is_due || is_over || !self.waiting.is_empty() {
                self.due = None;
                let written = self.write();
                if is_over {
                    self.disk.close();
                }
                for waiting in self.waiting.drain(..) {
                    // Whoever asked may have gone.
                    let _ = waiting.send(written.clone());
                }
                if is_over {
                    return;
                }
                // What could not be written is due again, and perhaps there is more.
                continue;
            }
            thread::park_timeout(self.rest());
        }
    }

    /// Takes what it was asked for; whether that was to finish, or nobody is left who could ask.
    fn hear(&mut self) -> bool {
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
            || self.is_stale
            || !self.unreadable.is_empty()
            || !self.shared.desk.is_empty()
    }

    /// How long there is nothing to do, unless it is woken.
    fn rest(&self) -> Duration {
        let now = Instant::now();
        let due = self.due.map(|due| due.max(self.disk.next_try()));
        let next = due.map_or(self.next_round, |due| due.min(self.next_round));
        next.saturating_duration_since(now)
    }

    /// Once in a while: sessions that last keep their pins, and life that passes is written down.
    fn look_around(&mut self) {
        let Some(pins) = &self.pins else { return };
        pins.note_held();
        if pins.counts().addresses > 0 {
            self.shared.has_news.store(true, SeqCst);
        }
    }

    /// Writes what has changed; durable on return.
    fn write(&mut self) -> Result<(), String> {
        if self.disk.ready()? {
            self.is_stale = true;
        }
        self.shared.has_news.store(false, SeqCst);
        let batch = self.batch();
        let result = self.disk.commit(&batch);
        self.is_stale = result.is_err();
        if self.is_stale {
            self.shared.desk.put_back(batch.pages);
        } else {
            self.unreadable.clear();
        }
        result
    }

    fn batch(&mut self) -> Batch {
        let now = Present {
            moment: Moment::now(),
            wall: Timestamp::now(),
            lived: self.lived.saturating_add(lived_since(self.begun)),
        };
        let mut batch = Batch {
            lived: now.lived,
            pages: self.shared.desk.take(),
            ..Batch::default()
        };
        let unreadable = self.unreadable.iter();
        batch.pins.extend(unreadable.map(|key| (key.clone(), None)));
        let Some(pins) = &self.pins else { return batch };
        let mut changes = pins.take_changes();
        batch.are_all_pins = self.is_stale || changes.has_overflowed;
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
const REQUESTS_MAX: usize = 256;
