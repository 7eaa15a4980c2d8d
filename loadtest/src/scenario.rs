//! Scenarios: what is set up, what is asked of it, and what must hold.
//!
//! Owns reading a scenario from TOML and checking it as a whole. A scenario describes the balancer by
//! what it serves, never by one product's configuration: `peer` says the same to each. Nothing here
//! touches a socket.

mod check;
mod loads;
mod shipped;
mod time;

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::loads::{
    Bulk, Connects, Flood, Generation, Idle, Load, Partners, RoundTrips, Speech, Stream, UdpFlows,
    Users,
};
pub use self::shipped::shipped;
pub use self::time::Span;

/// A scenario as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of its file, without the ending.
    #[serde(skip)]
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it shows, and how to read it.
    pub about: String,
    /// How long it lasts.
    pub run: Run,
    /// What the balancer serves.
    #[serde(default)]
    pub balancer: Balancer,
    /// The nodes behind it.
    #[serde(default)]
    pub nodes: Nodes,
    /// Messages there and back.
    #[serde(default, rename = "round-trips")]
    pub round_trips: Vec<RoundTrips>,
    /// Streams without an end.
    #[serde(default)]
    pub bulk: Vec<Bulk>,
    /// Connections that come and go.
    #[serde(default)]
    pub connects: Vec<Connects>,
    /// Sessions that say nothing.
    #[serde(default)]
    pub idle: Vec<Idle>,
    /// Remote users that sign in and stay.
    #[serde(default)]
    pub users: Vec<Users>,
    /// Federation partners.
    #[serde(default)]
    pub partners: Vec<Partners>,
    /// More connections than there is room for.
    #[serde(default)]
    pub flood: Vec<Flood>,
    /// Datagrams there and back.
    #[serde(default, rename = "udp-flows")]
    pub udp_flows: Vec<UdpFlows>,
    /// What happens meanwhile.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
    /// What must hold of one run.
    #[serde(default, rename = "expect")]
    pub expectations: Vec<Expectation>,
    /// What must hold beside others.
    #[serde(default, rename = "ratio")]
    pub ratios: Vec<Ratio>,
}

/// The times of a scenario.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Before anything counts.
    pub warm_up: Span,
    /// What counts.
    pub measure: Span,
    /// How often `compare` runs it against each.
    #[serde(default = "Run::rounds")]
    pub rounds: u32,
}

impl Run {
    const fn rounds() -> u32 {
        5
    }
}

/// The balancer, by what it does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balancer {
    /// What its listeners are, in order; loads name them.
    pub listeners: Vec<Listener>,
    /// Threads that relay.
    pub threads: u32,
}

impl Default for Balancer {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            threads: 2,
        }
    }
}

/// One address of the balancer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// By which loads name it.
    pub name: String,
    /// What is spoken there: `tcp`, `federation`, `access`, `webconf`, `udp`.
    pub service: String,
    /// The most sessions at once.
    pub max_sessions: u32,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            service: "federation".to_owned(),
            max_sessions: 50_000,
        }
    }
}

/// The nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    /// How many.
    pub count: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { count: 3 }
    }
}

/// Something that happens to a node while the scenario runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Since the measuring began.
    pub at: Span,
    /// To whom: a node's name, or `of PARTNERS` for the node that serves the first of them then.
    pub node: String,
    /// What: `kill` and `freeze` are SIGKILL and SIGSTOP, `restart` and `thaw` undo them; anything
    /// else goes to the node's control socket as it is.
    pub command: String,
}

/// What a figure must be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The figure, `LOAD.FIGURE` or `balancer.FIGURE`.
    pub figure: String,
    /// Not more than this.
    pub at_most: Option<f64>,
    /// Not less than this.
    pub at_least: Option<f64>,
    /// Only for these balancers; empty: for all.
    #[serde(default, rename = "for")]
    pub only: Vec<String>,
}

/// What a figure must be beside the same figure of another balancer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The figure; less is better.
    pub figure: String,
    /// The better of these.
    pub against: Vec<String>,
    /// Ours divided by theirs is not more than this.
    pub at_most: f64,
}

impl Scenario {
    /// Reads `which`: a path, or the name of a shipped scenario.
    ///
    /// # Errors
    /// There is no such file or name; it is not a scenario, with the place of the first mistake in
    /// the message.
    pub fn open(which: &str) -> io::Result<Self> {
        if let Some(text) = shipped().find(|(name, _)| *name == which) {
            return Self::parse(which, text.1);
        }
        let path = Path::new(which);
        let text = fs::read_to_string(path).map_err(|error| {
            let names: Vec<_> = shipped().map(|(name, _)| name).collect();
            let names = names.join(", ");
            io::Error::new(
                error.kind(),
                format!("scenario \"{which}\": {error}; a path, or one of: {names}"),
            )
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text)
    }

    /// Reads a scenario from `text`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(name: &str, text: &str) -> io::Result<Self> {
        let invalid = |message: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("scenario \"{name}\": {message}"),
            )
        };
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        name.clone_into(&mut scenario.name);
        check::check(&scenario).map_err(invalid)?;
        Ok(scenario)
    }

    /// All loads, in the order of their kinds.
    pub fn loads(&self) -> impl Iterator<Item = Load<'_>> {
        let talk = self.round_trips.iter().map(Load::RoundTrips);
        let bulk = self.bulk.iter().map(Load::Bulk);
        let connects = self.connects.iter().map(Load::Connects);
        let idle = self.idle.iter().map(Load::Idle);
        let users = self.users.iter().map(Load::Users);
        let partners = self.partners.iter().map(Load::Partners);
        let flood = self.flood.iter().map(Load::Flood);
        let udp = self.udp_flows.iter().map(Load::UdpFlows);
        talk.chain(bulk)
            .chain(connects)
            .chain(idle)
            .chain(users)
            .chain(partners)
            .chain(flood)
            .chain(udp)
    }

    /// Multiplies what grows with the size of a site: sessions, users, rates, partners.
    pub fn scale(&mut self, factor: f64) {
        let Self {
            round_trips,
            connects,
            idle,
            users,
            partners,
            flood,
            udp_flows,
            ..
        } = self;
        round_trips.iter_mut().for_each(|load| load.scale(factor));
        connects.iter_mut().for_each(|load| load.scale(factor));
        idle.iter_mut().for_each(|load| load.scale(factor));
        users.iter_mut().for_each(|load| load.scale(factor));
        partners.iter_mut().for_each(|load| load.scale(factor));
        flood.iter_mut().for_each(|load| load.scale(factor));
        udp_flows.iter_mut().for_each(|load| load.scale(factor));
    }
}

#[cfg(test)]
mod tests;
