//! The kinds of load a scenario can name.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;

use super::time::Span;

/// One load of a scenario.
#[derive(Clone, Copy, Debug)]
pub enum Load<'a> {
    /// Messages there and back.
    RoundTrips(&'a RoundTrips),
    /// Streams without an end.
    Bulk(&'a Bulk),
    /// Connections that come and go.
    Connects(&'a Connects),
    /// Sessions that say nothing.
    Idle(&'a Idle),
    /// Remote users.
    Users(&'a Users),
    /// Federation partners.
    Partners(&'a Partners),
    /// More connections than there is room for.
    Flood(&'a Flood),
    /// Datagrams there and back.
    UdpFlows(&'a UdpFlows),
}

macro_rules! each {
    ($load:expr, $it:ident => $value:expr) => {
        match $load {
            Load::RoundTrips($it) => $value,
            Load::Bulk($it) => $value,
            Load::Connects($it) => $value,
            Load::Idle($it) => $value,
            Load::Users($it) => $value,
            Load::Partners($it) => $value,
            Load::Flood($it) => $value,
            Load::UdpFlows($it) => $value,
        }
    };
}

impl<'a> Load<'a> {
    /// The name that its figures begin with.
    #[must_use]
    pub fn name(self) -> &'a str {
        each!(self, it => &it.name)
    }

    /// The listener it goes to; empty: the first.
    #[must_use]
    pub fn listener(self) -> &'a str {
        each!(self, it => &it.listener)
    }

    /// How long it takes until all have called, by what it says.
    #[must_use]
    pub fn opening(self) -> Duration {
        match self {
            Self::Users(it) => {
                let sign_in = Duration::try_from_secs_f64(f64::from(it.users) / it.sign_in_rate);
                sign_in.unwrap_or(Duration::MAX)
            }
            Self::RoundTrips(it) => it.rest.0,
            Self::Idle(it) => it.rest.0,
            Self::Partners(it) => it.rest.0,
            Self::Bulk(_) | Self::Connects(_) | Self::Flood(_) | Self::UdpFlows(_) => {
                Duration::ZERO
            }
        }
    }
}

/// Messages on kept connections, answered one by one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTrips {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// Connections that are kept.
    pub connections: u32,
    /// Size of a message, its line end included.
    #[serde(default = "small_message")]
    pub bytes: u32,
    /// Messages a second over all connections, sent when their time has come whether or not the
    /// earlier ones were answered; absent: each connection asks again when it has been answered.
    pub rate: Option<f64>,
    /// Before one connection is opened again, and what all are first opened within; a limit sets it.
    #[serde(skip)]
    pub rest: Span,
}

/// Streams that last as long as the scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// How many at once.
    pub streams: u32,
    /// Which way.
    #[serde(default)]
    pub stream: Stream,
}

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the node to the client.
    #[default]
    Down,
    /// From the client to the node.
    Up,
}

/// Connections that are opened, used once and closed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connects {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// How many at once, each followed by the next.
    pub at_once: u32,
    /// Connections a second, opened when their time has come; then `at_once` only bounds them.
    pub rate: Option<f64>,
    /// Size of the one message.
    #[serde(default = "small_message")]
    pub bytes: u32,
    /// How TLS begins, where the listener ends it.
    #[serde(default)]
    pub handshakes: Handshakes,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handshakes {
    /// With a whole handshake each time.
    #[default]
    Full,
    /// By taking up the session before. That it is so is checked.
    Resumed,
}

/// Sessions that are opened, answered once and then only held.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// How many.
    pub sessions: u32,
    /// Before one connection is opened again, and what all are first opened within; a limit sets it.
    #[serde(skip)]
    pub rest: Span,
}

/// Remote users (domain.md, section 6.2): they sign in at a rate until all are there, keep their
/// connection, send a keep-alive now and then, and a message now and then.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// How many.
    pub users: u32,
    /// Sign-ins a second, before anything counts.
    pub sign_in_rate: f64,
    /// Pause between two keep-alives of one user.
    pub keep_alive: Span,
    /// Messages of one user in an hour.
    pub messages_per_hour: f64,
    /// Size of a message.
    pub message_bytes: u32,
    /// Before one connection is opened again, and what all are first opened within; a limit sets it.
    #[serde(skip)]
    pub rest: Span,
}

/// Federation partners that never fail over, or do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partners {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// What software they run.
    pub generation: Generation,
    /// How many partners, each from an address of its own.
    pub partners: u32,
    /// Connections of each, at most four.
    #[serde(default = "one")]
    pub connections: u32,
    /// Pause between two messages on one connection.
    pub interval: Span,
    /// Pauses after attempts that failed, the last one repeated.
    #[serde(default = "retry_ladder")]
    pub ladder: Vec<Span>,
    /// What they speak.
    #[serde(default)]
    pub speech: Speech,
    /// Which of the scenario's groups of partners it is, from 0.
    #[serde(skip)]
    pub group: u8,
    /// Before one connection is opened again, and what all are first opened within; a limit sets it.
    #[serde(skip)]
    pub rest: Span,
}

impl Partners {
    /// The name of partner `number`.
    #[must_use]
    pub fn name_of(&self, number: u32) -> String {
        format!("{}-{}", self.name, number + 1)
    }

    /// The address that partner `number` calls from, where it calls on this machine: one of its own,
    /// apart from those of other clients.
    #[must_use]
    pub fn address_of(&self, number: u32) -> Ipv4Addr {
        let byte = |value: u32| u8::try_from(value % 250 + 1).unwrap_or(1);
        let group = 200 + self.group % 50;
        Ipv4Addr::new(127, group, byte(number / 250), byte(number))
    }
}

/// What software a partner runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Generation {
    /// Knows one address and never tries another.
    #[serde(rename = "ocs-2007")]
    Ocs2007,
    /// Tries the next address.
    #[serde(rename = "lync-2013")]
    Lync2013,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Speech {
    /// Lines.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// Records in the shape of TLS 1.0, without its cryptography.
    #[serde(rename = "tls-shape")]
    Shape,
    /// TLS 1.2.
    #[serde(rename = "tls-1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "tls-1.3")]
    Tls13,
}

/// More connections than the balancer may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// Connections a second.
    pub rate: f64,
    /// How many of them are held at most; the oldest is closed for the next.
    pub held: u32,
}

/// Datagrams in the manner of audio.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpFlows {
    /// See [`Load::name`].
    pub name: String,
    /// See [`Load::listener`].
    #[serde(default)]
    pub listener: String,
    /// How many flows, each from a port of its own.
    pub flows: u32,
    /// Packets a second of one flow.
    pub rate: f64,
    /// Size of a packet.
    pub bytes: u32,
}

const fn small_message() -> u32 {
    100
}

const fn one() -> u32 {
    1
}

/// The real ladder is not documented; this one is short beside every promise that is measured.
fn retry_ladder() -> Vec<Span> {
    vec![Span(Duration::from_millis(2))]
}

impl RoundTrips {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.connections, factor);
        self.rate = self.rate.map(|rate| rate * factor);
    }
}

impl Connects {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.at_once, factor);
        self.rate = self.rate.map(|rate| rate * factor);
    }
}

impl Idle {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.sessions, factor);
    }
}

impl Users {
    /// Sign-ins keep their rate: it is bounded by the pool, not by the number of users.
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.users, factor);
    }
}

impl Partners {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.partners, factor);
    }
}

impl Flood {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.held, factor);
        self.rate *= factor;
    }
}

impl UdpFlows {
    pub(super) fn scale(&mut self, factor: f64) {
        grow(&mut self.flows, factor);
    }
}

/// Never to nothing.
fn grow(count: &mut u32, factor: f64) {
    let grown = (f64::from(*count) * factor).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let grown = grown.clamp(1.0, f64::from(u32::MAX)) as u32;
    *count = grown;
}
