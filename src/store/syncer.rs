//! The thread that makes the journal durable.
//!
//! Syncs what it is handed, in order, while the keeper goes on writing and the committer commits. Where
//! somebody waits for it, it then sees whether all of it will be found at the next start. Decides nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle, Thread};

use super::shelf::{Leaf, Shelf};

/// What is to be made durable.
#[derive(Debug)]
pub(super) struct Due {
    /// Segments, by number.
    pub(super) segments: Vec<(u64, Arc<dyn Leaf>)>,
    /// Those of which it is to be seen whether they are in place; nothing where nobody asks.
    pub(super) needed: Option<Vec<(u64, Arc<dyn Leaf>)>>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Synced {
    /// Which could not be synced, and why.
    pub(super) result: Result<(), (u64, io::Error)>,
    /// Needed, and not in place.
    pub(super) missing: Vec<u64>,
    /// The directory is not ours, or the database not in it.
    pub(super) is_displaced: bool,
}

/// The thread, as the keeper sees it.
pub(super) struct Syncer {
    due: SyncSender<Due>,
    outcomes: Receiver<Synced>,
    thread: JoinHandle<()>,
}

impl Syncer {
    /// Starts it; `keeper` is woken by every outcome.
    pub(super) fn start(shelf: Arc<dyn Shelf>, keeper: Thread) -> io::Result<Self> {
        let (due, inbox) = sync_channel::<Due>(1);
        let (tell, outcomes) = sync_channel(1);
        let thread = thread::Builder::new().name("store-sync".into());
        let thread = thread.spawn(move || {
            for due in inbox {
                let is_heard = tell.send(sync(&*shelf, &due)).is_ok();
                keeper.unpark();
                if !is_heard {
                    break;
                }
            }
        })?;
        Ok(Self {
            due,
            outcomes,
            thread,
        })
    }

    /// Hands it work; it has none at this moment.
    pub(super) fn hand(&self, due: Due) {
        // Where it has ended nothing comes of it, and that is noticed when its outcome is asked for.
        let _ = self.due.try_send(due);
    }

    /// What has become of its work.
    pub(super) const fn outcomes(&self) -> &Receiver<Synced> {
        &self.outcomes
    }

    /// Waits until it has let go of the journal.
    pub(super) fn end(self) {
        drop((self.due, self.outcomes));
        let _ = self.thread.join();
    }
}

/// Syncs, and sees what is in place.
pub(super) fn sync(shelf: &dyn Shelf, due: &Due) -> Synced {
    let sync =
        |(number, leaf): &(u64, Arc<dyn Leaf>)| leaf.sync().map_err(|error| (*number, error));
    let result = due.segments.iter().try_for_each(sync);
    let needed = due.needed.as_ref().filter(|_| result.is_ok());
    let is_displaced = needed.is_some() && !shelf.is_in_place();
    let missing = needed.into_iter().flatten();
    let missing = missing.filter(|(_, leaf)| !leaf.is_in_place());
    Synced {
        missing: missing.map(|(number, _)| *number).collect(),
        is_displaced,
        result,
    }
}
