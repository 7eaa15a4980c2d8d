//! What `run` and `compare` have in common: which scenarios, and where the report goes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::campaign::Campaign;
use crate::report::{Detail, Report};
use crate::run::Progress;
use crate::scenario::{Scenario, Span, shipped};

#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// Scenarios: names of shipped ones (see `scenarios`), paths, or `all`
    #[arg(required = true)]
    scenario: Vec<String>,
    /// The program of Pinfold; by default the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    pub(super) pinfold: Option<PathBuf>,
    /// Multiplies sessions, users, partners and rates
    #[arg(long, default_value_t = 1.0, value_parser = more_than_nothing)]
    scale: f64,
    /// How often each is run, instead of what the scenario says
    #[arg(long)]
    pub(super) rounds: Option<u32>,
    /// How long to measure, instead of what the scenario says, such as 20s
    #[arg(long)]
    measure: Option<Span>,
    /// Show every figure, not only the telling ones
    #[arg(long)]
    all: bool,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the report as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Choice {
    pub(super) fn scenarios(&self) -> io::Result<Vec<Scenario>> {
        let mut scenarios = Vec::new();
        for which in &self.scenario {
            if which == "all" {
                for (name, text) in shipped() {
                    scenarios.push(Scenario::parse(name, text)?);
                }
            } else {
                scenarios.push(Scenario::open(which)?);
            }
        }
        for scenario in &mut scenarios {
            scenario.scale(self.scale);
            if let Some(measure) = self.measure {
                scenario.run.measure = measure;
            }
            scenario.check()?;
        }
        Ok(scenarios)
    }
}

/// Runs everything, shows it, writes it down; fails if anything does not hold.
pub(super) fn play(mut campaign: Campaign, choice: &Choice) -> io::Result<ExitCode> {
    campaign.rounds = choice.rounds.map(|rounds| rounds.max(1));
    // Before hours of measuring: whether the reports can be written at all.
    let json = choice.json.as_deref().map(create).transpose()?;
    let html = choice.html.as_deref().map(create).transpose()?;
    let progress = Progress::new(campaign.length());
    let report = campaign.run(&progress);
    drop(progress);
    // The terminal last: whoever reads there may have gone.
    write(json, |out| report.write_json(out))?;
    write(html, |out| report.write_html(out))?;
    report.write_text(&mut io::stdout().lock(), detail(choice.all))?;
    Ok(verdict(&report))
}

/// A factor or a rate.
pub(super) fn more_than_nothing(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("it must be more than 0".to_owned())
    }
}

/// How much `--all` asks for.
pub(super) const fn detail(all: bool) -> Detail {
    if all { Detail::All } else { Detail::Telling }
}

/// The file that is to be written.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::create(path).map_err(|error| naming(path, &error))
}

/// An error with the file it is about.
pub(super) fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write(
    file: Option<File>,
    report: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    let mut out = BufWriter::new(file);
    report(&mut out)?;
    out.flush()
}

fn verdict(report: &Report) -> ExitCode {
    if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
