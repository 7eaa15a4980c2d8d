//! Where the segments of the journal lie: files beside the database, `state.journal-<number>`.

use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::condition::name_aside;
use super::directory::StateDir;

/// Segments by number. A trait for the sake of tests whose disks die.
pub(super) trait Shelf: Debug + Send + Sync {
    /// The numbers there are, in their order.
    fn numbers(&self) -> io::Result<Vec<u64>>;
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;
    /// A new and empty one, to be written to from its beginning.
    fn create(&self, number: u64) -> io::Result<Box<dyn Write + Send>>;
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Gives it a name by which it is no segment any more.
    fn set_aside(&self, number: u64) -> io::Result<PathBuf>;
    /// Its name.
    fn path(&self, number: u64) -> PathBuf;
}

/// The files beside a database, in a directory that may be somebody's to keep.
#[derive(Debug)]
pub(super) struct Beside(PathBuf, Option<StateDir>);

impl Beside {
    pub(super) fn new(database: &Path, home: Option<StateDir>) -> Self {
        Self(database.into(), home)
    }
}

impl Shelf for Beside {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let stem = self.0.file_stem().unwrap_or_default().to_string_lossy();
        let start = format!("{stem}.journal-");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.0.parent().unwrap_or(&self.0))? {
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

    fn create(&self, number: u64) -> io::Result<Box<dyn Write + Send>> {
        // Its next start would read what is written here over what is its own.
        if self.1.as_ref().is_some_and(StateDir::is_taken) {
            return Err(io::Error::other(
                "another instance of pinfold uses the directory",
            ));
        }
        let mut options = OpenOptions::new();
        let options = options.create_new(true).append(true).mode(0o600);
        Ok(Box::new(options.open(self.path(number))?))
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
        self.0.with_extension(format!("journal-{number}"))
    }
}

/// One entry at its longest.
const LENGTH_MAX: u64 = 4 << 30;
