//! `pinfold setup`: an interactive first configuration.
//!
//! Questions come from [`questions`], what was answered is a [`plan::Plan`], which [`document`] writes as a
//! commented file. Each answer is held against the checker of configurations at once: what is accepted can be
//! written. Nothing is on the disk before the last answer.

use std::io::{self, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use self::interview::{Ended, Interview};
use self::plan::Plan;
use super::failure::Failure;
use super::{check, machine, output};
use crate::config::{self, Loaded, machine_warnings};
use crate::store::random_key;

mod document;
mod file;
mod interview;
mod meaning;
mod plan;
mod questions;
#[cfg(test)]
mod tests;
mod wording;

/// Asks, writes `path`, checks it, and says what to do next. An existing file stays unless `is_forced`.
pub(super) fn setup(path: &Path, is_forced: bool) -> Result<ExitCode, Failure> {
    file::is_possible(path, is_forced)?;
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut interview = Interview::new(BufReader::new(stdin), io::stderr(), is_terminal);
    let plan = questions::ask(&mut interview, path, random_key).map_err(|ended| refuse(&ended))?;
    let kept = file::write(path, &document::text(&plan), is_forced)?;
    let mut said = format!("wrote {}\n", path.display());
    if let Some(kept) = kept {
        said += &format!("the file of before is {}\n", kept.display());
    }
    output::print(&said)?;
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        // Every answer was held against the checker; the file may have been changed since.
        Err(mistakes) => {
            output::say(&mistakes.render(output::style()));
            return Ok(ExitCode::from(78));
        }
    };
    let warnings = warnings(&loaded);
    warnings.iter().for_each(|warning| output::say(warning));
    if !warnings.is_empty() {
        output::say(&format!(
            "`pinfold check {}` shows where and why",
            path.display()
        ));
    }
    output::print(&check::verdict(&loaded.config, warnings.len()))?;
    output::print(&next(&plan, path))?;
    Ok(ExitCode::SUCCESS)
}

/// What there is to know of the file and of this machine, each once and in short: `check` shows where and why.
fn warnings(loaded: &Loaded) -> Vec<String> {
    let mut warnings = loaded.warnings.clone();
    warnings.extend(machine_warnings(loaded, &machine::here()));
    let mut said = Vec::new();
    for warning in warnings.iter() {
        let line = format!("warning: {}", warning.title);
        if !said.contains(&line) {
            said.push(line);
        }
    }
    said
}

fn refuse(ended: &Ended) -> Failure {
    let nothing = "nothing was written";
    match ended {
        Ended::Quit => Failure::Usage(nothing.into()),
        Ended::EndOfInput(question) => Failure::Usage(format!(
            "the input ended before \"{question}\" was answered: {nothing}"
        )),
        Ended::TooOften(question, why) => Failure::Usage(format!(
            "\"{question}\" was answered wrongly too often, at last: {why}: {nothing}"
        )),
        Ended::System(cause) => Failure::System {
            what: "ask",
            cause: io::Error::new(cause.kind(), cause.to_string()),
        },
    }
}

/// What is left to do, in order.
fn next(plan: &Plan, path: &Path) -> String {
    let mut steps = Vec::new();
    if plan.is_pair_with_new_key {
        let key = plan.placement_key.as_deref().unwrap_or_default();
        steps.push(format!(
            "give the other appliance this placement key, in its own `pinfold setup`:\n     {key}"
        ));
    }
    let is_at_home = path == Path::new(super::arguments::DEFAULT_CONFIG);
    if is_at_home {
        if plan.services.av {
            let why = "nodes see the clients' own addresses, and their answers must come back here";
            steps.push(format!(
                "systemctl enable --now pinfold-host-rules\n     {why}"
            ));
        }
        steps.push("systemctl enable --now pinfold".into());
        steps.push("pinfold status".into());
    } else {
        steps.push(format!("pinfold serve --config {}", path.display()));
    }
    let steps = steps.iter().enumerate();
    let lines = steps.map(|(number, step)| format!("  {}. {step}\n", number + 1));
    format!("next:\n{}", lines.collect::<String>())
}
