//! Real programs beside which Pinfold is tested.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// The programs of these names, of Debian's `packages`. CI has them; elsewhere a test that lacks one says so, and
/// does nothing.
pub(crate) fn programs<const COUNT: usize>(
    names: [&str; COUNT],
    packages: &str,
) -> Option<[PathBuf; COUNT]> {
    let found = names.map(on_the_path);
    let is_complete = found.iter().all(Option::is_some);
    let remedy = format!("`{}`; apt-get install {packages}", names.join("` or `"));
    assert!(
        is_complete || env::var_os("CI").is_none(),
        "this test needs {remedy}"
    );
    if !is_complete {
        let _ = writeln!(io::stderr(), "SKIPPED: no {remedy}");
        return None;
    }
    Some(found.map(Option::unwrap))
}

/// The same for one.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    programs([name], package).map(|[program]| program)
}

/// Daemons are where an unprivileged user does not look.
fn on_the_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
