//! `pinfold-loadtest scenarios`: what is shipped.

use std::io::{self, Write};
use std::process::ExitCode;

use pinfold_loadtest::scenario::{Scenario, shipped};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print this one as a file, to begin one of your own
    name: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let out = &mut io::stdout().lock();
    let Some(wanted) = &arguments.name else {
        for (name, text) in shipped() {
            let scenario = Scenario::parse(name, text)?;
            writeln!(out, "{name:24} {}", scenario.title)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = shipped().find(|(name, _)| name == wanted);
    let (_, text) = found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no scenario is called \"{wanted}\"; `pinfold-loadtest scenarios` lists them"),
        )
    })?;
    out.write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
