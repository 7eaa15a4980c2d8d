//! The state directory, and the small files in it.
//!
//! Owns the lock that keeps a second instance out, the placement key, and the administrator's states
//! of nodes. Every write is whole or not at all: a new file, made durable, takes the old one's name.
//! What is removed while it is in use is made anew from memory (`upkeep`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::confine::files::{self, Wish};

mod maintained;
mod upkeep;

/// The state directory of a running instance. Clones are the same one.
#[derive(Clone, Debug)]
pub struct StateDir(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// The directory's mode, for one that is to be made anew.
    mode: u32,
    /// Held as long as the instance lives; the system gives them back even after kill −9. The last is the
    /// one in the directory, the others were, and may be elsewhere now.
    locks: Mutex<Vec<File>>,
    /// Held by the one thread that sees to it that all of it is there.
    upkeep: Mutex<()>,
    /// What is in the small files, as this instance has read or written it.
    contents: Mutex<BTreeMap<&'static str, Vec<u8>>>,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another instance has it.
    #[error(
        "state_dir {0}: another instance of pinfold uses it; each needs a directory of its own"
    )]
    Locked(PathBuf),
    /// It was removed while it is in use.
    #[error(
        "state_dir {path} is gone and cannot be made anew: {cause}; make it again with mode {mode:o}, \
         owned by the user that pinfold runs as"
    )]
    Gone {
        /// The directory.
        path: PathBuf,
        /// The mode that it had.
        mode: u32,
        /// Why not.
        cause: io::Error,
    },
    /// A file or the directory cannot be used.
    #[error("state_dir: cannot {what} {path}")]
    Unusable {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// What an administrator wants of a node, until it is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administered {
    /// The pool.
    pub pool: String,
    /// The node.
    pub node: String,
    /// What is wanted.
    pub state: Wanted,
    /// Since when.
    pub since: Timestamp,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When a drain cuts what is left.
    pub deadline: Option<Timestamp>,
    /// The maintenance of the node, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
}

/// A node is being emptied, or is empty, for maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Since when.
    pub since: Timestamp,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// What an administrator wanted of the node before; none: what the file says.
    pub before: Option<Box<Administered>>,
}

/// The states that an administrator can give a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// Takes sessions, whatever the file says.
    Active,
    /// Takes no new sessions.
    Draining,
    /// Has no sessions.
    Disabled,
}

/// The administrator's states as they stand in the file.
#[derive(Debug, Serialize, Deserialize)]
struct NodesFile {
    version: u32,
    nodes: Vec<Administered>,
}

/// What was found in the file of node states.
#[derive(Debug)]
pub enum Found {
    /// These states; none where there was no file.
    States(Vec<Administered>),
    /// A file that nobody can read any more; it was set aside under this name.
    Damaged(PathBuf),
}

impl StateDir {
    /// Opens and locks the directory, and makes it where it is missing.
    ///
    /// # Errors
    ///
    /// Another instance has it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(unusable("make", path))?;
        let lock = upkeep::lock(path)?;
        let found = fs::metadata(path).map_err(unusable("read", path))?;
        Ok(Self(Arc::new(Held {
            path: path.into(),
            mode: found.mode() & 0o7777,
            locks: Mutex::new(vec![lock]),
            upkeep: Mutex::default(),
            contents: Mutex::default(),
        })))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The placement key, made now where there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or no random numbers are to be had.
    pub fn placement_key(&self) -> Result<String, StateError> {
        let name = self.path().join(KEY);
        match fs::read_to_string(&name) {
            Ok(text) if !text.trim().is_empty() => {
                self.contents().insert(KEY, text.clone().into());
                return Ok(text.trim().into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable("read", &name)(error)),
        }
        let key = random_key().map_err(unusable("make a key for", &name))?;
        self.replace(KEY, format!("{key}\n").into())?;
        Ok(key)
    }

    /// The administrator's states of nodes. A damaged file is set aside, so that the service starts.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or cannot be set aside.
    pub fn administered(&self) -> Result<Found, StateError> {
        let name = self.path().join(NODES);
        let mut text = String::new();
        match File::open(&name).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found::States(Vec::new()));
            }
            // Not UTF-8 is damage like any other.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => text.clear(),
            Err(error) => return Err(unusable("read", &name)(error)),
        }
        match serde_json::from_str::<NodesFile>(&text) {
            Ok(file) if file.version == NODES_VERSION => {
                self.contents().insert(NODES, text.into());
                Ok(Found::States(file.nodes))
            }
            Ok(_) | Err(_) => {
                let aside = self
                    .path()
                    .join(format!("{NODES}.damaged-{}", Timestamp::now().as_second()));
                fs::rename(&name, &aside).map_err(unusable("set aside", &name))?;
                Ok(Found::Damaged(aside))
            }
        }
    }

    /// Writes the administrator's states; on return they are durable.
    ///
    /// # Errors
    ///
    /// The disk is full or read-only; the old states stand.
    pub fn save_administered(&self, nodes: &[Administered]) -> Result<(), StateError> {
        let file = NodesFile {
            version: NODES_VERSION,
            nodes: nodes.into(),
        };
        let text = serde_json::to_vec_pretty(&file).map_err(io::Error::other);
        let text = text.map_err(unusable("write", &self.path().join(NODES)))?;
        self.stand()?;
        self.replace(NODES, text)
    }

    fn replace(&self, name: &'static str, content: Vec<u8>) -> Result<(), StateError> {
        // Held, so that nobody makes an older one anew over it.
        let mut contents = self.contents();
        write_whole(self.path(), name, &content)?;
        contents.insert(name, content);
        Ok(())
    }

    fn contents(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<u8>>> {
        let contents = self.0.contents.lock();
        contents.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file of `directory`, wholly or not at all; durable on return.
fn write_whole(directory: &Path, name: &str, content: &[u8]) -> Result<(), StateError> {
    let (target, draft) = (directory.join(name), directory.join(format!("{name}.new")));
    let write = || {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, &target)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(unusable("write", &target))
}

/// A key that nobody can guess.
///
/// # Errors
///
/// The system has no random numbers.
pub fn random_key() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unusable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_path_buf();
    move |cause| StateError::Unusable {
        what,
        cause: explained(&path, cause),
        path,
    }
}

/// A refusal with what is behind it, where that is the sandbox.
fn explained(path: &Path, cause: io::Error) -> io::Error {
    match files::remedy(path, Wish::Change, &cause) {
        Some(remedy) => io::Error::new(cause.kind(), format!("{cause}: {remedy}")),
        None => cause,
    }
}

const KEY: &str = "placement.key";
const NODES: &str = "nodes.json";
const NODES_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
