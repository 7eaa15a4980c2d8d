//! The thread that takes the journal to the database.
//!
//! Owns the database. Commits what it is handed, one after the other; then removes the segments of the journal that the commit covers. Decides
//! nothing: when, and what after a failure, is the keeper's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::batch::Batch;
use super::disk::Disk;
use super::shelf::{Leaf, Shelf};
use crate::sys;

/// What is to be committed.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) batch: Batch,
    /// What segments up to this hold is committed with it.
    pub(super) covers: u64,
    /// The segments that there are, up to that.
    pub(super) segments: Vec<u64>,
    /// Where what comes later is written. Its name is made durable here, while the last segment is synced, so
    /// that no sync takes twice as long as others.
    pub(super) next: Option<Arc<dyn Leaf>>,
}

/// What became of it. What was not committed comes back.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed,
    /// The database was opened anew, and may be an empty one: all pins are wanted.
    Anew(Batch),
    Failed(Batch, String),
}

/// The thread, as the keeper sees it.
pub(super) struct Committer {
    handed: SyncSender<Handed>,
    outcomes: Receiver<Outcome>,
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts it; `keeper` is woken by every outcome.
    pub(super) fn start(disk: Disk, shelf: Arc<dyn Shelf>, keeper: Thread) -> io::Result<Self> {
        let (handed, inbox) = sync_channel(1);
        let (tell, outcomes) = sync_channel(1);
        let thread = thread::Builder::new().name("store-disk".into());
        let thread = thread.spawn(move || run(disk, &*shelf, &inbox, &tell, &keeper))?;
        Ok(Self {
            handed,
            outcomes,
            thread,
        })
    }

    /// Hands it work; it has none at this moment.
    pub(super) fn hand(&self, handed: Handed) {
        // Where it has ended nothing comes of it, and that is noticed when its outcome is asked for.
        let _ = self.handed.try_send(handed);
    }

    /// What has become of its work.
    pub(super) fn outcomes(&self) -> &Receiver<Outcome> {
        &self.outcomes
    }

    /// Waits until it has let go of the database.
    pub(super) fn end(self) {
        drop(self.handed);
        let _ = self.thread.join();
    }
}

fn run(
    mut disk: Disk,
    shelf: &dyn Shelf,
    inbox: &Receiver<Handed>,
    tell: &SyncSender<Outcome>,
    keeper: &Thread,
) {
    loop {
        let handed = match inbox.recv_timeout(LOOK) {
            Ok(handed) => handed,
            Err(RecvTimeoutError::Timeout) => {
                disk.look();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let (outcome, covered) = commit(&mut disk, handed);
        let is_heard = tell.send(outcome).is_ok();
        keeper.unpark();
        remove(shelf, &covered);
        sys::memory::give_back();
        if !is_heard {
            break;
        }
    }
    disk.close();
}

/// Commits; what became of it, and the segments that are needed no more.
pub(super) fn commit(disk: &mut Disk, handed: Handed) -> (Outcome, Vec<u64>) {
    let Handed {
        batch,
        covers,
        segments,
        next,
    } = handed;
    if let Some(next) = next {
        // Where it fails its first sync tries it again.
        let _ = next.sync_name();
    }
    let outcome = match disk.ready() {
        Err(why) => Outcome::Failed(batch, why),
        Ok(true) if !batch.are_all_pins => Outcome::Anew(batch),
        Ok(_) => match disk.commit(&batch, covers) {
            Ok(()) => return (Outcome::Committed, segments),
            Err(why) => Outcome::Failed(batch, why),
        },
    };
    (outcome, Vec::new())
}

/// Removes segments. One that stays is covered all the same, and goes at the next start.
pub(super) fn remove(shelf: &dyn Shelf, segments: &[u64]) {
    for number in segments {
        let _ = shelf.remove(*number);
    }
}

/// How long what was removed while nothing is written goes unnoticed.
const LOOK: Duration = Duration::from_secs(5);
