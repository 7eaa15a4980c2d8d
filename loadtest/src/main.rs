//! `pinfold-loadtest`: simulated Edge Servers as processes, and measurements with them.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pinfold_loadtest::cli::run()
}
