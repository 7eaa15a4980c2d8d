//! Which tables a configuration has, and which keys each knows.
//!
//! Owns the tree of tables. The keys are not listed here: [`keys`] reads a skeleton that has every
//! table and no key, and collects what the readers ask for.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use toml::de::DeTable;

use crate::config::diagnostics::Findings;
use crate::config::read;
use crate::config::source::Source;
use crate::config::value;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The keys above all headers.
    Root,
    /// The process.
    Server,
    /// The log.
    Log,
    /// Name resolution.
    Resolve,
    /// Facts for host rules.
    Gateway,
    /// What nodes originate.
    GatewaySnat,
    /// A pool.
    Pool,
    /// A node of a pool.
    Node,
    /// Addresses of a node by family.
    NodeAddresses,
    /// A listener.
    Listener,
    /// Prefix lengths of its address pins.
    PinPrefix,
    /// How it probes.
    Probe,
    /// How it terminates TLS.
    Tls,
    /// A certificate it shows to clients.
    TlsCertificate,
    /// How it speaks TLS to nodes.
    NodeTls,
    /// The certificate it shows to nodes.
    NodeTlsCertificate,
    /// HTTP.
    Http,
    /// SIP.
    Sip,
    /// A partner.
    Partner,
    /// Other appliances.
    Cluster,
}

impl Section {
    /// All, each after the one around it.
    pub const ALL: [Self; 20] = [
        Self::Root,
        Self::Server,
        Self::Log,
        Self::Resolve,
        Self::Gateway,
        Self::GatewaySnat,
        Self::Pool,
        Self::Node,
        Self::NodeAddresses,
        Self::Listener,
        Self::PinPrefix,
        Self::Probe,
        Self::Tls,
        Self::TlsCertificate,
        Self::NodeTls,
        Self::NodeTlsCertificate,
        Self::Http,
        Self::Sip,
        Self::Partner,
        Self::Cluster,
    ];

    /// The header as it is written in the file; empty for the root.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Server => "[server]",
            Self::Log => "[log]",
            Self::Resolve => "[resolve]",
            Self::Gateway => "[gateway]",
            Self::GatewaySnat => "[[gateway.snat]]",
            Self::Pool => "[[pool]]",
            Self::Node => "[[pool.node]]",
            Self::NodeAddresses => "[pool.node.addresses]",
            Self::Listener => "[[listener]]",
            Self::PinPrefix => "[listener.pin_prefix]",
            Self::Probe => "[listener.probe]",
            Self::Tls => "[listener.tls]",
            Self::TlsCertificate => "[[listener.tls.certificates]]",
            Self::NodeTls => "[listener.node_tls]",
            Self::NodeTlsCertificate => "[listener.node_tls.certificate]",
            Self::Http => "[listener.http]",
            Self::Sip => "[listener.sip]",
            Self::Partner => "[[partner]]",
            Self::Cluster => "[cluster]",
        }
    }

    /// The table around it.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        let path = self.header().trim_matches(['[', ']']);
        if path.is_empty() {
            return None;
        }
        let (outer, _) = path.rsplit_once('.').unwrap_or_default();
        let is_outer = |section: &Self| section.header().trim_matches(['[', ']']) == outer;
        Self::ALL.into_iter().find(is_outer)
    }

    /// Whether the file may have several.
    pub(super) fn is_list(self) -> bool {
        self.header().starts_with("[[")
    }

    /// Whether a table around this one has `key`.
    pub(super) fn is_around(self, key: &str, knows: impl Fn(Self, &str) -> bool) -> bool {
        std::iter::successors(self.parent(), |section| section.parent())
            .any(|section| knows(section, key))
    }

    /// A table inside this one that has `key`.
    pub(super) fn inner(self, key: &str, knows: impl Fn(Self, &str) -> bool) -> Option<Self> {
        let is_inner = |section: &Self| section.parent() == Some(self) && knows(*section, key);
        let mut inner = Self::ALL.into_iter().filter(is_inner);
        if self == Self::Root {
            None
        } else {
            inner.next()
        }
    }

    /// Any table that has `key`.
    pub(super) fn elsewhere(self, key: &str, knows: impl Fn(Self, &str) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|&section| knows(section, key))
    }
}

/// The keys of every table, sorted; tables inside a table count among its keys.
pub fn keys() -> &'static BTreeMap<Section, Vec<&'static str>> {
    static KEYS: OnceLock<BTreeMap<Section, Vec<&'static str>>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let skeleton = Section::ALL.map(Section::header).join("\n");
        let source = Source::new("", &skeleton);
        let findings = Findings::new(&source);
        let document = DeTable::parse(&skeleton);
        debug_assert!(document.is_ok(), "the skeleton is valid TOML");
        let mut keys: BTreeMap<Section, Vec<&'static str>> = BTreeMap::new();
        if let Ok(document) = document {
            read::document(document.get_ref(), &findings);
            keys = findings.into_known();
        }
        keys
    })
}

/// Whether the table `section` has `key`.
pub(super) fn knows(section: Section, key: &str) -> bool {
    keys()
        .get(&section)
        .is_some_and(|keys| keys.binary_search(&key).is_ok())
}

/// The key of any table that is nearest to `word`.
pub(super) fn nearest(word: &str) -> Option<(Section, &'static str)> {
    let all = || {
        keys()
            .iter()
            .flat_map(|(section, keys)| keys.iter().map(|key| (*section, *key)))
    };
    let near = value::nearest(word, all().map(|(_, key)| key))?;
    all().find(|&(_, key)| key == near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read_and_knows_its_keys() {
        for section in Section::ALL {
            let known = keys().get(&section).map_or(0, Vec::len);
            assert!(known > 0, "{section:?} has no keys");
        }
        let check = |section, key| assert!(knows(section, key), "{section:?} {key}");
        check(Section::Root, "listener");
        check(Section::Pool, "balance");
        check(Section::NodeAddresses, "webconf");
        check(Section::Probe, "fast_interval");
        check(Section::TlsCertificate, "chain");
        assert!(!knows(Section::Node, "balance"));
    }

    #[test]
    fn the_tree_follows_the_headers() {
        let check = |section: Section, parent| assert_eq!(section.parent(), parent);
        check(Section::Root, None);
        check(Section::Server, Some(Section::Root));
        check(Section::Node, Some(Section::Pool));
        check(Section::NodeTlsCertificate, Some(Section::NodeTls));
    }
}
