//! The command line: one file per subcommand.
//!
//! Exit codes follow `sysexits.h`: 0 everything holds, 1 something does not, 64 usage, 69 it could not
//! be run.

mod compare;
mod edge;
mod play;
mod report;
mod run;
mod scenarios;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

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

/// The grammar, for whoever writes a manual from it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs what the arguments of this process ask for.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and the version are none.
        Err(told) => {
            let _ = told.print();
            return ExitCode::from(if told.use_stderr() { USAGE } else { 0 });
        }
    };
    let done = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Scenarios(arguments) => scenarios::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Edge(arguments) => edge::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(UNAVAILABLE)
    })
}

/// `sysexits.h`: the command was used incorrectly.
const USAGE: u8 = 64;

/// `sysexits.h`: something that is needed is not there, so nothing can be told.
const UNAVAILABLE: u8 = 69;
