//! Addresses with a role, so that two of them cannot be swapped.
//!
//! Owns the one place where IPv4-mapped IPv6 addresses are made plain.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where a client connects from: the peer of the socket, or what a trusted PROXY header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

/// Where a client connected to: an address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(SocketAddr);

/// Where a node is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddr(SocketAddr);

macro_rules! role {
    ($name:ident) => {
        impl $name {
            /// The address in this role, IPv4-mapped IPv6 made plain.
            #[must_use]
            pub fn new(address: SocketAddr) -> Self {
                Self(plain(address))
            }

            /// The address and port.
            #[must_use]
            pub fn socket(self) -> SocketAddr {
                self.0
            }

            /// The address alone.
            #[must_use]
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

role!(ClientAddr);
role!(ListenAddr);
role!(NodeAddr);

/// An address of either family in sixteen bytes; [`Ipv6Addr::to_canonical`] is the way back.
#[must_use]
pub fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_made_plain() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5061".parse().unwrap();
        assert_eq!(ClientAddr::new(mapped).to_string(), "192.0.2.1:5061");
    }
}
