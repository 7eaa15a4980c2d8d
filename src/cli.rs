//! The command line: argv, one file for each subcommand.
//!
//! Exit codes follow `sysexits.h`: 0, 64 usage, 69 a needed thing is unavailable, 71 the system
//! refused, 78 configuration. What is asked for goes to standard output, everything else to standard
//! error.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use self::address::AdminAddress;
use self::change::Order;
use self::failure::Failure;
use self::maintain::Manner;
use self::show::Listing;
use crate::config::{self, model::Rate};
use crate::control::admin::answers::PinWish;
use crate::control::host_rules;

mod address;
mod capture;
mod change;
mod check;
mod client;
mod demo;
mod drill;
mod explain;
mod failure;
mod machine;
mod maintain;
mod monitor;
mod output;
mod pins;
mod probe;
mod reload;
mod serve;
mod show;
mod table;
mod turn;

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
        /// Print what the kernel must be told for it, as a script for sh: what `transparent` listeners and
        /// [gateway] need.
        #[arg(long)]
        host_rules: bool,
        /// Print what takes that away again; no FILE is read.
        #[arg(long, requires = "host_rules")]
        remove: bool,
    },
    /// Show it: simulated Edge Servers and partners, nodes that die, and what each partner felt.
    Demo {
        /// How long the show lasts.
        #[arg(long, value_name = "N", default_value_t = 40)]
        seconds: u64,
    },
    /// How things stand: what needs you, listeners, nodes.
    Status {
        #[command(flatten)]
        show: Show,
        /// One line for Nagios, Icinga or Checkmk: OK, WARNING, CRITICAL or UNKNOWN; exit 0, 1, 2 or 3.
        #[arg(long, conflicts_with = "json")]
        check: bool,
    },
    /// Nodes: their state, their health on each service, and who changed them.
    Nodes(Show),
    /// Sessions: how many, where, and how they ended.
    Sessions(Show),
    /// Configured partners, and the nodes they are pinned to.
    Partners {
        #[command(flatten)]
        show: Show,
        /// Show what TLS each offers and speaks, and who would lose by switching old versions off.
        #[arg(long)]
        tls: bool,
    },
    /// Pins: which node each partner and address is given.
    #[command(args_conflicts_with_subcommands = true)]
    Pins {
        #[command(subcommand)]
        action: Option<PinsAction>,
        #[command(flatten)]
        show: Show,
        /// Show no more than so many; 0: all.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
    },
    /// Why is it there, did it reach us, how far did it get: a partner or any address, step by step.
    ///
    /// Says who it is and by what that is known, where it is pinned and since when and why, where its
    /// sessions are now, how long the last failover cut it off, how its attempts of the last day went and
    /// what the bad ones mean, whether it fails by its own doing or by a node's, and what to do next. Of an
    /// address that never came it says what would happen: let in or not and by which rule, and on which
    /// node.
    Explain {
        #[command(flatten)]
        show: Show,
        /// The partner, or the address.
        #[arg(value_name = "PARTNER|ADDRESS", value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// Only on this listener.
        #[arg(long, value_name = "NAME")]
        listener: Option<String>,
    },
    /// Print the tcpdump line that catches somebody on both legs: to the listeners, and to the nodes.
    ///
    /// It is only printed, with comments, so that all of it may be pasted into a shell of root.
    Capture {
        #[command(flatten)]
        daemon: Daemon,
        /// The partner, or the address.
        #[arg(value_name = "PARTNER|ADDRESS", value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
    },
    /// Is it well: ask every service of a node once and now; exit 1 if one does not answer.
    ///
    /// For the patch night, also while the node drains or is disabled. Asks as the daemon itself does, with
    /// each listener's own probe, and shows how long the answer took, which TLS was chosen, and the
    /// certificate. It changes nothing: what it finds is no evidence.
    Probe {
        #[command(flatten)]
        show: Show,
        /// The node, in every pool that has it.
        #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// Only in this pool.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },
    /// Pin a partner to a node by hand; lasts over restarts and reloads, until `unpin`.
    Pin {
        #[command(flatten)]
        daemon: Daemon,
        /// The partner.
        #[arg(value_name = "PARTNER", value_parser = NonEmptyStringValueParser::new())]
        partner: String,
        /// The node.
        #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// End its sessions on other nodes, so that it comes again at once.
        #[arg(long)]
        now: bool,
        /// Only in this pool.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        /// Only for listeners of this affinity.
        #[arg(long, value_name = "NAME")]
        affinity: Option<String>,
        /// Why: kept, and shown beside the pin.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Remove the pins of a partner, an address or a prefix: new sessions are placed anew.
    Unpin {
        #[command(flatten)]
        daemon: Daemon,
        /// The partner, the address, or the prefix and all in it.
        #[arg(value_name = "PARTNER|ADDRESS", value_parser = NonEmptyStringValueParser::new())]
        subject: String,
        /// Only in this pool.
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
        /// Why: kept in the log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Failovers, the last thousand, and how long each partner was cut off.
    Failovers {
        #[command(flatten)]
        show: Show,
        /// Only those that cut off this partner.
        #[arg(long, value_name = "NAME")]
        partner: Option<String>,
    },
    /// Give a node no new sessions; lasts over restarts, until `resume`.
    Drain {
        #[command(flatten)]
        node: Node,
        /// End what is left after this long, such as 10m; without it, sessions go on.
        #[arg(long, value_name = "TIME")]
        deadline: Option<String>,
    },
    /// Give a node sessions again.
    Resume {
        #[command(flatten)]
        node: Node,
    },
    /// Give a node no sessions and end those it has NOW; lasts over restarts, until `resume`.
    Disable {
        #[command(flatten)]
        node: Node,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// What if this node were gone: who would move, where to, and can the others bear it?
    ///
    /// With --dry-run nothing is changed: a report that can be filed, exit 0 if N-1 holds and 1 if not.
    /// Without it, for real: the node is emptied as by `maintain`, then takes sessions again, and pins go
    /// back.
    Drill {
        #[command(flatten)]
        node: Node,
        /// Change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print what the admin API answers, for scripts.
        #[arg(long, requires = "dry_run")]
        json: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// How fast sessions are ended that are no partner's.
        #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = rate)]
        pace: Rate,
    },
    /// Empty a node for a patch, partner by partner, and say when it is safe.
    ///
    /// Partners that cannot fail over are moved one by one to where they would go; each is waited for until
    /// it is served there. Then the others are moved, the node drains, and what is left is ended at the
    /// pace. If a partner does not come back within its alarm_after, another node goes down or the window
    /// is over, all of it is undone: exit 1. Ctrl-C stops where it is. It begins at once; for later, let
    /// at(1) or a systemd timer run it. Afterwards: `pinfold resume NODE`; partners return as their failback
    /// says.
    Maintain {
        #[command(flatten)]
        node: Node,
        /// How fast sessions are ended that are no partner's.
        #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = rate)]
        pace: Rate,
        /// How long it may last from now on until it is safe to patch, such as 30m: beyond it all is undone.
        /// No time of day, and the patch itself is not watched.
        #[arg(long, value_name = "TIME", value_parser = time_limit)]
        window: Option<Duration>,
        /// Put back what an earlier one moved, and let the node take sessions again.
        #[arg(long, conflicts_with_all = ["pace", "window"])]
        undo: bool,
    },
    /// Load the configuration again; waits, and exits with 78 and every mistake if it is refused.
    Reload {
        #[command(flatten)]
        daemon: Daemon,
        /// Only say what would change.
        #[arg(long)]
        plan: bool,
        /// Why: kept in the log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum PinsAction {
    /// Write all pins as JSON.
    Export {
        #[command(flatten)]
        daemon: Daemon,
        /// Where to; standard output without it.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Put the pins of an export beside those that there are: all of them, or none if one is wrong.
    Import {
        #[command(flatten)]
        daemon: Daemon,
        /// What `export` wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
}

/// How the daemon is found.
#[derive(Debug, Args)]
struct Daemon {
    /// The daemon's admin API: unix:PATH or IP:PORT.
    #[arg(long, value_name = "ADDR", env = "PINFOLD_ADMIN", default_value = DEFAULT_ADMIN)]
    admin: AdminAddress,
    /// File with the token that changes over IP:PORT need.
    #[arg(long, value_name = "FILE", env = "PINFOLD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    daemon: Daemon,
    /// Print what the admin API answers, for scripts.
    #[arg(long)]
    json: bool,
}

/// Whose state is changed, and why.
#[derive(Debug, Args)]
struct Node {
    #[command(flatten)]
    daemon: Daemon,
    /// The node, in every pool that has it.
    #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    node: String,
    /// Only in this pool.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Why: kept, and shown beside the node.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn rate(text: &str) -> Result<Rate, String> {
    let rate = config::parse_rate(text);
    rate.ok_or_else(|| "no rate, such as 50/s or 10/m".into())
}

fn time(text: &str) -> Result<Duration, String> {
    let time = config::parse_duration(text);
    time.ok_or_else(|| "no duration, such as 30m".into())
}

/// How long, and not when: that is easily mistaken for the other.
fn time_limit(text: &str) -> Result<Duration, String> {
    if text.contains(':') {
        return Err(
            "this is how long it may last from now on, such as 30m, and no time of day: to begin \
             later, let at(1) or a systemd timer run it"
                .into(),
        );
    }
    match time(text)? {
        Duration::ZERO => Err("nothing is done in no time; a duration, such as 30m".into()),
        limit => Ok(limit),
    }
}

const DEFAULT_CONFIG: &str = "/etc/pinfold/pinfold.toml";
const DEFAULT_ADMIN: &str = "unix:/run/pinfold/admin.sock";

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
    }
}
