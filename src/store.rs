//! What outlives the process, in `state_dir`: pins, the ledger, and what other parts ask to be kept.
//!
//! Three threads of its own write, so that nobody else ever waits for a disk. The *keeper* is told of changes
//! by keys and reads how things stand when it writes, so their order does not matter. At most 8 ms after
//! the first change that waits it appends them to a segment of the *journal* (`state.journal-<number>`) by
//! a plain write, where a kill cannot reach them, and never waits for the disk itself. The *syncer* makes
//! them durable, at most every 40 ms, each time with all that came meanwhile; whoever waits for a change is
//! answered after that. The *committer* takes them to the database, `state.redb`, once a second, and removes
//! the segments that are in it. Where the journal cannot be written or synced, what waits is committed at once.
//! At the start the segments are read on top of the database, and committed like any other change. Owns
//! no decision: what is pinned where is `pool::pins`'s, what happened is the governor's.
//!
//! Invariants: a commit is there wholly or not at all, whenever the process or the machine dies, and so is
//! an entry of the journal; none is there without those before it; what a segment holds is in the database, in the commit
//! under way, or in the next; a segment that a commit covers is never read again; a file that cannot be
//! read is set aside, never overwritten; without a disk everything goes on in memory, bounded, is told
//! once, and is written when there is one again.
//!
//! `directory` keeps the small files that need no thread: lock, placement key, states of nodes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle, Thread};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

pub use self::book::Book;
use self::codec::{Key, Present, Record};
use self::condition::Shared;
pub use self::condition::{Condition, Trouble};
pub use self::directory::{
    Administered, Found, Maintenance, StateDir, StateError, Wanted, random_key,
};
use self::keeper::{Keeper, Request};
pub use self::restore::Tally;
use crate::clock::Moment;
use crate::pool::pins::PinTable;

mod backlog;
mod batch;
mod book;
pub mod codec;
mod committer;
mod condition;
mod directory;
mod disk;
mod file;
mod journal;
mod keeper;
mod restore;
pub mod segment;
mod shelf;
mod syncer;

/// A running store, as others see it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    requests: SyncSender<Request>,
    writer: Arc<JoinHandle<()>>,
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

impl Store {
    /// Starts the threads, and waits until the database of `directory` and the journal beside it are read.
    /// Whatever is the matter with that, the store starts, and says so.
    ///
    /// # Errors
    ///
    /// No thread.
    pub fn start_in(directory: &StateDir) -> io::Result<(Self, Contents)> {
        let (path, home) = (directory.path().join(DATABASE), directory.clone());
        Self::start_with(move |shared, inbox| Keeper::open(&path, Some(home), shared, inbox))
    }

    /// As [`start_in`](Self::start_in), with a database at `path`, in a directory that is nobody's.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start(path: &Path) -> io::Result<(Self, Contents)> {
        let path = path.to_path_buf();
        Self::start_with(move |shared, inbox| Keeper::open(&path, None, shared, inbox))
    }

    fn start_with(open: impl Open) -> io::Result<(Self, Contents)> {
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let (tell, told) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let work = move || match open(of_thread, inbox) {
            Ok((keeper, contents)) => {
                let _ = tell.send(Ok(contents));
                keeper.run();
            }
            Err(error) => _ = tell.send(Err(error)),
        };
        let thread = thread::Builder::new().name("store".into()).spawn(work)?;
        let contents = told.recv().map_err(io::Error::other)??;
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
        let mut condition = self.shared.condition();
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

/// How the keeper comes to what it keeps, on its own thread.
trait Open:
    FnOnce(Arc<Shared>, Receiver<Request>) -> io::Result<(Keeper, Contents)> + Send + 'static
{
}

impl<O> Open for O where
    O: FnOnce(Arc<Shared>, Receiver<Request>) -> io::Result<(Keeper, Contents)> + Send + 'static
{
}

const REQUESTS_MAX: usize = 256;
const DATABASE: &str = "state.redb";

#[cfg(test)]
mod mortal;
#[cfg(test)]
mod tests;
