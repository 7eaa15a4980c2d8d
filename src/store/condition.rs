//! How the store fares, and the patience with which it tries again.
//!
//! The database and the journal may be in trouble each for itself. The log is told once when the first of
//! them is, and once when neither is any more.

use std::fmt::Display;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::book::Desk;

/// How the store fares.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Why what changes cannot be written at this moment.
    pub trouble: Option<Trouble>,
    /// Files that could not be read, under their new names.
    pub set_aside: Vec<PathBuf>,
    /// Pages of books that found no room while nothing could be written.
    pub dropped: u64,
}

/// Why what changes cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The file and the cause, in words.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

/// What the threads of the store and its askers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// A pin has changed.
    pub(super) has_news: AtomicBool,
    pub(super) desk: Arc<Desk>,
    standing: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    database: Option<Trouble>,
    journal: Option<Trouble>,
    set_aside: Vec<PathBuf>,
    /// The file of the database that is open, where it is one.
    in_use: Option<Identity>,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Database,
    Journal,
}

impl Shared {
    pub(super) fn condition(&self) -> Condition {
        let standing = self.standing();
        Condition {
            trouble: standing
                .database
                .as_ref()
                .or(standing.journal.as_ref())
                .cloned(),
            set_aside: standing.set_aside.clone(),
            dropped: self.desk.dropped(),
        }
    }

    /// `file` cannot be written; what to tell whoever waits for it.
    pub(super) fn fails(&self, part: Part, file: &Path, error: &dyn Display) -> String {
        let mut standing = self.standing();
        let what = format!("{}: {error}", file.display());
        if standing.database.is_none() && standing.journal.is_none() {
            tracing::error!(
                file = %file.display(), %error,
                "state-not-kept: pins and the ledger live in memory alone until it can be written again"
            );
        }
        let trouble = standing.of(part);
        let since = trouble.as_ref();
        let since = since.map_or_else(Timestamp::now, |trouble| trouble.since);
        *trouble = Some(Trouble {
            what: what.clone(),
            since,
        });
        what
    }

    /// `file` is written.
    pub(super) fn succeeds(&self, part: Part, file: &Path) {
        let mut standing = self.standing();
        let was_in_trouble = standing.of(part).take().is_some();
        if was_in_trouble && standing.database.is_none() && standing.journal.is_none() {
            let file = file.display();
            tracing::info!(%file, "state-kept: it is written again, and nothing is missing");
        }
    }

    /// `file` has another name now.
    pub(super) fn is_set_aside(&self, file: &Path, aside: PathBuf, why: &str) {
        tracing::error!(
            file = %file.display(), aside = %aside.display(), why,
            "state-set-aside: the file cannot be used; what it alone held begins anew"
        );
        self.standing().set_aside.push(aside);
    }

    /// `file` is not the one any more that was open; and what was open cannot be read, if so.
    pub(super) fn is_removed(&self, file: &Path, lost: Option<&dyn Display>) {
        let file = file.display();
        match lost {
            None => tracing::error!(
                %file,
                "state-removed: it was removed or replaced while it is in use, and is made anew with all that \
                 it held"
            ),
            Some(error) => tracing::error!(
                %file, %error,
                "state-removed: it was removed or replaced while it is in use, and cannot be read; it is made \
                 anew with all pins, and what it alone held begins anew"
            ),
        }
    }

    /// The database that is open is this file.
    pub(super) fn database_is(&self, file: Option<Identity>) {
        self.standing().in_use = file;
    }

    /// The file of the database that is open, where it is one.
    pub(super) fn database(&self) -> Option<Identity> {
        self.standing().in_use
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn of(&mut self, part: Part) -> &mut Option<Trouble> {
        match part {
            Part::Database => &mut self.database,
            Part::Journal => &mut self.journal,
        }
    }
}

/// When what failed is tried again.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) next_try: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            next_try: Instant::now(),
            pause: PAUSE_MIN,
        }
    }

    pub(super) fn fails(&mut self) {
        self.next_try = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    pub(super) fn succeeds(&mut self) {
        self.pause = PAUSE_MIN;
    }
}

/// Device and number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

/// Which file has this name.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|file| Identity::of(&file))
}

/// A name that no file has.
pub(super) fn name_aside(path: &Path) -> PathBuf {
    let seconds = Timestamp::now().as_second();
    let name = |number: i64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    let mut numbers = seconds..;
    let free = numbers.find(|number| !name(*number).exists());
    name(free.unwrap_or(seconds))
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
