//! The grammar of the command line: every subcommand and option, in the words that help and manual show.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use super::address::AdminAddress;
use crate::config::{self, model::Rate};

/// A load balancer for pools of federation Edge Servers and their stubborn partners.
#[derive(Debug, Parser)]
#[command(name = "pinfold", version, propagate_version = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask for what a first configuration needs, write it with comments, and check it.
    ///
    /// Asks for the Edge Servers, the addresses that clients connect to, and federation partners. Each question
    /// says why, with an example; Enter takes what stands in brackets. A script may answer, one line for each
    /// question: an answer that is wrong three times, or the end of its input, ends it with 64. Nothing is
    /// written before the last answer.
    Setup {
        /// Where to.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        output: PathBuf,
        /// Replace an existing file, and keep that beside the new one.
        #[arg(long)]
        force: bool,
    },
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
    /// Write manual pages and completions, for a package.
    #[command(hide = true)]
    Generate {
        /// Where to.
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
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
        /// How fast sessions are taken off the node that are no partner's.
        #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = rate)]
        pace: Rate,
    },
    /// Empty a node for a patch, partner by partner, and say when it is safe.
    ///
    /// Partners that cannot fail over are moved one by one to where they would go; each is waited for until
    /// it is served there. Then the others are moved, the node drains, and what is left is taken off it at the
    /// pace. If a partner does not come back within its alarm_after, another node goes down or the window
    /// is over, all of it is undone: exit 1. Ctrl-C stops where it is. It begins at once; for later, let
    /// at(1) or a systemd timer run it. Afterwards: `pinfold resume NODE`; partners return as their failback
    /// says.
    Maintain {
        #[command(flatten)]
        node: Node,
        /// How fast sessions are taken off the node that are no partner's.
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
    /// Should this appliance have the VIPs: for keepalived's track script; exit 0 if it is ready, 1 if not.
    ///
    /// Ready means that listeners are open and a node is up for each; with --pool or --listener only those
    /// count. One line says why not. It answers within a second, whatever the daemon does, and writes nothing.
    /// Without a daemon it exits with 69.
    VrrpCheck {
        #[command(flatten)]
        daemon: Daemon,
        /// Only listeners of this pool.
        #[arg(long, value_name = "POOL", value_parser = NonEmptyStringValueParser::new())]
        pool: Option<String>,
        /// Only this listener; may be given several times.
        #[arg(long = "listener", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        listeners: Vec<String>,
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
pub(super) enum PinsAction {
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
pub(super) struct Daemon {
    /// The daemon's admin API: unix:PATH or IP:PORT.
    #[arg(long, value_name = "ADDR", env = "PINFOLD_ADMIN", default_value = DEFAULT_ADMIN)]
    pub(super) admin: AdminAddress,
    /// File with the token that changes over IP:PORT need.
    #[arg(long, value_name = "FILE", env = "PINFOLD_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) daemon: Daemon,
    /// Print what the admin API answers, for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// Whose state is changed, and why.
#[derive(Debug, Args)]
pub(super) struct Node {
    #[command(flatten)]
    pub(super) daemon: Daemon,
    /// The node, in every pool that has it.
    #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) node: String,
    /// Only in this pool.
    #[arg(long, value_name = "POOL")]
    pub(super) pool: Option<String>,
    /// Why: kept, and shown beside the node.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
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

pub(super) const DEFAULT_CONFIG: &str = "/etc/pinfold/pinfold.toml";
const DEFAULT_ADMIN: &str = "unix:/run/pinfold/admin.sock";
