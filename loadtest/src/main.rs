//! `pinfold-loadtest`: simulated Edge Servers as processes, and measurements with them.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
