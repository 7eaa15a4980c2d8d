//! What of the configuration the rules are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::config::model::{
    Config, Family, GatewaySnat, Listener, Node, Pool, Service, SourceAddress, Transport,
    TransportPort,
};

/// An address and port of a node, by transport.
pub(super) type Place = (IpAddr, TransportPort);

/// Addresses and ports of nodes, with the names of those nodes.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Where nodes of transparent listeners answer from.
    pub(super) answers: BTreeMap<Place, BTreeSet<String>>,
    /// Where transparent listeners take datagrams.
    pub(super) vips: BTreeMap<SocketAddr, String>,
    /// Connections that the kernel remembers at most: of a session both legs, but not what arrives at `vips`.
    pub(super) connections: u64,
    /// The longest that a flow of a transparent listener lasts without a datagram, in seconds.
    pub(super) idle: u64,
    /// Where A/V Edges are spoken with directly, from outside. Empty without `[gateway]`.
    pub(super) media: BTreeMap<Place, BTreeSet<String>>,
    /// Outer addresses of A/V Edges. Empty without `[gateway]`.
    pub(super) av: BTreeMap<IpAddr, BTreeSet<String>>,
    /// All outer addresses of nodes. Empty without `[gateway]`.
    pub(super) outer: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Of each `[[gateway.snat]]`, the addresses that it concerns.
    pub(super) translated: Vec<(GatewaySnat, BTreeSet<IpAddr>)>,
}

const DAY: u64 = 86_400;

/// What a node shows to the outside.
const OUTER: [Family; 3] = [Family::Access, Family::Webconf, Family::Av];

impl Facts {
    pub(super) fn of(config: &Config) -> Self {
        let mut facts = Self::default();
        for listener in &config.listeners {
            let is_one_legged = !listener.needs_descriptors();
            let legs = if is_one_legged { 1 } else { 2 };
            facts.connections += legs * u64::from(listener.max_sessions);
            if listener.source == SourceAddress::Transparent {
                facts.listener(config, listener);
            }
        }
        let Some(gateway) = &config.gateway else {
            return facts;
        };
        for pool in outer_pools(config) {
            facts.gateway(config, pool);
        }
        let snat = gateway.snat.iter().map(|snat| {
            let addresses = outer_pools(config)
                .flat_map(|pool| &pool.nodes)
                .map(|node| node.address(snat.family).ip)
                .filter(|ip| ip.is_ipv4() == snat.to.is_ipv4());
            (snat.clone(), addresses.collect())
        });
        facts.translated = snat.collect();
        facts
    }

    fn listener(&mut self, config: &Config, listener: &Listener) {
        for (place, node) in targets(config, listener) {
            self.answers.entry(place).or_default().insert(node);
        }
        if listener.service.is_udp() {
            // For ever is a day here.
            let idle = listener.idle_timeout.map_or(DAY, |idle| idle.as_secs() + 1);
            self.idle = self.idle.max(idle.min(DAY));
        }
        let binds = listener.bind.iter();
        for bind in binds.filter(|bind| listener.service.is_udp() && bind.port() != 0) {
            self.vips.insert(*bind, listener.name.clone());
        }
    }

    fn gateway(&mut self, config: &Config, pool: &Pool) {
        let listeners: Vec<_> = users(config, pool).collect();
        let ports = |service, usual| -> Vec<u16> {
            let of_service = listeners.iter().filter(|each| each.service == service);
            let ports: Vec<_> = of_service.map(|each| each.node_port).collect();
            if ports.is_empty() { vec![usual] } else { ports }
        };
        let services = [
            (Transport::Tcp, ports(Service::AvTcp, 443)),
            (Transport::Udp, ports(Service::AvUdp, 3478)),
        ];
        let has_av = listeners
            .iter()
            .any(|each| matches!(each.service, Service::AvTcp | Service::AvUdp));
        for node in &pool.nodes {
            for address in OUTER.iter().filter_map(|family| node.addresses.get(family)) {
                note(&mut self.outer, address.ip, node);
            }
            if !has_av && !node.addresses.contains_key(&Family::Av) {
                continue;
            }
            let address = node.address(Family::Av);
            note(&mut self.av, address.ip, node);
            for (transport, ports) in &services {
                let of_node = |&port: &u16| address.port.unwrap_or(port);
                for port in ports.iter().map(of_node) {
                    let transport = *transport;
                    let place = (address.ip, TransportPort { transport, port });
                    note(&mut self.media, place, node);
                }
            }
        }
    }

    /// Whether the kernel must be told anything.
    pub(super) fn is_needed(&self) -> bool {
        !self.answers.is_empty() || !self.outer.is_empty() || !self.translated.is_empty()
    }

    pub(super) fn has_v4(&self) -> bool {
        self.addresses().any(|ip| ip.is_ipv4())
    }

    pub(super) fn has_v6(&self) -> bool {
        self.addresses().any(|ip| ip.is_ipv6())
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let answers = self.answers.keys().map(|&(ip, _)| ip);
        answers.chain(self.outer.keys().copied())
    }
}

fn note<K: Ord>(map: &mut BTreeMap<K, BTreeSet<String>>, key: K, node: &Node) {
    map.entry(key).or_default().insert(node.name.clone());
}

/// Where `listener` dials, and whom.
fn targets(config: &Config, listener: &Listener) -> Vec<(Place, String)> {
    let pools = config.pools.iter();
    let nodes = pools
        .filter(|pool| pool.name == listener.pool)
        .flat_map(|pool| &pool.nodes);
    let target = |node: &Node| {
        let address = node.address(listener.family);
        let port = TransportPort {
            transport: listener.service.transport(),
            port: address.port.unwrap_or(listener.node_port),
        };
        ((address.ip, port), node.name.clone())
    };
    nodes.map(target).collect()
}

fn users<'c>(config: &'c Config, pool: &Pool) -> impl Iterator<Item = &'c Listener> {
    let listeners = config.listeners.iter();
    listeners.filter(move |each| each.pool == pool.name)
}

/// Pools with a side that faces the outside: those of the inside have nothing to do with a gateway.
fn outer_pools(config: &Config) -> impl Iterator<Item = &Pool> {
    let faces_outside = |pool: &&Pool| users(config, pool).any(|each| OUTER.contains(&each.family));
    config.pools.iter().filter(faces_outside)
}
