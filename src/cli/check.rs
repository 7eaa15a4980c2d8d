//! `pinfold check`.

use std::path::Path;
use std::process::ExitCode;

pub(super) fn check(file: &Path) -> ExitCode {
    match crate::config::load(file) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(78),
    }
}
