//! `pinfold-loadtest report`: an earlier report, shown again.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::Report;

use super::play::{create, detail, naming};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What `--json` wrote
    file: PathBuf,
    /// Show every figure, not only the telling ones
    #[arg(long)]
    all: bool,
    /// Write it as a page instead
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let file = &arguments.file;
    let text = fs::read_to_string(file).map_err(|error| naming(file, &error))?;
    let report = Report::read_json(&text).map_err(|error| naming(file, &error))?;
    match &arguments.html {
        Some(page) => report.write_html(&mut io::BufWriter::new(create(page)?))?,
        None => report.write_text(&mut io::stdout().lock(), detail(arguments.all))?,
    }
    Ok(ExitCode::SUCCESS)
}
