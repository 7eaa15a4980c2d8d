//! The command line: one file per subcommand.

mod compare;
mod edge;
mod play;
mod report;
mod run;
mod scenarios;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "pinfold-loadtest", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios against one balancer and tell whether everything holds that must
    Run(run::Arguments),
    /// Run scenarios against Pinfold and its peers in turn, and show the ratios
    Compare(compare::Arguments),
    /// List the scenarios that are shipped, or print one
    Scenarios(scenarios::Arguments),
    /// Show an earlier report again
    Report(report::Arguments),
    /// Run a simulated Edge Server until SIGTERM or the end of standard input
    Edge(edge::Arguments),
}

pub(super) fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Scenarios(arguments) => scenarios::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Edge(arguments) => edge::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}
