//! The database, and what is done while it cannot be written or read.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Batch;
use super::condition::{Part, Shared, identity, name_aside};
use super::directory::StateDir;
use super::file::{Failure, Rows, StateFile, Unusable, guarded};
use super::shelf::sync_directory;

/// The file, where it can be had.
pub(super) struct Disk {
    path: PathBuf,
    /// The directory, where it is somebody's to keep.
    home: Option<StateDir>,
    shared: Arc<Shared>,
    file: Option<StateFile>,
    /// What the file held is known, or there was none: it may be written over.
    is_read: bool,
    /// It was missing when it was last looked for, and could not be made.
    is_missed: bool,
    open: Open,
}

/// Opens and reads the database at a path, or makes it.
pub(super) type Open = Box<dyn FnMut(&Path) -> Result<(StateFile, Rows), Unusable> + Send>;

impl Disk {
    /// Opens and reads the file. One that is damaged is set aside; one that cannot be written is read
    /// all the same.
    pub(super) fn open(path: PathBuf, home: Option<StateDir>, shared: Arc<Shared>) -> (Self, Rows) {
        // Half of one that was to take the place of one that was removed.
        let _ = fs::remove_file(draft(&path));
        let (disk, rows) = Self::open_by(Box::new(open), path, shared);
        (Self { home, ..disk }, rows)
    }

    /// As [`open`](Self::open), by other means.
    pub(super) fn open_by(open: Open, path: PathBuf, shared: Arc<Shared>) -> (Self, Rows) {
        let mut disk = Self {
            path,
            home: None,
            shared,
            file: None,
            is_read: true,
            is_missed: false,
            open,
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

    /// Opens the file where it is not open; whether it was opened now, so that what it holds is old.
    pub(super) fn ready(&mut self) -> Result<bool, String> {
        match self.keep_in_place() {
            Ok(()) => {}
            // What it alone held is lost, and pins are in memory.
            Err(Failure::Old(error)) => {
                self.shared.is_removed(&self.path, Some(&error));
                self.drop_file();
            }
            Err(Failure::New(error)) => return self.fails(&error),
        }
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

    pub(super) fn commit(&mut self, batch: &Batch, covers: u64) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err(format!("{} is not open", self.path.display()));
        };
        match guarded(|| file.commit(batch, covers)) {
            Ok(()) => {
                self.is_missed = false;
                self.shared.succeeds(Part::Database, &self.path);
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
        let (file, rows) = guarded(|| (self.open)(&self.path))?;
        self.file = Some(file);
        self.shared.database_is(identity(&self.path));
        Ok(rows)
    }

    /// Sees whether the file is still in its place, while there is nothing to write.
    pub(super) fn look(&mut self) {
        match self.keep_in_place() {
            Ok(()) if self.is_missed && self.file.is_some() => {
                self.is_missed = false;
                self.shared.succeeds(Part::Database, &self.path);
            }
            Ok(()) => {}
            Err(Failure::Old(error) | Failure::New(error)) => {
                self.is_missed = true;
                let _: Result<(), _> = self.fails(&error);
            }
        }
    }

    /// A file that is no longer the one at its path keeps nothing: whoever removed or replaced it would have
    /// all that is written lost at the next start. It can be read as long as it is open, so all of it goes
    /// to a new one.
    fn keep_in_place(&mut self) -> Result<(), Failure> {
        let refused = |error: io::Error| Failure::New(Unusable::Disk(error.to_string()));
        if let Some(home) = &self.home {
            home.stand()
                .map_err(|error| Failure::New(Unusable::Disk(chain(&error))))?;
        }
        let Some(old) = self.file.as_ref().filter(|_| self.is_removed()) else {
            return Ok(());
        };
        if fs::symlink_metadata(&self.path).is_ok() {
            self.set_aside("it was put there while another was in use")
                .map_err(refused)?;
        }
        let draft = draft(&self.path);
        let _ = fs::remove_file(&draft);
        let (new, _) = guarded(|| (self.open)(&draft)).map_err(Failure::New)?;
        new.take_over(old)?;
        fs::rename(&draft, &self.path).map_err(refused)?;
        sync_directory(&self.path).map_err(refused)?;
        self.drop_file();
        self.file = Some(new);
        self.shared.database_is(identity(&self.path));
        self.shared.is_removed(&self.path, None);
        Ok(())
    }

    fn is_removed(&self) -> bool {
        let in_use = self.shared.database();
        self.file.is_some() && in_use.is_some() && identity(&self.path) != in_use
    }

    fn drop_file(&mut self) {
        let file = self.file.take();
        self.shared.database_is(None);
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
        self.shared.is_set_aside(&self.path, aside, why);
        Ok(())
    }

    fn fails<T>(&self, error: &Unusable) -> Result<T, String> {
        Err(self.shared.fails(Part::Database, &self.path, error))
    }
}

/// What is to take the place of the file at `path`.
fn draft(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// An error and its cause.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Opens and reads the file at `path`, or makes it.
fn open(path: &Path) -> Result<(StateFile, Rows), Unusable> {
    let refused = |error: io::Error| Unusable::Disk(error.to_string());
    let is_new = !fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if is_new {
        // For its mode: redb would leave that to the mask of the process.
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(0o600);
        options.open(path).map_err(refused)?;
    }
    let opened = guarded(|| StateFile::open(path));
    if is_new && opened.is_ok() {
        sync_directory(path).map_err(refused)?;
    }
    if is_new && opened.is_err() {
        // Half a new file would look damaged the next time.
        let _ = fs::remove_file(path);
    }
    opened
}
