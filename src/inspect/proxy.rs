//! The PROXY protocol, versions 1 and 2: who the client behind a proxy is.
//!
//! Source: "The PROXY protocol", haproxy.org, sections 2.1 and 2.2. TLVs of version 2 are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::addr::mapped;

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A header of `length` bytes; `None` where the sender speaks for itself (`UNKNOWN`, `LOCAL`).
    Header {
        /// The client.
        source: Option<SocketAddr>,
        /// Bytes up to the first of the client.
        length: usize,
    },
    /// The beginning of a header.
    Incomplete,
    /// No header.
    Invalid,
}

const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX_1: &[u8; 6] = b"PROXY ";
/// Section 2.1: the longest line, with its end.
const LINE_MAX: usize = 107;
/// Longer TLVs than this are nobody's that we serve.
const BODY_MAX: usize = 4096;

/// Looks at the first bytes of a connection.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let begins = |whole: &[u8]| {
        let length = whole.len().min(bytes.len());
        bytes.get(..length) == whole.get(..length)
    };
    if begins(SIGNATURE_2) {
        parse_2(bytes).unwrap_or(Parsed::Incomplete)
    } else if begins(PREFIX_1) {
        parse_1(bytes)
    } else {
        Parsed::Invalid
    }
}

fn parse_1(bytes: &[u8]) -> Parsed {
    let window = bytes.get(..LINE_MAX.min(bytes.len())).unwrap_or_default();
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_MAX {
            Parsed::Incomplete
        } else {
            Parsed::Invalid
        };
    };
    let line = bytes
        .get(PREFIX_1.len()..end)
        .and_then(|line| std::str::from_utf8(line).ok());
    let length = end + 2;
    match line.map(source_1) {
        Some(Some(source)) => Parsed::Header { source, length },
        Some(None) | None => Parsed::Invalid,
    }
}

/// The source in a line of version 1; the inner `None` is `UNKNOWN`.
fn source_1(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let source_port: u16 = words.next()?.parse().ok()?;
    let _destination_port: u16 = words.next()?.parse().ok()?;
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some(SocketAddr::new(source, source_port)))
}

/// Section 2.2; `None` where bytes are missing.
fn parse_2(bytes: &[u8]) -> Option<Parsed> {
    let &[version_and_command, family, high, low] = bytes.get(12..16)?.first_chunk()?;
    let body_length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || version_and_command & 0xf > 1 || body_length > BODY_MAX {
        return Some(Parsed::Invalid);
    }
    let length = 16 + body_length;
    let body = bytes.get(16..length)?;
    let is_local = version_and_command & 0xf == 0;
    let source = match family {
        _ if is_local => None,
        0x11 => match source_2::<4>(body, 8) {
            Some((octets, port)) => Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port)),
            None => return Some(Parsed::Invalid),
        },
        0x21 => match source_2::<16>(body, 32) {
            Some((octets, port)) => Some(SocketAddr::new(Ipv6Addr::from(octets).into(), port)),
            None => return Some(Parsed::Invalid),
        },
        // Unspecified, datagram or unix: the sender speaks for itself.
        _ => None,
    };
    Some(Parsed::Header { source, length })
}

fn source_2<const N: usize>(body: &[u8], port_at: usize) -> Option<([u8; N], u16)> {
    let port = body.get(port_at..port_at + 4)?.first_chunk()?;
    Some((*body.first_chunk()?, u16::from_be_bytes(*port)))
}

/// The header of version 1 for a connection from `client` to `listener`.
#[must_use]
pub fn version_1(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let (client, listener) = alike(client, listener);
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), listener.ip());
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        listener.port()
    )
    .into_bytes()
}

/// The header of version 2 for a connection from `client` to `listener`.
#[must_use]
pub fn version_2(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE_2.to_vec();
    match alike(client, listener) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(from.ip().octets());
            header.extend(to.ip().octets());
        }
        (from, to) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(mapped(from.ip()).octets());
            header.extend(mapped(to.ip()).octets());
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(listener.port().to_be_bytes());
    header
}

/// The header by which a probe says that it is no client: version 1 has `UNKNOWN` for it, version 2
/// the command `LOCAL`.
#[must_use]
pub const fn version_1_local() -> &'static [u8] {
    b"PROXY UNKNOWN\r\n"
}

/// See [`version_1_local`].
#[must_use]
pub const fn version_2_local() -> &'static [u8] {
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
}

/// Both addresses of one family, mapped where they differ.
fn alike(client: SocketAddr, listener: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (client, listener) = (plain(client), plain(listener));
    if client.is_ipv4() == listener.is_ipv4() {
        return (client, listener);
    }
    let wide = |address: SocketAddr| SocketAddr::new(mapped(address.ip()).into(), address.port());
    (wide(client), wide(listener))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| {
            let ip = ip.to_canonical();
            SocketAddr::new(ip, port)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_any_chopping(
            client in address(), listener in address(), rest: Vec<u8>, cut in 0usize..200,
        ) {
            for header in [version_1(client, listener), version_2(client, listener)] {
                let mut bytes = header.clone();
                bytes.extend(&rest);
                let Parsed::Header { source, length } = parse(&bytes) else {
                    return Err(TestCaseError::fail("no header"));
                };
                prop_assert_eq!(length, header.len());
                let source = source.expect("a client");
                prop_assert_eq!(source.ip().to_canonical(), client.ip());
                prop_assert_eq!(source.port(), client.port());
                if cut < header.len() {
                    prop_assert_eq!(parse(&header[..cut]), Parsed::Incomplete);
                }
            }
        }

        #[test]
        fn nothing_that_a_peer_sends_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[SIGNATURE_2.as_slice(), &bytes].concat());
            let _ = parse(&[PREFIX_1.as_slice(), &bytes].concat());
        }
    }

    #[test]
    fn senders_that_speak_for_themselves_are_no_client() {
        for header in [version_1_local(), version_2_local()] {
            assert_eq!(
                parse(header),
                Parsed::Header {
                    source: None,
                    length: header.len()
                }
            );
        }
        assert_eq!(
            parse(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nx"),
            Parsed::Header {
                source: None,
                length: 35
            }
        );
    }

    #[test]
    fn malformed_headers_are_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01x",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            &[b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        ] {
            assert_eq!(
                parse(bytes),
                Parsed::Invalid,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn a_version_2_header_with_type_length_values_is_passed_over_whole() {
        let mut header = version_2(
            "192.0.2.1:5".parse().unwrap(),
            "192.0.2.2:6".parse().unwrap(),
        );
        header[15] += 4;
        header.extend([4, 0, 1, 0]);
        let source = Some("192.0.2.1:5".parse().unwrap());
        assert_eq!(
            parse(&header),
            Parsed::Header {
                source,
                length: header.len()
            }
        );
    }
}
