//! The directory while it is in use: what somebody removes from it is made anew.
//!
//! Done by whoever is about to write there, and now and then by the thread that waits for the disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::PoisonError;

use super::{StateDir, StateError, explained, unusable, write_whole};

impl StateDir {
    /// Sees to it that the directory, the lock and the small files are there, and says what was not.
    ///
    /// # Errors
    ///
    /// Another instance has taken the directory, so that nothing may be written there; or what is missing
    /// cannot be made.
    pub(in crate::store) fn stand(&self) -> Result<(), StateError> {
        let upkeep = self.0.upkeep.lock();
        let _upkeep = upkeep.unwrap_or_else(PoisonError::into_inner);
        self.make_again()?;
        self.hold()?;
        for (name, content) in &*self.contents() {
            let path = self.path().join(name);
            if !path.try_exists().map_err(unusable("read", &path))? {
                write_whole(self.path(), name, content)?;
                tell(&path);
            }
        }
        Ok(())
    }

    /// Whether the lock in the directory is not the one that this instance holds, and there is one. Locked by
    /// somebody or not: that is seen when it is next [made sure of](Self::stand).
    pub(in crate::store) fn is_taken(&self) -> bool {
        let there = fs::metadata(self.path().join(LOCK)).ok();
        let there = there.as_ref().map(identity);
        there.is_some() && there != self.held()
    }

    fn held(&self) -> Option<(u64, u64)> {
        let locks = self.0.locks.lock();
        let locks = locks.unwrap_or_else(PoisonError::into_inner);
        let held = locks.last()?.metadata().ok()?;
        Some(identity(&held))
    }

    fn make_again(&self) -> Result<(), StateError> {
        let (path, mode) = (self.path(), self.0.mode);
        if path.is_dir() {
            return Ok(());
        }
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            fs::set_permissions(path, Permissions::from_mode(mode))
        };
        make().map_err(|cause| StateError::Gone {
            path: path.into(),
            mode,
            cause: explained(path, cause),
        })?;
        tell(path);
        Ok(())
    }

    /// Holds the lock that is in the directory. Those that were there before stay held: the directory may
    /// have another name now, and be somebody's.
    fn hold(&self) -> Result<(), StateError> {
        let path = self.path().join(LOCK);
        // Held all the while, or two threads that find it gone would lock each other out.
        let locks = self.0.locks.lock();
        let mut locks = locks.unwrap_or_else(PoisonError::into_inner);
        let there = fs::metadata(&path);
        let held = locks.last().and_then(|held| held.metadata().ok());
        match (there, held) {
            (Ok(there), Some(held)) if identity(&there) == identity(&held) => return Ok(()),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unusable("read", &path)(error));
            }
            _ => {}
        }
        let lock = lock(self.path())?;
        if locks.len() >= LOCKS_MAX {
            drop(locks.pop());
        }
        locks.push(lock);
        tell(&path);
        Ok(())
    }
}

/// Device and number of a file.
fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Locks a directory.
pub(super) fn lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(&path).map_err(unusable("write", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::Locked(directory.into())),
        Err(TryLockError::Error(cause)) => Err(unusable("lock", &path)(cause)),
    }
}

fn tell(path: &Path) {
    tracing::error!(
        file = %path.display(),
        "state-removed: it was removed or replaced while it is in use, and is made anew from memory"
    );
}

const LOCK: &str = "lock";
/// The newest goes for another one beyond it.
const LOCKS_MAX: usize = 8;
