//! `pinfold generate`: manual pages and completions, written from the program itself when it is packaged.
//!
//! What is written is the same for the same program: the date of a page is that of `SOURCE_DATE_EPOCH`, and without
//! it a page has none.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use jiff::Timestamp;

use self::page::Origin;
use super::arguments::Arguments;
use super::failure::Failure;

mod commands;
mod configuration;
mod page;
mod program;
#[cfg(test)]
mod tests;

/// Writes everything into `directory`, which is made where it is missing.
pub(super) fn generate(directory: &Path) -> Result<(), Failure> {
    let unwritten = |path: &Path| {
        let path = path.to_owned();
        move |cause| Failure::Unwritten { path, cause }
    };
    fs::create_dir_all(directory).map_err(unwritten(directory))?;
    for (name, text) in files(&date()?) {
        let path = directory.join(name);
        fs::write(&path, text).map_err(unwritten(&path))?;
    }
    Ok(())
}

/// Every file: its name, and what is in it.
fn files(date: &str) -> Vec<(&'static str, String)> {
    let origin = Origin { date };
    let completion = |shell| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut shown(), "pinfold", &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    vec![
        ("pinfold.8", program::page(&shown(), &origin)),
        ("pinfold.toml.5", configuration::page(&origin)),
        (
            "pinfold-loadtest.1",
            program::loadtest(&pinfold_loadtest::cli::command(), &origin),
        ),
        ("pinfold.bash", completion(Shell::Bash)),
        ("_pinfold", completion(Shell::Zsh)),
        ("pinfold.fish", completion(Shell::Fish)),
    ]
}

/// The command line as it is shown to people: what is hidden from help is not completed either.
fn shown() -> clap::Command {
    let whole = Arguments::command();
    let is_shown = |command: &&clap::Command| !command.is_hide_set();
    let subcommands: Vec<_> = whole.get_subcommands().filter(is_shown).cloned().collect();
    let about = whole.get_about().cloned().unwrap_or_default();
    let mut command = clap::Command::new("pinfold")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .about(about)
        .subcommand_required(true)
        .subcommands(subcommands);
    command.build();
    command
}

/// The day of `SOURCE_DATE_EPOCH` (reproducible-builds.org); nothing where it is not set.
fn date() -> Result<String, Failure> {
    let Some(text) = std::env::var_os(EPOCH) else {
        return Ok(String::new());
    };
    let text = text.to_string_lossy();
    let moment = text
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let moment = moment.ok_or_else(|| {
        Failure::Usage(format!(
            "{EPOCH}=\"{text}\" is no number of seconds since 1970"
        ))
    })?;
    Ok(moment.strftime("%Y-%m-%d").to_string())
}

const EPOCH: &str = "SOURCE_DATE_EPOCH";
