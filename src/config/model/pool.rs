//! `[[pool]]` and its nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Rate;

/// How often a node may go down before it is held there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// So many times; at least 1.
    pub downs: u32,
    /// Within this time.
    pub within: Duration,
    /// It is held down this much longer.
    pub hold: Duration,
}

/// `[[pool]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// How a client without a pin is placed.
    pub balance: Balance,
    /// How long a failed node must be healthy before it takes sessions again.
    pub return_after: ReturnAfter,
    /// Addresses of this machine that the nodes see; empty: the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// While the pool recovers from a failover: how fast one node admits those who are not partners;
    /// `None`: at once.
    pub max_new_per_node: Option<Rate>,
    /// The most of the legacy partners, in percent, that one node has while more are up.
    pub max_share: u8,
    /// Over which time a returned node's share of new sessions grows.
    pub warm_up: Duration,
    /// What becomes of a node that comes and goes; `None`: nothing.
    pub flap: Option<Flap>,
    /// Its nodes, in the order of the file; at least one; names are unique in the pool.
    pub nodes: Vec<Node>,
}

/// How a client without a pin is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// On the node with the fewest sessions for its weight.
    LeastSessions,
    /// On one after the other, by weight.
    RoundRobin,
    /// By a keyed hash of the client's prefix.
    SourceHash,
}

/// When a node that failed takes sessions again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnAfter {
    /// After being healthy this long.
    Healthy(Duration),
    /// When an administrator resumes it.
    Manual,
}

/// `[[pool.node]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in its pool; the same name in two pools is the same machine.
    pub name: String,
    /// Addresses by family. `Access` is always present (the key `address`).
    pub addresses: BTreeMap<Family, NodeAddress>,
    /// Share of placements relative to the other nodes; at least 1.
    pub weight: u32,
    /// The state the file gives; the administrator's runtime state overrides it.
    pub state: NodeState,
}

impl Node {
    /// The address that a listener of `family` dials: the family's own, else `address`.
    #[must_use]
    pub fn address(&self, family: Family) -> NodeAddress {
        self.addresses
            .get(&family)
            .or_else(|| self.addresses.get(&Family::Access))
            .copied()
            .unwrap_or(NodeAddress {
                ip: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                port: None,
            })
    }
}

/// An address of a node, perhaps with a port that overrides the listener's `node_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Where the node is.
    pub ip: IpAddr,
    /// Overrides `node_port` and the probe's port.
    pub port: Option<u16>,
}

/// What an administrator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Takes sessions.
    Active,
    /// Keeps its sessions and takes no new ones.
    Draining,
    /// Has no sessions.
    Disabled,
}

/// Which of a node's addresses a listener dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Access Edge; the key `address`.
    Access,
    /// Web Conferencing Edge.
    Webconf,
    /// A/V Edge.
    Av,
    /// The inside of the Edge Server.
    Internal,
    /// Web services.
    Web,
}
