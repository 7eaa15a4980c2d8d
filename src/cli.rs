//! The command line: argv, one file for each subcommand.
//!
//! Exit codes follow `sysexits.h`: 0, 64 usage, 69 a needed thing is unavailable, 71 the system
//! refused, 78 configuration. What is asked for goes to standard output, everything else to standard
//! error.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::{Arguments, Command, Daemon, Node, PinsAction, Show};
use self::change::Order;
use self::failure::Failure;
use self::maintain::Manner;
use self::show::Listing;
use crate::control::admin::answers::PinWish;
use crate::control::host_rules;

mod address;
mod arguments;
mod capture;
mod change;
mod check;
mod client;
mod demo;
mod drill;
mod explain;
mod failure;
mod generate;
mod machine;
mod maintain;
mod monitor;
mod output;
mod pins;
mod probe;
mod reload;
mod serve;
mod setup;
mod show;
mod table;
mod turn;
mod vrrp;

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
    match obey(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a few lines for each command")]
fn obey(command: Command) -> Result<ExitCode, Failure> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Serve { config } => Ok(serve::serve(config)),
        Command::Check { remove: true, .. } => output::print(&host_rules::removal()).map(done),
        Command::Check {
            file, host_rules, ..
        } => check::check(&file, host_rules),
        Command::Generate { directory } => generate::generate(&directory).map(done),
        Command::Setup { output, force } => setup::setup(&output, force),
        Command::Demo { seconds } => Ok(demo::demo(seconds)),
        Command::Status { show, check: true } => monitor::check(&show.daemon),
        Command::Status { show, .. } => show::show(&Listing::Status, &show).map(done),
        Command::Nodes(show) => show::show(&Listing::Nodes, &show).map(done),
        Command::Sessions(show) => show::show(&Listing::Sessions, &show).map(done),
        Command::Partners { show, tls } => show::show(&Listing::Partners { tls }, &show).map(done),
        Command::Pins {
            action: None,
            show,
            limit,
        } => show::show(&Listing::Pins { limit }, &show).map(done),
        Command::Pins {
            action: Some(PinsAction::Export { daemon, file }),
            ..
        } => pins::export(&daemon, file.as_deref()).map(done),
        Command::Pins {
            action:
                Some(PinsAction::Import {
                    daemon,
                    file,
                    dry_run,
                }),
            ..
        } => pins::import(&daemon, &file, dry_run).map(done),
        Command::Explain {
            show,
            subject,
            listener,
        } => explain::explain(&subject, listener.as_deref(), &show).map(done),
        Command::Capture {
            daemon,
            subject,
            minutes,
        } => capture::capture(&subject, minutes, &daemon).map(done),
        Command::Probe { show, node, pool } => probe::probe(&node, pool.as_deref(), &show),
        Command::Pin {
            daemon,
            partner,
            node,
            now,
            pool,
            affinity,
            reason,
        } => {
            let wish = PinWish {
                node,
                now,
                reason,
                pool,
                affinity,
            };
            pins::pin(&daemon, &partner, &wish).map(done)
        }
        Command::Unpin {
            daemon,
            subject,
            pool,
            reason,
        } => pins::unpin(&daemon, &subject, pool.as_deref(), reason.as_deref()).map(done),
        Command::Failovers { show, partner } => {
            show::show(&Listing::Failovers { partner }, &show).map(done)
        }
        Command::Drain { node, deadline } => {
            change::change(&Order::Drain { deadline }, &node).map(done)
        }
        Command::Resume { node } => change::change(&Order::Resume, &node).map(done),
        Command::Disable { node, yes } => {
            change::change(&Order::Disable { is_sure: yes }, &node).map(done)
        }
        Command::Drill {
            node,
            dry_run: true,
            json,
            ..
        } => drill::drill(&node, json),
        Command::Drill {
            node, yes, pace, ..
        } => {
            let manner = Manner {
                pace,
                window: None,
                is_drill: true,
            };
            maintain::rehearse(&node, manner, yes)
        }
        Command::Maintain {
            node, undo: true, ..
        } => maintain::undo_maintenance(&node),
        Command::Maintain {
            node, pace, window, ..
        } => {
            let manner = Manner {
                pace,
                window,
                is_drill: false,
            };
            maintain::maintain(&node, manner)
        }
        Command::Reload {
            daemon,
            plan,
            reason,
        } => reload::reload(&daemon, plan, reason.as_deref()).map(done),
        Command::VrrpCheck {
            daemon,
            pool,
            listeners,
        } => vrrp::check(&daemon, pool.as_deref(), &listeners),
    }
}
