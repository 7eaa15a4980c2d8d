//! `pinfold-loadtest failover-gap`: the figures of a stubborn partner whose node fails.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use pinfold_loadtest::measure::{Fault, Plan, failover_gap};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The balancer's program
    #[arg(long)]
    balancer: PathBuf,
    /// How often the partner's node fails
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// What happens to it
    #[arg(long, value_enum, default_value = "kill")]
    fault: Fault,
    /// Other sessions, which must not notice (at most 62500)
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// Reloads before each fault
    #[arg(long, default_value_t = 0)]
    reloads: u32,
    /// One line of JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let report = failover_gap(&Plan {
        balancer: arguments.balancer.clone(),
        edge: std::env::current_exe()?,
        fault: arguments.fault,
        rounds: arguments.rounds,
        sessions: arguments.sessions,
        reloads: arguments.reloads,
    })?;
    let out = &mut io::stdout().lock();
    if arguments.json {
        report.write_json(out)?;
    } else {
        report.write(out)?;
    }
    Ok(if report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
