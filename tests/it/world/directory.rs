//! A directory of one test, and what lies in it.

use std::fs;
use std::path::{Path, PathBuf};

use super::Setup;

/// A directory under the system's temporary one, removed when dropped.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create() -> Self {
        let name = format!(
            "pinfold-it-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let directory = Self(std::env::temp_dir().join(name));
        fs::create_dir(&directory.0).unwrap();
        fs::create_dir(directory.state()).unwrap();
        directory
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("pinfold.toml")
    }

    pub(crate) fn admin(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Puts the file in place at once, as an editor would: a reload never sees half of it.
    pub(crate) fn write(&self, setup: &Setup) {
        self.write_text(&setup.text(self));
    }

    /// As [`write`](Self::write), whatever the text.
    pub(crate) fn write_text(&self, text: &str) {
        let beside = self.0.join("pinfold.toml.new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.config()).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
