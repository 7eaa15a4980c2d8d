//! `[gateway]`: this machine as the gateway of the nodes. Data for the rules of the host, nothing else.

use std::fmt;
use std::net::IpAddr;

use super::Family;

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The interface towards clients and partners; never that of the nodes.
    pub outside: String,
    /// The interface towards the nodes' outer addresses.
    pub inside: String,
    /// Whether the media ports are routed in to the nodes.
    pub media_inbound: bool,
    /// What nodes originate in the name of a VIP, in the order of the file.
    pub snat: Vec<GatewaySnat>,
}

/// `[[gateway.snat]]`: what nodes originate from one family of their addresses to these ports leaves
/// with another source address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySnat {
    /// Which of the nodes' addresses; only what faces the outside and may be translated.
    pub family: Family,
    /// Ports of partners; at least one.
    pub ports: Vec<TransportPort>,
    /// The source address that partners see. Nodes of its own IP version only.
    pub to: IpAddr,
}

/// A port of TCP or UDP, as the file writes it: `tcp/5061`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportPort {
    /// Of which transport.
    pub transport: Transport,
    /// Never 0.
    pub port: u16,
}

/// What carries a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The word for it in the file, and in the rules of the host.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for TransportPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.transport.name(), self.port)
    }
}
