//! The command line: one file per subcommand.

mod edge;
mod failover_gap;

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
    /// Run a simulated Edge Server until SIGTERM or the end of standard input
    Edge(edge::Arguments),
    /// Measure how long a stubborn partner is cut off when its node fails
    FailoverGap(failover_gap::Arguments),
}

pub(super) fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Edge(arguments) => edge::run(&arguments),
        Command::FailoverGap(arguments) => failover_gap::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}
