//! `pinfold-loadtest run`: scenarios against one balancer.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use crate::campaign::Campaign;
use crate::load::Target;
use crate::peer::Kind;
use crate::run::Contender;

use super::UNAVAILABLE;
use super::play::{Choice, more_than_nothing, play};

/// New connections and messages a second, where the target is not this machine.
const CAREFUL_RATE: f64 = 50.0;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Which balancer to start
    #[arg(
        long,
        value_enum,
        default_value = "pinfold",
        conflicts_with = "address"
    )]
    balancer: Kind,
    /// Instead, a balancer that runs: LISTENER=IP:PORT[,IP:PORT…], once for each listener of the
    /// scenario. Behind it must be nodes of `pinfold-loadtest edge`
    #[arg(long)]
    address: Vec<At>,
    /// Do not ask before an address that is not of this machine is called
    #[arg(long)]
    yes: bool,
    /// At such an address, at most so many messages and connections a second for each load
    #[arg(long, default_value_t = CAREFUL_RATE, value_parser = more_than_nothing)]
    max_rate: f64,
}

#[derive(Clone, Debug)]
struct At(Target);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("\"{text}\" is not LISTENER=IP:PORT[,IP:PORT…]");
        let (listener, addresses) = text.split_once('=').ok_or_else(refused)?;
        let addresses: Result<Vec<SocketAddr>, _> = addresses.split(',').map(str::parse).collect();
        Ok(Self(Target {
            listener: listener.to_owned(),
            addresses: addresses.map_err(|_| refused())?,
        }))
    }
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let Arguments { choice, .. } = arguments;
    let mut scenarios = choice.scenarios()?;
    let targets: Vec<_> = arguments.address.iter().map(|at| at.0.clone()).collect();
    if targets.is_empty() {
        let kinds = [arguments.balancer];
        let campaign = Campaign::of(scenarios, &kinds, choice.pinfold.as_deref())?;
        return play(campaign, choice);
    }
    let mut all = targets.iter().flat_map(|target| &target.addresses);
    if all.any(|address| !address.ip().is_loopback()) {
        if !arguments.yes && !is_wanted(&targets)? {
            return Ok(ExitCode::from(UNAVAILABLE));
        }
        scenarios
            .iter_mut()
            .for_each(|scenario| scenario.limit(arguments.max_rate));
    }
    let mut campaign = Campaign::of(scenarios, &[], None)?;
    campaign.contenders.push(Contender::Elsewhere(targets));
    play(campaign, choice)
}

/// Names the targets and asks.
fn is_wanted(targets: &[Target]) -> io::Result<bool> {
    let mut out = io::stderr().lock();
    writeln!(out, "This will open connections and send messages to:")?;
    for Target {
        listener,
        addresses,
    } in targets
    {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "  {listener:16} {}", addresses.join(", "))?;
    }
    if !io::stdin().is_terminal() {
        writeln!(out, "Nobody is there to ask: say --yes if that is wanted.")?;
        return Ok(false);
    }
    write!(out, "Type yes to go on: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
