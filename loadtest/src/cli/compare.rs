//! `pinfold-loadtest compare`: scenarios against Pinfold and its peers in turn.

use std::io;
use std::process::ExitCode;

use crate::campaign::Campaign;
use crate::peer::Kind;

use super::play::{Choice, play};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// Whom to compare with
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "haproxy,haproxy-splice,nginx"
    )]
    against: Vec<Kind>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let Arguments { choice, against } = arguments;
    let mut kinds = vec![Kind::Pinfold];
    kinds.extend(against.iter().filter(|kind| **kind != Kind::Pinfold));
    let campaign = Campaign::of(choice.scenarios()?, &kinds, choice.pinfold.as_deref())?;
    play(campaign, choice)
}
