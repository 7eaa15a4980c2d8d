//! The attributes of a message: type, length, value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Dialect;

/// RFC 8489, section 18.3.1.
pub(super) const ERROR_CODE: u16 = 0x0009;
/// RFC 8489, section 18.3.2.
const ALTERNATE_SERVER: u16 = 0x8023;
/// `[MS-TURN]`, section 2.2.2.7.
const ALTERNATE_SERVER_MICROSOFT: u16 = 0x000E;
/// `[MS-TURN]`, section 2.2.2.8.
pub(super) const MAGIC_COOKIE: u16 = 0x000F;

/// The attributes from here on. Ends where the bytes do, or where they make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
    dialect: Dialect,
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(body: &'a [u8], dialect: Dialect) -> Self {
        Self {
            rest: body,
            dialect,
        }
    }

    /// The value of the first of this type; those that come later say nothing: RFC 8489, section 14.
    pub(super) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

/// Its number in `dialect`.
pub(super) const fn alternate_server(dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Rfc => ALTERNATE_SERVER,
        Dialect::Microsoft => ALTERNATE_SERVER_MICROSOFT,
    }
}

/// An address in clear: RFC 8489, section 14.1, which `[MS-TURN]` shares.
pub(super) fn address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], ip) = value.split_first_chunk::<4>()?;
    let ip: IpAddr = match (family, ip.len()) {
        (1, 4) => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        (2, 16) => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[k0, k1, l0, l1], rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = rest.get(..length)?;
        let after = length + self.dialect.padding(length);
        self.rest = rest.get(after..).unwrap_or_default();
        Some((u16::from_be_bytes([k0, k1]), value))
    }
}
