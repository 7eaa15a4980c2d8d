//! The checked configuration: what the program works with.
//!
//! Values here are complete (defaults and service presets applied) and consistent (every reference
//! resolves, every clash was refused). Built by [`crate::config::load`] only; it knows nothing of
//! TOML, files or positions. Two values are equal when nothing an administrator wrote differs in
//! effect, so equality decides whether a reload changes anything.
//!
//! Owns the whole and what its parts share; each table has a file of its own.

use std::time::Duration;

pub use self::gateway::{Gateway, GatewaySnat, Transport, TransportPort};
pub use self::listener::{
    Allow, Listener, OnNodeDown, Pin, PinPrefix, ProxyAccept, ProxySend, Service, SourceAddress,
    SpeaksFirst, TlsMinMode, TlsVersion, WhenNoNode,
};
pub use self::partner::{Failback, Federation, Generation, Partner};
pub use self::pool::{Balance, Family, Flap, Node, NodeAddress, NodeState, Pool, ReturnAfter};
pub use self::probe::{HttpQuestion, Probe, ProbeKind};
pub use self::server::{
    Admin, Log, LogFormat, LogLevel, LogSessions, Resolve, Secret, Server, View,
};
pub use self::termination::{Http, Protocol, Sip, Termination};
pub use super::window::Window;

mod gateway;
mod listener;
mod partner;
mod pool;
mod probe;
mod server;
mod termination;

/// A whole checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The process itself.
    pub server: Server,
    /// What is logged, and how.
    pub log: Log,
    /// How names are resolved.
    pub resolve: Resolve,
    /// This machine as the gateway of the nodes; `None`: it is not.
    pub gateway: Option<Gateway>,
    /// Pools, in the order of the file; names are unique.
    pub pools: Vec<Pool>,
    /// Listeners, in the order of the file; names are unique.
    pub listeners: Vec<Listener>,
    /// Partners, in the order of the file; names are unique.
    pub partners: Vec<Partner>,
    /// What the file asks for and this version cannot do; `serve` refuses while any stands here.
    pub unavailable: Vec<Unavailable>,
}

impl Config {
    /// Whether there is a listener with whose connections in TLS the kernel may go on.
    #[must_use]
    pub fn may_hand_over(&self) -> bool {
        let mut terminations = self
            .listeners
            .iter()
            .filter_map(|each| each.termination.as_ref());
        terminations.any(Termination::may_be_kernels)
    }
}

/// A setting that parses but whose machinery does not exist in this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// `file:line:column` of the value.
    pub place: String,
    /// What was asked for, as in the file: `listener "av-udp": service = "av-udp"`.
    pub what: String,
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}
