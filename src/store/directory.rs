//! The state directory, and the small files in it.
//!
//! Owns the lock that keeps a second instance out, the placement key, and the administrator's states
//! of nodes. Every write is whole or not at all: a new file, made durable, takes the old one's name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state directory of a running instance.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held as long as the instance lives; the system gives it back even after kill −9.
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another instance has it.
    #[error(
        "state_dir {0}: another instance of pinfold uses it; each needs a directory of its own"
    )]
    Locked(PathBuf),
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
        let name = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&name)
            .map_err(unusable("write", &name))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked(path.into())),
            Err(TryLockError::Error(cause)) => Err(unusable("lock", &name)(cause)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The placement key, made now where there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or no random numbers are to be had.
    pub fn placement_key(&self) -> Result<String, StateError> {
        let name = self.path.join("placement.key");
        match fs::read_to_string(&name) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable("read", &name)(error)),
        }
        let key = random_key().map_err(unusable("make a key for", &name))?;
        self.replace("placement.key", format!("{key}\n").as_bytes())?;
        Ok(key)
    }

    /// The administrator's states of nodes. A damaged file is set aside, so that the service starts.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or cannot be set aside.
    pub fn administered(&self) -> Result<Found, StateError> {
        let name = self.path.join(NODES);
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
            Ok(file) if file.version == NODES_VERSION => Ok(Found::States(file.nodes)),
            Ok(_) | Err(_) => {
                let aside = self
                    .path
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
        let text = text.map_err(unusable("write", &self.path.join(NODES)))?;
        self.replace(NODES, &text)
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let (target, draft) = (self.path.join(name), self.path.join(format!("{name}.new")));
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
            File::open(&self.path)?.sync_all()
        };
        write().map_err(unusable("write", &target))
    }
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
    move |cause| StateError::Unusable { what, path, cause }
}

const NODES: &str = "nodes.json";
const NODES_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, gone when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let name = format!(
                "pinfold-store-{}-{}",
                std::process::id(),
                random_key().unwrap()
            );
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn draining(node: &str) -> Administered {
        Administered {
            pool: "edge".into(),
            node: node.into(),
            state: Wanted::Draining,
            since: Timestamp::UNIX_EPOCH,
            by: "uid 0".into(),
            reason: Some("CHG1".into()),
            deadline: None,
            maintenance: None,
        }
    }

    #[test]
    fn a_second_instance_is_refused_until_the_first_has_ended() {
        let scratch = Scratch::new();
        let first = StateDir::open(&scratch.0).unwrap();
        assert!(matches!(
            StateDir::open(&scratch.0),
            Err(StateError::Locked(_))
        ));
        drop(first);
        StateDir::open(&scratch.0).unwrap();
    }

    #[test]
    fn the_placement_key_is_made_once() {
        let scratch = Scratch::new();
        let directory = StateDir::open(&scratch.0).unwrap();
        let key = directory.placement_key().unwrap();
        assert_eq!(key.len(), 32);
        assert_eq!(directory.placement_key().unwrap(), key);
    }

    #[test]
    fn states_of_nodes_last() {
        let scratch = Scratch::new();
        let states = vec![draining("edge1"), draining("edge2")];
        StateDir::open(&scratch.0)
            .unwrap()
            .save_administered(&states)
            .unwrap();
        let found = StateDir::open(&scratch.0).unwrap().administered().unwrap();
        assert!(matches!(found, Found::States(found) if found == states));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_nothing_is_lost() {
        let scratch = Scratch::new();
        let directory = StateDir::open(&scratch.0).unwrap();
        for damage in [
            &b"{\"version\": 1, \"nodes\": [{"[..],
            b"\xff\xfe",
            b"{\"version\":9,\"nodes\":[]}",
        ] {
            fs::write(scratch.0.join(NODES), damage).unwrap();
            let Found::Damaged(aside) = directory.administered().unwrap() else {
                panic!("damage is noticed")
            };
            assert_eq!(fs::read(aside).unwrap(), damage);
            assert!(matches!(directory.administered().unwrap(), Found::States(s) if s.is_empty()));
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let error = StateDir::open(Path::new("/proc/pinfold")).unwrap_err();
        assert!(error.to_string().contains("/proc/pinfold"), "{error}");
    }
}
