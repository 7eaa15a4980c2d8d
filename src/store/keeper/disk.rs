//! The file, and what is done while it cannot be written or read.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::file::{Batch, Rows, StateFile, Unusable, guarded};
use super::{Shared, Trouble};

/// The file, where it can be had.
pub(super) struct Disk {
    path: PathBuf,
    shared: Arc<Shared>,
    file: Option<StateFile>,
    /// What the file held is known, or there was none: it may be written over.
    is_read: bool,
    next_try: Instant,
    pause: Duration,
}

impl Disk {
    /// Opens and reads the file. One that is damaged is set aside; one that cannot be written is read
    /// all the same.
    pub(super) fn open(path: PathBuf, shared: Arc<Shared>) -> (Self, Rows) {
        let mut disk = Self {
            path,
            shared,
            file: None,
            is_read: true,
            next_try: Instant::now(),
            pause: PAUSE_MIN,
        };
        match disk.try_open() {
            Ok(rows) => (disk, rows),
            Err(error) => {
                let copy = guarded(|| StateFile::read_only(&disk.path));
                disk.is_read = copy.is_ok() || !disk.path.exists();
                let _: Result<(), _> = disk.fails(&error);
                (disk, copy.unwrap_or_default())
            }
        }
    }

    pub(super) fn next_try(&self) -> Instant {
        self.next_try
    }

    pub(super) fn may_be_tried(&self, now: Instant) -> bool {
        self.next_try <= now
    }

    /// Opens the file where it is not open; whether it was opened now, so that what it holds is old.
    pub(super) fn ready(&mut self) -> Result<bool, String> {
        if self.file.is_some() {
            return Ok(false);
        }
        if !self.is_read
            && self.path.exists()
            && let Err(error) = self.set_aside("it could not be read before")
        {
            return self.fails(&Unusable::Disk(error.to_string()));
        }
        match self.try_open() {
            Ok(_) => {
                self.is_read = true;
                Ok(true)
            }
            Err(error) => self.fails(&error),
        }
    }

    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err(format!("{} is not open", self.path.display()));
        };
        match guarded(|| file.commit(batch)) {
            Ok(()) => {
                self.succeeds();
                Ok(())
            }
            // After any failure redb wants the file to be opened anew.
            Err(error) => {
                self.drop_file();
                self.fails(&error)
            }
        }
    }

    /// Lets go of the file.
    pub(super) fn close(&mut self) {
        self.drop_file();
    }

    fn try_open(&mut self) -> Result<Rows, Unusable> {
        match self.open_once() {
            Err(error @ (Unusable::Damaged(_) | Unusable::Newer(_))) => {
                let aside = self.set_aside(&error.to_string());
                aside.map_err(|error| Unusable::Disk(error.to_string()))?;
                self.open_once()
            }
            result => result,
        }
    }

    fn open_once(&mut self) -> Result<Rows, Unusable> {
        let refused = |error: io::Error| Unusable::Disk(error.to_string());
        let is_new = !fs::metadata(&self.path).is_ok_and(|file| file.len() > 0);
        if is_new {
            // For its mode: redb would leave that to the mask of the process.
            let mut options = OpenOptions::new();
            let options = options.create(true).append(true).mode(0o600);
            options.open(&self.path).map_err(refused)?;
        }
        match guarded(|| StateFile::open(&self.path)) {
            Ok((file, rows)) => {
                self.file = Some(file);
                Ok(rows)
            }
            Err(error) => {
                // Half a new file would look damaged the next time.
                if is_new {
                    let _ = fs::remove_file(&self.path);
                }
                Err(error)
            }
        }
    }

    fn drop_file(&mut self) {
        let file = self.file.take();
        // It writes when it is dropped, which may fail, and panic.
        let _ = guarded(|| {
            drop(file);
            Ok(())
        });
    }

    /// Gives the file another name, so that nothing in it is lost.
    fn set_aside(&self, why: &str) -> io::Result<()> {
        let aside = name_aside(&self.path);
        fs::rename(&self.path, &aside)?;
        tracing::error!(
            file = %self.path.display(), aside = %aside.display(), why,
            "state-set-aside: the file cannot be used; pins and the ledger begin anew"
        );
        self.shared.condition().set_aside.push(aside);
        Ok(())
    }

    fn fails<T>(&mut self, error: &Unusable) -> Result<T, String> {
        self.next_try = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let file = self.path.display();
        let what = format!("{file}: {error}");
        let mut condition = self.shared.condition();
        if condition.trouble.is_none() {
            tracing::error!(
                %file, %error,
                "state-not-kept: pins and the ledger live in memory alone until it can be written again"
            );
        }
        let since = condition.trouble.as_ref();
        let since = since.map_or_else(Timestamp::now, |trouble| trouble.since);
        condition.trouble = Some(Trouble {
            what: what.clone(),
            since,
        });
        Err(what)
    }

    fn succeeds(&mut self) {
        self.pause = PAUSE_MIN;
        if self.shared.condition().trouble.take().is_some() {
            let file = self.path.display();
            tracing::info!(%file, "state-kept: it is written again, and nothing is missing");
        }
    }
}

/// A name that no file has.
fn name_aside(path: &Path) -> PathBuf {
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
