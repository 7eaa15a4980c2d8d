//! Addresses and prefixes. IPv4 written as v4-mapped IPv6 is made plain here, once.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Item, Wanted};
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::NodeAddress;

/// An address with a port; v4-mapped IPv6 is made plain.
pub(in crate::config) fn socket(
    item: &Item<'_, '_>,
    findings: &Findings<'_>,
) -> Option<SocketAddr> {
    let wanted = Wanted {
        what: "an address with a port",
        why: "a listener opens exactly what is written; names are not resolved",
        help: "write \"203.0.113.10:5061\" or \"[2001:db8::10]:5061\"",
    };
    item.parsed(findings, wanted, |text| text.parse().ok().map(plain_socket))
}

/// An address, perhaps with a port.
pub(in crate::config) fn node_address(
    item: &Item<'_, '_>,
    findings: &Findings<'_>,
) -> Option<NodeAddress> {
    let wanted = Wanted {
        what: "an address of a node",
        why: "a node is dialled exactly there; names are not resolved",
        help: "write an IP address, with a port where it differs: \"198.51.100.11\", \
         \"198.51.100.11:5061\", \"[2001:db8::11]:5061\"",
    };
    item.parsed(findings, wanted, |text| {
        let bare = text.parse::<IpAddr>().ok().map(|ip| NodeAddress {
            ip: ip.to_canonical(),
            port: None,
        });
        let with_port = text.parse::<SocketAddr>().ok().map(|address| NodeAddress {
            ip: address.ip().to_canonical(),
            port: Some(address.port()),
        });
        let usable = |address: &NodeAddress| {
            !address.ip.is_unspecified() && !address.ip.is_multicast() && address.port != Some(0)
        };
        bare.or(with_port).filter(usable)
    })
}

/// An address, with a port where it is not that of DNS.
pub(in crate::config) fn dns_server(
    item: &Item<'_, '_>,
    findings: &Findings<'_>,
) -> Option<SocketAddr> {
    let wanted = Wanted {
        what: "an address of a DNS server",
        why: "a name would have to be resolved first",
        help: "write \"198.51.100.53\", with a port where it differs: \"127.0.0.1:5353\"",
    };
    item.parsed(findings, wanted, |text| {
        let bare = text.parse().ok().map(|ip| SocketAddr::new(ip, 53));
        let server = bare.or_else(|| text.parse().ok()).map(plain_socket);
        server.filter(|server| server.port() != 0 && !server.ip().is_unspecified())
    })
}

pub(in crate::config) fn address(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<IpAddr> {
    let wanted = Wanted {
        what: "an IP address",
        why: "",
        help: "write \"198.51.100.5\" or \"2001:db8::5\"",
    };
    let read = |text: &str| text.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    item.parsed(findings, wanted, read)
}

/// A prefix; a bare address is the prefix of itself alone.
pub(in crate::config) fn prefix(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<IpNet> {
    let wanted = Wanted {
        what: "a prefix",
        why: "clients are recognised by it",
        help: "write \"192.0.2.0/28\", \"2001:db8::/32\" or one address",
    };
    let prefix: IpNet = item.parsed(findings, wanted, |text| {
        let bare = text.parse::<IpAddr>().ok().map(IpNet::from);
        bare.or_else(|| text.parse().ok())
    })?;
    if prefix.trunc() != prefix {
        let title = format!("{prefix} has bits behind its prefix length");
        let help = format!(
            "write \"{}\" for the whole prefix, or \"{}\" for the one address",
            prefix.trunc(),
            prefix.addr()
        );
        let why = "it could mean the one address or the whole prefix";
        findings.push(Diagnostic::error(&item.span(), title).why(why).help(help));
        return None;
    }
    Some(plain_prefix(prefix))
}

/// A v4-mapped address as what it is: IPv4.
pub(in crate::config) fn plain_socket(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// A prefix of v4-mapped addresses as what it is: IPv4.
fn plain_prefix(prefix: IpNet) -> IpNet {
    let IpNet::V6(wide) = prefix else {
        return prefix;
    };
    let mapped = |prefix: &Ipv6Net| -> Option<IpNet> {
        let address = Ipv6Addr::to_ipv4_mapped(&prefix.addr())?;
        let length = prefix.prefix_len().checked_sub(96)?;
        Ipv4Net::new(address, length).ok().map(IpNet::V4)
    };
    mapped(&wide).unwrap_or(prefix)
}
