//! Landlock: files outside a list are out of reach.
//!
//! Owns what is within reach, and can say afterwards whether a refusal of the system is its doing. Rights on a folder
//! hold for all that is in it, now and later, so that files may be replaced there; they are those of the folder, not
//! of its name. Rules for TCP ports are not made: a reload may bring any address.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Measure, Refused};

/// What stays within reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A file may be read, and what replaces it: its folder, and the one where it lies if it is a link. In folders
    /// that [everybody](SHARED) uses, the file alone, and what replaces it is out of reach.
    ReadBeside(PathBuf),
    /// All in a folder may be read.
    Read(PathBuf),
    /// Files in a folder may be made, read, written, renamed and removed.
    Keep(PathBuf),
    /// Sockets may be made in the folder of this one, and removed; not in those that [everybody](SHARED) uses.
    Socket(PathBuf),
}

/// Folders in which files of many lie side by side.
pub const SHARED: [&str; 17] = [
    "/",
    "/dev/shm",
    "/etc",
    "/etc/ssl",
    "/etc/ssl/private",
    "/home",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/tmp",
];

/// What is asked of the kernel: the newest that this was tested with. Beyond it the kernel would guard connecting to
/// sockets by their file, by which systemd is told.
const KNOWN: ABI = ABI::V7;

/// What each version of landlock that is asked for has brought.
const BROUGHT: [(ABI, &str); 4] = [
    (ABI::V2, "renaming between folders"),
    (ABI::V3, "truncation"),
    (ABI::V5, "ioctl on devices"),
    (
        ABI::V6,
        "signals to other processes, sockets without a file",
    ),
];

/// A file or folder, whatever its name.
type Identity = (u64, u64);

/// What a process wants with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To read it.
    Read,
    /// To make or change it.
    Change,
    /// To make a socket there.
    Listen,
}

impl Wish {
    fn covers(self, wish: Self) -> bool {
        self == wish || (self, wish) == (Self::Change, Self::Read)
    }
}

/// What is within reach, and for what, once nothing else is.
static WITHIN_REACH: OnceLock<Vec<(Identity, Wish)>> = OnceLock::new();

/// Whether landlock keeps this process from `path`, so that a refusal is its doing.
#[must_use]
pub fn hides(path: &Path, wish: Wish) -> bool {
    let Some(within_reach) = WITHIN_REACH.get() else {
        return false;
    };
    let grants = |found: &Metadata| {
        let mut all = within_reach.iter();
        all.any(|(each, granted)| *each == identity(found) && granted.covers(wish))
    };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
    // What is not there yet would lie in the nearest folder that is; for sockets no folders can be made.
    let mut folders = whole.ancestors();
    let there = match wish {
        Wish::Read | Wish::Change => folders.find_map(|each| each.canonicalize().ok()),
        Wish::Listen => folders.nth(1).and_then(|each| each.canonicalize().ok()),
    };
    let Some(there) = there else {
        return true;
    };
    let mut above = there.ancestors();
    !above.any(|each| fs::metadata(each).is_ok_and(|found| grants(&found)))
}

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

/// Puts all but `rules` out of reach. What is named and cannot be found is passed over. Returns what this kernel does not
/// know to guard.
pub(super) fn restrict(
    rules: &[Rule],
    abstract_sockets: bool,
) -> Result<Vec<&'static str>, Refused> {
    let (status, within_reach) =
        try_restrict(rules, abstract_sockets).map_err(|cause| Refused {
            measure: Measure::Landlock,
            cause,
            remedy: "let whatever starts it allow landlock_restrict_self(2)",
        })?;
    let known = match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => effective_abi,
        (_, LandlockStatus::NotEnabled) => {
            return Err(missing(
                "the kernel has it and it is switched off",
                "add `landlock` to `lsm=` on the kernel's command line, and boot",
            ));
        }
        _ => {
            return Err(missing(
                "the kernel does not have it",
                "use Linux 5.13 or later, with CONFIG_SECURITY_LANDLOCK",
            ));
        }
    };
    let _ = WITHIN_REACH.set(within_reach);
    let newer = BROUGHT.iter().filter(|(version, _)| *version > known);
    Ok(newer.map(|&(_, what)| what).collect())
}

fn missing(cause: &str, remedy: &'static str) -> Refused {
    Refused {
        measure: Measure::Landlock,
        cause: format!("{cause}; this process reaches every file that its user does"),
        remedy,
    }
}

fn try_restrict(
    rules: &[Rule],
    abstract_sockets: bool,
) -> Result<(RestrictionStatus, Vec<(Identity, Wish)>), String> {
    let plain = |error: RulesetError| error.to_string();
    let handled = AccessFs::from_all(KNOWN);
    let mut scopes = BitFlags::from(Scope::Signal);
    if !abstract_sockets {
        scopes |= Scope::AbstractUnixSocket;
    }
    let ruleset = Ruleset::default().handle_access(handled).map_err(plain)?;
    let ruleset = ruleset.scope(scopes).map_err(plain)?;
    let mut ruleset = ruleset.create().map_err(plain)?;
    let mut within_reach = Vec::new();
    for (path, rights) in rules.iter().flat_map(rights) {
        let (Ok(found), Ok(opened)) = (fs::metadata(&path), PathFd::new(&path)) else {
            continue;
        };
        let rights = match found.is_dir() {
            true => rights,
            false => rights & AccessFs::from_file(KNOWN),
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(opened, rights))
            .map_err(plain)?;
        if rights.contains(AccessFs::WriteFile) {
            within_reach.push((identity(&found), Wish::Change));
        } else if rights.contains(AccessFs::ReadFile) {
            within_reach.push((identity(&found), Wish::Read));
        }
        if rights.contains(AccessFs::MakeSock) {
            within_reach.push((identity(&found), Wish::Listen));
        }
    }
    let status = ruleset.restrict_self().map_err(plain)?;
    Ok((status, within_reach))
}

/// What a rule says of which files.
fn rights(rule: &Rule) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match rule {
        Rule::Read(folder) => vec![(folder.clone(), read)],
        Rule::ReadBeside(file) => beside(file).into_iter().map(|path| (path, read)).collect(),
        Rule::Keep(folder) => {
            let write = AccessFs::WriteFile | AccessFs::Truncate;
            let change = AccessFs::MakeReg | AccessFs::RemoveFile;
            vec![(folder.clone(), read | write | change)]
        }
        Rule::Socket(file) => {
            let folder = folder_of(file).filter(|folder| !is_shared(folder));
            let change = AccessFs::MakeSock | AccessFs::RemoveFile;
            folder.into_iter().map(|path| (path, change)).collect()
        }
    }
}

/// By which paths a file is within reach together with what replaces it.
fn beside(file: &Path) -> Vec<PathBuf> {
    let lies = file.canonicalize();
    let mut paths = Vec::new();
    for name in [Ok(file.into()), lies].into_iter().flatten() {
        match folder_of(&name) {
            Some(folder) if !is_shared(&folder) => paths.push(folder),
            _ => paths.push(name),
        }
    }
    paths
}

fn folder_of(file: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(file).ok()?;
    whole.parent().map(Into::into)
}

fn is_shared(folder: &Path) -> bool {
    // By whatever name.
    let folder = folder.canonicalize();
    folder.is_ok_and(|folder| SHARED.iter().any(|shared| folder == Path::new(shared)))
}

/// What to say where the system refuses to do something with a file, and landlock is why.
#[must_use]
pub fn remedy(path: &Path, wish: Wish, refusal: &io::Error) -> Option<&'static str> {
    let is_ours = refusal.kind() == io::ErrorKind::PermissionDenied && hides(path, wish);
    is_ours.then_some(match wish {
        Wish::Read => {
            "the sandbox is why: since its start this process reaches only the folders that the configuration named \
             then; put the file into one of those, or restart pinfold, which allows this one"
        }
        Wish::Listen => {
            "the sandbox is why: since its start this process makes sockets only in the folders of those that the \
             configuration named then; restart pinfold, which allows this one"
        }
        Wish::Change => {
            "the sandbox is why: since its start this process writes only to the directory that was there then; make \
             it again, save the pins (`pinfold pins export`), restart pinfold, and bring them back (`pinfold pins \
             import`)"
        }
    })
}
