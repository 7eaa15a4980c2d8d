//! Where the segments of the journal lie: files beside the database, `state.journal-<number>`.
//!
//! A name is durable only once its directory is synced, so that is part of the first sync of a segment,
//! unless somebody did it meanwhile.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use super::condition::{Identity, Shared, identity, name_aside};
use super::directory::StateDir;

/// Segments by number. A trait for the sake of tests whose disks die.
pub(super) trait Shelf: Debug + Send + Sync {
    /// The numbers there are, in their order.
    fn numbers(&self) -> io::Result<Vec<u64>>;
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;
    /// A new and empty one, to be written to from its beginning.
    fn create(&self, number: u64) -> io::Result<Arc<dyn Leaf>>;
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Gives it a name by which it is no segment any more.
    fn set_aside(&self, number: u64) -> io::Result<PathBuf>;
    /// Its name.
    fn path(&self, number: u64) -> PathBuf;
    /// Whether what is here will be found at the next start: the directory is ours, and the database the one
    /// that is open. What can be made anew without anybody's help is.
    fn is_in_place(&self) -> bool;
}

/// A segment that is open.
pub(super) trait Leaf: Debug + Send + Sync {
    /// Adds to its end, and waits for no disk.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once all that was appended before, and its name, outlast a power failure. After an error
    /// nothing is known of any of it.
    fn sync(&self) -> io::Result<()>;
    /// As [`sync`](Self::sync), for its name alone.
    fn sync_name(&self) -> io::Result<()>;
    /// Whether it is still the one of its name.
    fn is_in_place(&self) -> bool;
}

/// The files beside a database, in a directory that may be somebody's to keep.
#[derive(Debug)]
pub(super) struct Beside {
    database: PathBuf,
    home: Option<StateDir>,
    shared: Arc<Shared>,
}

impl Beside {
    pub(super) fn new(database: &Path, home: Option<StateDir>, shared: Arc<Shared>) -> Self {
        Self {
            database: database.into(),
            home,
            shared,
        }
    }
}

impl Shelf for Beside {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let stem = self
            .database
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let start = format!("{stem}.journal-");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.database.parent().unwrap_or(&self.database))? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&start));
            let number: Option<u64> = number.and_then(|number| number.parse().ok());
            // "+7" is a number, too, and no name that was given here.
            numbers.extend(number.filter(|number| self.path(*number).file_name() == Some(&name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let path = self.path(number);
        if fs::metadata(&path)?.len() > LENGTH_MAX {
            return Err(io::Error::other("too long for a journal"));
        }
        fs::read(path)
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Leaf>> {
        // Its next start would read what is written here over what is its own.
        if self.home.as_ref().is_some_and(StateDir::is_taken) {
            return Err(io::Error::other(
                "another instance of pinfold uses the directory",
            ));
        }
        let mut options = OpenOptions::new();
        let options = options.create_new(true).append(true).mode(0o600);
        let path = self.path(number);
        let file = options.open(&path)?;
        Ok(Arc::new(SegmentFile {
            identity: Identity::of(&file.metadata()?),
            file,
            path,
            has_durable_name: AtomicBool::new(false),
        }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path(number))
    }

    fn set_aside(&self, number: u64) -> io::Result<PathBuf> {
        let path = self.path(number);
        let aside = name_aside(&path);
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.database.with_extension(format!("journal-{number}"))
    }

    fn is_in_place(&self) -> bool {
        let is_held = self.home.as_ref().is_none_or(|home| home.stand().is_ok());
        let in_use = self.shared.database();
        is_held && in_use.is_none_or(|in_use| identity(&self.database) == Some(in_use))
    }
}

/// A file of the journal.
#[derive(Debug)]
struct SegmentFile {
    file: File,
    path: PathBuf,
    identity: Identity,
    has_durable_name: AtomicBool,
}

impl Leaf for SegmentFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        match self.has_durable_name.load(SeqCst) {
            true => Ok(()),
            false => self.sync_name(),
        }
    }

    fn sync_name(&self) -> io::Result<()> {
        sync_directory(&self.path)?;
        self.has_durable_name.store(true, SeqCst);
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.identity)
    }
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// One entry at its longest.
const LENGTH_MAX: u64 = 4 << 30;
