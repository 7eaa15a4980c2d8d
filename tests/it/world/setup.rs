//! What a test's configuration file says.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::{Directory, FABRIKAM};

/// The configuration of a test: lines for each table, joined to a file by [`text`](Self::text).
///
/// All that decides how a fault is found is as shipped, unless a test writes otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// More lines of `[server]`.
    pub(crate) server: String,
    /// More lines of `[[pool]]`.
    pub(crate) pool: String,
    /// Names of nodes, and the lines of their tables.
    pub(crate) nodes: Vec<(String, String)>,
    pub(crate) listeners: Vec<Listener>,
    /// More lines of the partner "fabrikam".
    pub(crate) fabrikam: String,
    /// Whatever else is to stand at the end of the file.
    pub(crate) rest: String,
    harmless: usize,
}

/// One `[[listener]]` of pool "edge".
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) bind: String,
    /// More lines, its sub-tables last.
    pub(crate) more: String,
}

impl Listener {
    /// On a port that the system picks.
    pub(crate) fn new(name: &str, service: &str) -> Self {
        Self {
            name: name.into(),
            service: service.into(),
            bind: "127.0.0.1:0".into(),
            more: String::new(),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            server: String::new(),
            pool: String::new(),
            nodes: Vec::new(),
            listeners: vec![Listener::new("federation", "federation")],
            fabrikam: String::new(),
            rest: String::new(),
            harmless: 0,
        }
    }
}

impl Setup {
    /// Adds a node.
    pub(crate) fn node(&mut self, name: &str, address: SocketAddr) {
        let text = format!("address = \"{address}\"");
        self.nodes.push((name.into(), text));
    }

    /// Changes something that concerns nobody.
    pub(crate) fn change_harmlessly(&mut self) {
        self.harmless += 1;
    }

    /// The file.
    pub(crate) fn text(&self, directory: &Directory) -> String {
        let (admin, state) = (directory.admin(), directory.state());
        let (admin, state) = (admin.display(), state.display());
        let (server, pool) = (&self.server, &self.pool);
        let mut text = format!(
            "version = 1\n\n[server]\nadmin = \"unix:{admin}\"\nstate_dir = \"{state}\"\n{server}\n\
             \n[[pool]]\nname = \"edge\"\n{pool}\n"
        );
        for (name, more) in &self.nodes {
            let _ = write!(text, "\n[[pool.node]]\nname = \"{name}\"\n{more}\n");
        }
        for listener in &self.listeners {
            let _ = write!(text, "\n{}", listener.text());
        }
        let contact = self.harmless % 2;
        let _ = write!(
            text,
            "\n[[partner]]\nname = \"fabrikam\"\naddresses = [\"{FABRIKAM}/32\"]\n\
             generation = \"ocs-2007\"\ncontact = \"extension {contact}\"\n{}\n\n{}\n",
            self.fabrikam, self.rest
        );
        text
    }
}

impl Listener {
    fn text(&self) -> String {
        let Self {
            name,
            service,
            bind,
            more,
        } = self;
        let bind = if bind.starts_with('[') && bind.ends_with(']') && bind.contains('"') {
            bind.clone()
        } else {
            format!("\"{bind}\"")
        };
        format!(
            "[[listener]]\nname = \"{name}\"\nbind = {bind}\nservice = \"{service}\"\n\
             pool = \"edge\"\n{more}\n"
        )
    }
}
