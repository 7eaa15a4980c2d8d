//! What was answered, as it was written; the checker of configurations says what is wrong with it.

use std::net::{IpAddr, SocketAddr};

use super::document;
use crate::config::{self, Severity};

/// A first configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) pool: String,
    pub(super) services: Services,
    pub(super) nodes: Vec<Node>,
    pub(super) vips: Vips,
    /// This machine is the nodes' gateway.
    pub(super) gateway: Option<Gateway>,
    /// Edge Servers are virtual machines that a backup or a migration pauses.
    pub(super) are_paused: bool,
    /// Only partners may connect to federation.
    pub(super) is_closed: bool,
    /// A node that is dead inside is dead outside.
    pub(super) needs_inside: bool,
    pub(super) partners: Vec<Partner>,
    pub(super) placement_key: Option<String>,
    /// The key was made here, and the other appliance does not know it yet.
    pub(super) is_pair_with_new_key: bool,
    pub(super) view: Vec<String>,
    pub(super) view_from: Vec<String>,
}

/// What goes through here beside federation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) access: bool,
    pub(super) webconf: bool,
    pub(super) av: bool,
    pub(super) xmpp: bool,
    pub(super) internal: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) access: String,
    pub(super) webconf: Option<String>,
    pub(super) av: Option<String>,
    pub(super) internal: Option<String>,
}

/// Where clients come to: for each service one address, or one of each IP version; with a port where that is not
/// the usual one. Empty where it is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vips {
    pub(super) federation: Vec<String>,
    pub(super) access: Vec<String>,
    pub(super) webconf: Vec<String>,
    pub(super) av: Vec<String>,
    pub(super) xmpp: Vec<String>,
    pub(super) internal: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) outside: String,
    pub(super) inside: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partner {
    pub(super) name: String,
    pub(super) generation: &'static str,
    pub(super) domains: Vec<String>,
    pub(super) edge: Vec<String>,
    pub(super) addresses: Vec<String>,
    pub(super) contact: Option<String>,
}

impl Plan {
    /// Whether what is answered so far can be put in force; if not, what is wrong, and what to write instead.
    pub(super) fn check(&self) -> Result<(), String> {
        let text = document::text(self);
        let mistakes = match config::parse("pinfold.toml", &text) {
            Ok(loaded) => {
                let refused = loaded.config.unavailable.first();
                let refused = refused.map(|refused| &refused.what);
                return match refused {
                    None => Ok(()),
                    Some(what) => Err(format!("{what} is not available in this version")),
                };
            }
            Err(mistakes) => mistakes,
        };
        let mut errors = mistakes.iter();
        let first = errors.find(|each| each.severity == Severity::Error);
        let Some(first) = first else { return Ok(()) };
        match &first.help {
            Some(help) => Err(format!("{}; {help}", first.title)),
            None => Err(first.title.clone()),
        }
    }

    /// The first federation VIP that partners could see as the source of what nodes originate.
    pub(super) fn source_of_federation(&self) -> Option<IpAddr> {
        let addresses = self.vips.federation.iter().filter_map(|text| {
            let bare = text.parse().ok();
            bare.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
        });
        let is_seen = |ip: &IpAddr| ip.is_ipv4() && !ip.is_unspecified() && !ip.is_loopback();
        addresses.into_iter().find(is_seen)
    }
}
