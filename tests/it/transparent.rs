//! A/V services in front of nodes that see the clients' own addresses, in a network with the host's rules in force.
//!
//! Owns the scene that these tests share: Pinfold on the appliance, simulated A/V Edges, and clients that hear of
//! everything that reaches them.

mod client;
mod death;
mod hostile;
mod lasting;
mod node;
mod redirect;
mod rules;
mod sight;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use pinfold_loadtest::process::{Signal, wait_until};
use serde_json::Value;

use self::client::Client;
use self::node::{Alternate, Node};
use crate::host_rules::{address, apply};
use crate::laboratory::Laboratory;
use crate::world::{Directory, Pinfold, SOON};

/// Where clients come.
const VIP: &str = "198.51.100.30:3478";
const VIP_TCP: &str = "198.51.100.30:443";
const VIP_V6: &str = "[2001:db8:1::30]:3478";
const VIP_TCP_V6: &str = "[2001:db8:1::30]:443";
const VIP_INTERNAL: &str = "192.0.2.10:3478";
const VIP_TCP_INTERNAL: &str = "192.0.2.10:443";

const NODES: [&str; 3] = ["edge1", "edge2", "edge3"];

/// What a test may want otherwise.
#[derive(Clone, Debug)]
struct Plan {
    /// The listeners, each with its own lines: name, service, bind, pool, more.
    listeners: Vec<[String; 5]>,
    /// Where nodes send their clients.
    alternate: Alternate,
    /// The host's rules are in force at the start.
    is_prepared: bool,
    /// Whatever else is to stand at the end of the file.
    rest: String,
}

impl Default for Plan {
    fn default() -> Self {
        let listeners = [
            ["udp", "av-udp", VIP, "edge", ""],
            ["tcp", "av-tcp", VIP_TCP, "edge", ""],
            ["udp6", "av-udp", VIP_V6, "edge6", ""],
            ["tcp6", "av-tcp", VIP_TCP_V6, "edge6", ""],
            ["internal-udp", "internal-av-udp", VIP_INTERNAL, "edge", ""],
            [
                "internal-tcp",
                "internal-av-tcp",
                VIP_TCP_INTERNAL,
                "edge",
                "",
            ],
        ];
        Self {
            listeners: listeners.map(|each| each.map(Into::into)).into(),
            alternate: Alternate::Nobody,
            is_prepared: true,
            rest: String::new(),
        }
    }
}

impl Plan {
    /// The listener of this name.
    fn listener(&mut self, name: &str) -> &mut [String; 5] {
        let mut listeners = self.listeners.iter_mut();
        listeners.find(|listener| listener[0] == name).unwrap()
    }

    /// The configuration file.
    fn text(&self, directory: &Directory) -> String {
        let mut text = format!(
            "version = 1\n[server]\nworkers = 2\nadmin = \"unix:{}\"\n",
            directory.admin().display()
        );
        for (pool, outer, internal) in [
            ("edge", "203.0.113.", "192.0.2."),
            ("edge6", "2001:db8:2::", "2001:db8:3::"),
        ] {
            let _ = writeln!(text, "[[pool]]\nname = \"{pool}\"");
            for (name, number) in NODES.iter().zip(1..) {
                let _ = writeln!(
                    text,
                    "[[pool.node]]\nname = \"{name}\"\naddress = \"{outer}1{number}\"\n\
                     addresses = {{ av = \"{outer}3{number}\", internal = \"{internal}1{number}\" }}"
                );
            }
        }
        for [name, service, bind, pool, more] in &self.listeners {
            let _ = writeln!(
                text,
                "[[listener]]\nname = \"{name}\"\nservice = \"{service}\"\nbind = \"{bind}\"\npool = \"{pool}\"\n{more}"
            );
        }
        text.push_str(&self.rest);
        text
    }
}

/// Pinfold, its nodes, and the network that they are in.
#[derive(Debug)]
struct Scene<'l> {
    laboratory: &'l Laboratory,
    pinfold: Pinfold,
    /// By their places in [`NODES`]; `None` where its process is gone.
    nodes: Vec<Option<Node>>,
    plan: Plan,
    directory: Directory,
}

impl<'l> Scene<'l> {
    /// Two arms, the host's rules in force, and all nodes up.
    fn start(laboratory: &'l Laboratory) -> Self {
        Self::start_with(laboratory, |_| {})
    }

    /// As [`start`](Self::start), with a plan that differs.
    fn start_with(laboratory: &'l Laboratory, differ: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::default();
        differ(&mut plan);
        let directory = Directory::create();
        directory.write_text(&plan.text(&directory));
        // The appliance is the way of clients to the nodes, and of nodes to clients.
        laboratory.must(
            "appliance",
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        for name in NODES {
            // Whoever is in the nodes' own network inside is reached by the appliance, too.
            laboratory.must(name, "ip route add 192.0.2.101/32 via 192.0.2.1");
        }
        if plan.is_prepared {
            apply(laboratory, &directory);
        }
        let start = |name| Some(Node::start(laboratory, name, plan.alternate));
        let nodes = NODES.into_iter().map(start).collect();
        let pinfold = laboratory.pinfold(&directory);
        pinfold.wait_ready();
        let scene = Self {
            laboratory,
            pinfold,
            nodes,
            plan,
            directory,
        };
        scene.wait_all("up");
        scene
    }

    /// A client at this address, with a port.
    fn client(&self, ip: &str) -> Client {
        self.client_at(SocketAddr::new(ip.parse().unwrap(), 0))
    }

    /// A client at this address and port.
    fn client_at(&self, address: SocketAddr) -> Client {
        Client::open(self.laboratory, "client", address)
    }

    /// Clients at so many addresses of their own.
    fn clients(&self, count: u8) -> Vec<Client> {
        let client = |number| {
            let ip = format!("198.51.100.{number}");
            let add = format!("ip addr add {ip}/24 dev outside");
            self.laboratory.must("client", &add);
            self.client(&ip)
        };
        (100..100 + count).map(client).collect()
    }

    /// Clients at addresses of their own, whose flows the VIP has brought to `node`; the first one of `many`.
    fn clients_of(&self, node: &str, many: usize) -> Vec<Client> {
        let clients = self.clients(40).into_iter();
        let of_node = clients.filter(|client| client.ask(VIP, "hello").node == node);
        let of_node: Vec<_> = of_node.take(many).collect();
        assert_eq!(of_node.len(), many, "{node}");
        of_node
    }

    /// A node's process ends; its machine lives on.
    fn kill(&mut self, node: &str) {
        self.nodes[place(node)] = None;
    }

    /// Every service of every node has this health, in every pool.
    fn wait_all(&self, health: &str) {
        self.wait_services(health, |_| true);
    }

    /// The services that please have this health, and there are some.
    fn wait_services(&self, health: &str, pleases: impl Fn(&Service) -> bool) {
        let reached = wait_until(SOON, || {
            let services = self.services();
            let mut pleasing = services.iter().filter(|each| pleases(each)).peekable();
            pleasing.peek()?;
            pleasing.all(|each| each.health == health).then_some(())
        });
        assert!(reached.is_some(), "not {health}: {:?}", self.services());
    }

    /// How every node fares for every listener.
    fn services(&self) -> Vec<Service> {
        let nodes = self.pinfold.json("/v1/nodes");
        let mut services = Vec::new();
        for node in nodes["nodes"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            for service in node["services"].as_array().unwrap() {
                for listener in service["listeners"].as_array().unwrap() {
                    services.push(Service {
                        node: text(&node["name"]),
                        listener: text(listener),
                        health: text(&service["health"]),
                    });
                }
            }
        }
        services
    }

    /// Flows and sessions that live at a listener.
    fn sessions(&self, listener: &str) -> u64 {
        let status = self.pinfold.json("/v1/status");
        let listener = crate::world::find(&status["listeners"], "name", listener);
        listener["sessions"].as_u64().unwrap()
    }

    /// Sessions and flows of a listener that have ended so.
    fn ended(&self, listener: &str, outcome: &str) -> f64 {
        let labels = format!("listener=\"{listener}\",outcome=\"{outcome}\"");
        let sample = format!("pinfold_sessions_total{{{labels}}}");
        self.pinfold.metric(&sample).unwrap_or_default()
    }

    /// Changes the configuration and reloads until it is in force.
    fn reload_with(&mut self, differ: impl FnOnce(&mut Plan)) {
        let before = self.pinfold.revision();
        differ(&mut self.plan);
        self.directory.write_text(&self.plan.text(&self.directory));
        self.pinfold.process.signal(Signal::HUP).unwrap();
        wait_until(SOON, || (self.pinfold.revision() != before).then_some(()))
            .expect("the reload comes into force");
    }
}

/// How a node fares for a listener.
#[derive(Debug)]
struct Service {
    node: String,
    listener: String,
    health: String,
}

/// A node's place in [`NODES`].
fn place(node: &str) -> usize {
    NODES.iter().position(|name| *name == node).unwrap()
}

/// Where a node's A/V Edge takes datagrams.
fn media(node: &str, is_ipv6: bool) -> SocketAddr {
    let number = place(node) + 1;
    match is_ipv6 {
        false => address(&format!("203.0.113.3{number}:3478")),
        true => address(&format!("[2001:db8:2::3{number}]:3478")),
    }
}

/// An address in the client's network.
fn outside(ip: &str) -> IpAddr {
    ip.parse().unwrap()
}
