//! What a reload would change.
//!
//! Pure: two checked configurations in, names out. Tables are compared by name, never by position.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::model::{Config, Node, Pool, Server};

/// A node by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName {
    /// Its pool.
    pub pool: String,
    /// Its name in the pool.
    pub node: String,
}

/// Names of what came, went and changed, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<N> {
    /// In the new configuration only.
    pub added: Vec<N>,
    /// In the old configuration only.
    pub removed: Vec<N>,
    /// In both, and not alike.
    pub changed: Vec<N>,
}

impl<N> Delta<N> {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// All that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Pools; one whose nodes alone differ is not among the changed.
    pub pools: Delta<String>,
    /// Nodes, also those of pools that came or went.
    pub nodes: Delta<NodeName>,
    /// Listeners.
    pub listeners: Delta<String>,
    /// Partners.
    pub partners: Delta<String>,
    /// Keys of `[server]` that take effect at once.
    pub server: Vec<&'static str>,
    /// Whether `[log]` differs.
    pub log: bool,
    /// Whether `[resolve]` differs.
    pub resolve: bool,
    /// Whether `[gateway]` differs, which the rules of the host are made from.
    pub gateway: bool,
    /// Keys that differ and stay as they were until a restart.
    pub restart_needed: Vec<&'static str>,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
            && self.nodes.is_empty()
            && self.listeners.is_empty()
            && self.partners.is_empty()
            && self.server.is_empty()
            && !self.log
            && !self.resolve
            && !self.gateway
            && self.restart_needed.is_empty()
    }
}

/// What differs in `new`.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let pool = |pool: &Pool| Pool {
        nodes: Vec::new(),
        ..pool.clone()
    };
    let (old_pools, new_pools) = (old.pools.iter().map(pool), new.pools.iter().map(pool));
    Changes {
        pools: delta(old_pools, new_pools, |pool| pool.name.clone()),
        nodes: delta(nodes(old), nodes(new), |(name, _)| name.clone()),
        listeners: delta(old.listeners.iter(), new.listeners.iter(), |each| {
            each.name.clone()
        }),
        partners: delta(old.partners.iter(), new.partners.iter(), |each| {
            each.name.clone()
        }),
        server: server(&old.server, &new.server),
        log: (old.log.level, old.log.sessions) != (new.log.level, new.log.sessions),
        resolve: old.resolve != new.resolve,
        gateway: old.gateway != new.gateway,
        restart_needed: restart_needed(old, new),
    }
}

fn nodes(config: &Config) -> impl Iterator<Item = (NodeName, &Node)> {
    config.pools.iter().flat_map(|pool| {
        pool.nodes.iter().map(|node| {
            let name = NodeName {
                pool: pool.name.clone(),
                node: node.name.clone(),
            };
            (name, node)
        })
    })
}

fn delta<T: PartialEq, N: Ord + Clone>(
    old: impl Iterator<Item = T>,
    new: impl Iterator<Item = T>,
    name: impl Fn(&T) -> N,
) -> Delta<N> {
    let old: BTreeMap<N, T> = old.map(|each| (name(&each), each)).collect();
    let new: BTreeMap<N, T> = new.map(|each| (name(&each), each)).collect();
    let missing_in = |here: &BTreeMap<N, T>, there: &BTreeMap<N, T>| -> Vec<N> {
        here.keys()
            .filter(|&name| !there.contains_key(name))
            .cloned()
            .collect()
    };
    let differs = |(name, value): &(&N, &T)| old.get(*name).is_some_and(|before| before != *value);
    Delta {
        added: missing_in(&new, &old),
        removed: missing_in(&old, &new),
        changed: new
            .iter()
            .filter(differs)
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

fn server(old: &Server, new: &Server) -> Vec<&'static str> {
    differing(&[
        ("drain_timeout", old.drain_timeout != new.drain_timeout),
        ("stop_timeout", old.stop_timeout != new.stop_timeout),
        ("freebind", old.freebind != new.freebind),
        ("buffer_memory", old.buffer_memory != new.buffer_memory),
        ("kernel_tls", old.kernel_tls != new.kernel_tls),
        ("max_pins", old.max_pins != new.max_pins),
        ("view", old.view != new.view),
        ("view_from", old.view_from != new.view_from),
    ])
}

fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (old_log, new_log) = (&old.log, &new.log);
    let (old, new) = (&old.server, &new.server);
    differing(&[
        ("workers", old.workers != new.workers),
        ("admin", old.admin != new.admin),
        ("state_dir", old.state_dir != new.state_dir),
        ("placement_key", old.placement_key != new.placement_key),
        (
            "admin_token_file",
            old.admin_token_file != new.admin_token_file,
        ),
        ("sandbox", old.sandbox != new.sandbox),
        ("log.format", old_log.format != new_log.format),
    ])
}

fn differing(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter()
        .filter(|(_, differs)| *differs)
        .map(|&(key, _)| key)
        .collect()
}

impl fmt::Display for Changes {
    /// `2 nodes added, 1 removed, 1 listener changed; workers needs a restart`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        counted(&mut parts, "pool", &self.pools);
        counted(&mut parts, "node", &self.nodes);
        counted(&mut parts, "listener", &self.listeners);
        counted(&mut parts, "partner", &self.partners);
        parts.extend(self.server.iter().map(|key| format!("{key} changed")));
        parts.extend(self.log.then(|| "log changed".to_owned()));
        parts.extend(self.resolve.then(|| "resolve changed".to_owned()));
        parts.extend(self.gateway.then(|| "gateway changed".to_owned()));
        let needs = match self.restart_needed.len() {
            0 => None,
            1 => Some("needs a restart"),
            _ => Some("need a restart"),
        };
        if parts.is_empty() && needs.is_none() {
            return formatter.write_str("nothing changed");
        }
        formatter.write_str(&parts.join(", "))?;
        if let Some(needs) = needs {
            let gap = if parts.is_empty() { "" } else { "; " };
            write!(formatter, "{gap}{} {needs}", self.restart_needed.join(", "))?;
        }
        Ok(())
    }
}

/// Counts of one kind; the noun stands with the first of them.
fn counted<N>(parts: &mut Vec<String>, noun: &str, delta: &Delta<N>) {
    let verbs = [
        (delta.added.len(), "added"),
        (delta.removed.len(), "removed"),
        (delta.changed.len(), "changed"),
    ];
    let mut is_first = true;
    for (count, verb) in verbs.into_iter().filter(|&(count, _)| count > 0) {
        let plural = if count == 1 { "" } else { "s" };
        parts.push(match is_first {
            true => format!("{count} {noun}{plural} {verb}"),
            false => format!("{count} {verb}"),
        });
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const OLD: &str = r#"
version = 1
[server]
workers = 2
[[pool]]
name = "edge"
  [[pool.node]]
  name = "edge1"
  address = "127.0.0.1:1"
  [[pool.node]]
  name = "edge2"
  address = "127.0.0.1:2"
[[listener]]
name = "federation"
bind = "127.0.0.1:5061"
pool = "edge"
[[partner]]
name = "fabrikam"
addresses = ["192.0.2.1"]
"#;

    fn config(text: &str) -> Config {
        match parse("a.toml", text) {
            Ok(loaded) => loaded.config,
            Err(diagnostics) => panic!("{diagnostics}"),
        }
    }

    #[test]
    fn a_change_is_told_in_one_line() {
        let check = |edits: &[(&str, &str)], expected: &str| {
            let edit = |text: String, (from, to): &(&str, &str)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            };
            let new = config(&edits.iter().fold(OLD.to_owned(), edit));
            let changes = diff(&config(OLD), &new);
            assert_eq!(changes.to_string(), expected);
            assert_eq!(changes.is_empty(), expected == "nothing changed");
        };
        check(&[], "nothing changed");
        check(&[("version", "# a comment\nversion")], "nothing changed");
        check(&[("127.0.0.1:2", "127.0.0.1:3")], "1 node changed");
        check(&[("edge2", "edge3")], "1 node added, 1 removed");
        check(
            &[(
                "name = \"edge\"\n",
                "name = \"edge\"\nbalance = \"round-robin\"\n",
            )],
            "1 pool changed",
        );
        check(&[("workers = 2", "workers = 3")], "workers needs a restart");
        check(
            &[
                ("workers = 2", "admin = \"off\"\nstop_timeout = \"1s\""),
                ("fabrikam", "adatum"),
            ],
            "1 partner added, 1 removed, stop_timeout changed; workers, admin need a restart",
        );
        check(
            &[
                ("[server]", "[log]\nlevel = \"debug\"\n[server]"),
                ("5061", "5062"),
            ],
            "1 listener changed, log changed",
        );
        let gateway = "[gateway]\noutside = \"a\"\ninside = \"b\"\n[server]";
        check(&[("[server]", gateway)], "gateway changed");
    }

    #[test]
    fn the_reverse_of_a_change_swaps_what_came_and_went() {
        let new = config(&OLD.replace("edge2", "edge3").replace("fabrikam", "adatum"));
        let (there, back) = (diff(&config(OLD), &new), diff(&new, &config(OLD)));
        assert_eq!(there.nodes.added, back.nodes.removed);
        assert_eq!(there.partners.removed, back.partners.added);
        let edge3 = NodeName {
            pool: "edge".to_owned(),
            node: "edge3".to_owned(),
        };
        assert_eq!(there.nodes.added, [edge3]);
    }
}
