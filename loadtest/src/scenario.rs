//! Scenarios: what is set up, what is asked of it, and what must hold.
//!
//! Owns reading a scenario from TOML and checking it as a whole. A scenario describes the balancer by
//! what it serves, never by one product's configuration: `peer` says the same to each. Nothing here
//! touches a socket.

mod check;
mod limit;
mod loads;
mod shipped;
mod time;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::loads::{
    Bulk, Connects, Flood, Generation, Handshakes, Idle, Load, Partners, RoundTrips, Speech,
    Stream, UdpFlows, Users,
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
    /// What was changed to be careful with what others run.
    #[serde(skip)]
    pub limited: Vec<String>,
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
    /// How long a node that failed must be healthy before it takes sessions again. Pinfold ships 30 s;
    /// scenarios that fail one node after the other cannot wait so long.
    pub return_after: Span,
}

impl Default for Balancer {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            threads: 2,
            return_after: Span(Duration::from_secs(30)),
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
    /// What its nodes are asked, where that differs from what is asked of the service's by itself. Only
    /// Pinfold can be told.
    pub probe: Option<Probe>,
    /// What ends there of TLS. Its nodes hear plain text; whoever goes there speaks TLS.
    pub terminate: Option<Termination>,
}

/// TLS that ends at the balancer. Everybody is given the same certificate, and clients offer one version, one
/// suite and one group, so that every balancer does the same work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Termination {
    /// Of which kind the certificate is.
    pub key: CertificateKey,
    /// What clients offer.
    pub version: OfferedVersion,
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum CertificateKey {
    /// ECDSA over P-256.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA with 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
}

/// The version of TLS that clients offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum OfferedVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// A question to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Probe {
    /// An Allocate without credentials.
    #[serde(rename = "turn-allocate")]
    TurnAllocate,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            service: "federation".to_owned(),
            max_sessions: 50_000,
            probe: None,
            terminate: None,
        }
    }
}

impl Listener {
    /// Whether the client says the first byte there, so that an accept may wait for it.
    #[must_use]
    pub fn client_speaks_first(&self) -> bool {
        self.is_tls() || self.terminate.is_some()
    }

    /// Whether TLS is spoken with its nodes, so that a probe may say a hello.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.service.as_str(), "federation" | "access" | "webconf")
    }
}

/// The nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    /// How many.
    pub count: u32,
}

impl Nodes {
    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        (1..=self.count)
            .map(|number| format!("edge{number}"))
            .collect()
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { count: 3 }
    }
}

/// Something that happens while the scenario is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Since the measuring began.
    pub at: Span,
    /// To whom: a node's name (`edge1`), `of PARTNERS` for the node that serves the first of them
    /// then, `broken` for the one that the last `kill` or `freeze` hit, or `balancer`.
    pub to: String,
    /// What. `kill` and `freeze` are SIGKILL and SIGSTOP to a node's process, `mend` undoes either;
    /// anything else goes to the node's control socket as it is. A balancer can `reload`.
    pub command: String,
    /// How often.
    #[serde(default = "Event::once")]
    pub times: u32,
    /// From one time to the next.
    #[serde(default)]
    pub every: Span,
}

impl Event {
    const fn once() -> u32 {
        1
    }

    /// All its times, since the measuring began.
    pub fn occurrences(&self) -> impl Iterator<Item = Duration> {
        let (at, every) = (self.at.0, self.every.0);
        (0..self.times).map(move |number| at + every * number)
    }
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
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| invalid(name, &error.to_string()))?;
        name.clone_into(&mut scenario.name);
        for (group, partners) in scenario.partners.iter_mut().enumerate() {
            partners.group = u8::try_from(group).unwrap_or(u8::MAX);
        }
        scenario.check()?;
        Ok(scenario)
    }

    /// Checks it as a whole; whoever has changed it does so again.
    ///
    /// # Errors
    /// The first thing that cannot be, with its remedy.
    pub fn check(&self) -> io::Result<()> {
        check::check(self).map_err(|message| invalid(&self.name, &message))
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

    /// The listener that `load` goes to.
    #[must_use]
    pub fn listener_of(&self, load: Load<'_>) -> Option<&Listener> {
        let wanted = load.listener();
        let mut listeners = self.balancer.listeners.iter();
        listeners.find(|listener| wanted.is_empty() || listener.name == wanted)
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

fn invalid(name: &str, message: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("scenario \"{name}\": {message}"),
    )
}

#[cfg(test)]
mod tests;
