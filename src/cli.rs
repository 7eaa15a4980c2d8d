//! The command line: argv, one file for each subcommand.
//!
//! Exit codes follow `sysexits.h`: 0, 64 usage, 69 a needed thing is unavailable, 71 the system
//! refused, 78 configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod demo;
mod serve;

/// A load balancer for pools of federation Edge Servers and their stubborn partners.
#[derive(Debug, Parser)]
#[command(name = "pinfold", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run: listen, probe, relay. Logs to standard error.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration: every mistake at once; exit 78 if there is one.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        file: PathBuf,
    },
    /// Show it: simulated Edge Servers and partners, nodes that die, and what each partner felt.
    Demo {
        /// How long the show lasts.
        #[arg(long, value_name = "N", default_value_t = 40)]
        seconds: u64,
    },
}

const DEFAULT_CONFIG: &str = "/etc/pinfold/pinfold.toml";

/// Runs the command that `arguments` name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, not mistakes.
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Serve { config } => serve::serve(config),
        Command::Check { file } => check::check(&file),
        Command::Demo { seconds } => demo::demo(seconds),
    }
}
