//! `pinfold-loadtest scenarios`: what is shipped.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::figure::FIGURES;
use crate::scenario::{Scenario, shipped};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print this one as a file, to begin one of your own
    name: Option<String>,
    /// List the figures that a scenario can expect
    #[arg(long, conflicts_with = "name")]
    figures: bool,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let out = &mut io::stdout().lock();
    match &arguments.name {
        Some(name) => print(out, name)?,
        None if arguments.figures => {
            for figure in FIGURES {
                writeln!(out, "{:24}{}", figure.name, figure.meaning)?;
                writeln!(out, "{:24}  of: {}", "", figure.of)?;
            }
        }
        None => {
            for (name, text) in shipped() {
                let scenario = Scenario::parse(name, text)?;
                writeln!(out, "{name:24} {}", scenario.title)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl Write, wanted: &str) -> io::Result<()> {
    let found = shipped().find(|(name, _)| *name == wanted);
    let (_, text) = found.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no scenario is called \"{wanted}\"; `pinfold-loadtest scenarios` lists them"),
        )
    })?;
    out.write_all(text.as_bytes())
}
