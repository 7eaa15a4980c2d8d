//! The nodes of a run, and what happens to them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::process::{EdgeProcess, free_ports};

/// Edge Servers as processes.
#[derive(Debug)]
pub(super) struct Nodes {
    edges: Vec<EdgeProcess>,
    /// The one that was broken last, until it is mended.
    broken: Option<String>,
}

impl Nodes {
    pub(super) fn start(program: &Path, names: &[String]) -> io::Result<Self> {
        // Not where the kernel takes the ports of clients from: a node that is dead must find its own
        // port again.
        let ports = free_ports(names.len())?;
        let edges = names.iter().zip(ports).map(|(name, port)| {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            EdgeProcess::spawn(program, name, listen)
        });
        Ok(Self {
            edges: edges.collect::<io::Result<_>>()?,
            broken: None,
        })
    }

    /// Nodes that others run.
    pub(super) const fn none() -> Self {
        Self {
            edges: Vec::new(),
            broken: None,
        }
    }

    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let edges = self.edges.iter();
        edges
            .map(|edge| (edge.name().to_owned(), edge.address()))
            .collect()
    }

    /// Does to `node`, or to the `broken` one, what `command` says, and tells which it was.
    pub(super) fn happen(&mut self, node: &str, command: &str) -> io::Result<String> {
        let name = match (node, &self.broken) {
            ("broken", Some(broken)) => broken.clone(),
            ("broken", None) => return Err(io::Error::other("no node is broken")),
            _ => node.to_owned(),
        };
        let edge = self.edges.iter_mut().find(|edge| edge.name() == name);
        let edge = edge
            .ok_or_else(|| io::Error::other(format!("there is no node \"{name}\" to {command}")))?;
        match command {
            "kill" => edge.kill()?,
            "freeze" => edge.freeze()?,
            // A stopped process goes on; one that was killed starts anew.
            "mend" => {
                if edge.thaw().is_err() {
                    edge.restart()?;
                }
            }
            _ => edge.command(command).map(drop)?,
        }
        match command {
            "kill" | "freeze" => self.broken = Some(name.clone()),
            "mend" => self.broken = None,
            _ => {}
        }
        Ok(name)
    }
}
