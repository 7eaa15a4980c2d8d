//! Putting the file in place: whole or not at all, and never over another one by mistake.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};

use crate::cli::failure::Failure;

/// Says before the first question what would be in the way after the last one.
pub(super) fn is_possible(path: &Path, is_forced: bool) -> Result<(), Failure> {
    if !is_forced && path.symlink_metadata().is_ok() {
        return Err(in_the_way(path));
    }
    if path.file_name().is_none() {
        let path = path.display();
        return Err(Failure::Usage(format!("{path} is no name of a file")));
    }
    let mut existing = folder(path).ancestors();
    let existing = existing
        .find(|folder| folder.exists())
        .unwrap_or_else(|| Path::new("."));
    if !existing.is_dir() {
        return Err(unwritten(path)(io::ErrorKind::NotADirectory.into()));
    }
    access(existing, Access::WRITE_OK).map_err(|cause| unwritten(path)(cause.into()))
}

/// Writes `text` to `path`; the name that the file of before has, if there was one.
pub(super) fn write(path: &Path, text: &str, is_forced: bool) -> Result<Option<PathBuf>, Failure> {
    let done = Temporary::beside(path).and_then(|temporary| {
        temporary.fill(text, folder(path))?;
        let kept = match is_forced {
            true => keep(path)?,
            false => None,
        };
        temporary.become_file(path, is_forced)?;
        File::open(folder(path))?.sync_all()?;
        Ok(kept)
    });
    done.map_err(|cause| {
        if cause.kind() == io::ErrorKind::AlreadyExists {
            in_the_way(path)
        } else {
            unwritten(path)(cause)
        }
    })
}

fn in_the_way(path: &Path) -> Failure {
    let path = path.display();
    Failure::Usage(format!(
        "{path} exists: --force replaces it and keeps it beside, --output FILE writes another one"
    ))
}

fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |cause| Failure::Unwritten { path, cause }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Gives what is at `path` a second name.
fn keep(path: &Path) -> io::Result<Option<PathBuf>> {
    for number in 1_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old-{number}"));
        let kept = PathBuf::from(name);
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(Some(kept)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A file that goes again unless it becomes the one that is wanted.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder(path))?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let path = folder(path).join(name);
        // One that was killed may have had the same number.
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { file, path })
    }

    /// It may hold the placement key: only its owner and the group of its directory read it.
    fn fill(&self, text: &str, folder: &Path) -> io::Result<()> {
        (&self.file).write_all(text.as_bytes())?;
        let group = fs::metadata(folder)?.gid();
        // Who may not give it away keeps it for his own group.
        let _ = fchown(&self.file, None, Some(group));
        self.file
            .set_permissions(fs::Permissions::from_mode(0o640))?;
        self.file.sync_all()
    }

    fn become_file(self, path: &Path, is_forced: bool) -> io::Result<()> {
        match is_forced {
            true => fs::rename(&self.path, path),
            // Also where somebody has put one there meanwhile.
            false => Ok(renameat_with(
                CWD,
                &self.path,
                CWD,
                path,
                RenameFlags::NOREPLACE,
            )?),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It has another name where all went well.
        let _ = fs::remove_file(&self.path);
    }
}
