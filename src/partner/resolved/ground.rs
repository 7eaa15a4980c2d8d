//! Addresses that can be no partner's, whatever DNS says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::model::Config;

/// What is known of this place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// Everything listens on loopback: partners may be there, too.
    pub is_laboratory: bool,
    /// Addresses of our nodes and listeners.
    pub own: BTreeSet<IpAddr>,
}

/// Why an address can be no partner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody connects from it: loopback, unspecified, multicast, broadcast.
    Impossible,
    /// It is a node's or a listener's.
    Own,
}

impl Fault {
    /// As people read it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Impossible => "nobody connects from such an address",
            Self::Own => "it is an address of our own nodes or listeners",
        }
    }
}

impl Ground {
    /// That of `config`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let nodes = config.pools.iter().flat_map(|pool| &pool.nodes);
        let nodes = nodes.flat_map(|node| node.addresses.values().map(|address| address.ip));
        let binds = || config.listeners.iter().flat_map(|listener| &listener.bind);
        let own = nodes.chain(binds().map(|bind| bind.ip()));
        let own = own
            .map(|ip| ip.to_canonical())
            .filter(|ip| !ip.is_unspecified());
        Self {
            is_laboratory: binds().all(|bind| bind.ip().is_loopback()),
            own: own.collect(),
        }
    }

    pub(super) fn fault(&self, address: IpAddr) -> Option<Fault> {
        let is_impossible = match address {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
        };
        let is_elsewhere = address.is_loopback() && !self.is_laboratory;
        if is_impossible || is_elsewhere {
            Some(Fault::Impossible)
        } else {
            self.own.contains(&address).then_some(Fault::Own)
        }
    }

    /// Of `found` what may be a partner's, v4-mapped addresses as what they are.
    pub(super) fn usable(&self, found: &[IpAddr]) -> BTreeSet<IpAddr> {
        let plain = found.iter().map(IpAddr::to_canonical);
        plain
            .filter(|address| self.fault(*address).is_none())
            .collect()
    }

    /// Of `found` what may not, and why.
    pub(super) fn faults(&self, found: &[IpAddr]) -> Vec<(IpAddr, Fault)> {
        let plain: BTreeSet<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
        let faults = plain.into_iter().map(|each| (each, self.fault(each)));
        faults
            .filter_map(|(each, fault)| Some((each, fault?)))
            .collect()
    }
}
