//! What ICMP says of a datagram that did not arrive.
//!
//! Pure. The message quotes the datagram that it is about, and so says whose it was and where it went: RFC 792 and
//! RFC 4443. Anybody who has sent a datagram knows what such a message must look like, so it is a reason to look
//! again, and to send that client elsewhere; it condemns nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A datagram that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// In whose name it went.
    pub from: SocketAddr,
    /// Where it went.
    pub to: SocketAddr,
}

/// The kind of a message that says so, in ICMP: RFC 792.
pub const KIND: u8 = 3;
/// The same in ICMP for IPv6: RFC 4443, section 3.1.
pub const KIND_V6: u8 = 1;

impl Unreachable {
    /// Reads what a raw ICMP socket has received, its IP header included: `raw(7)`. `None` where it says anything else,
    /// as that a datagram was too large.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let message = behind_ipv4(packet)?;
        let meant_for = *packet.get(16..)?.first_chunk::<4>()?;
        let ([kind, code, ..], quoted) = message.split_first_chunk::<8>()?;
        // RFC 1812, section 5.2.7.1: 4 is "fragmentation needed".
        if *kind != KIND || *code == 4 {
            return None;
        }
        let (header, _) = quoted.split_first_chunk::<20>()?;
        // It goes to whoever has sent the datagram. What says so to this machine itself was invented.
        if header[9] != UDP || is_fragment(header) || !header[12..].starts_with(&meant_for) {
            return None;
        }
        let ip = |at: usize| {
            Some(IpAddr::V4(Ipv4Addr::from(
                *header.get(at..)?.first_chunk::<4>()?,
            )))
        };
        Self::of(ip(12)?, ip(16)?, behind_ipv4(quoted)?)
    }

    /// As [`read`](Self::read), of IPv6, where the socket leaves the header away: RFC 3542, section 3.
    #[must_use]
    pub fn read_v6(message: &[u8]) -> Option<Self> {
        let ([kind, ..], quoted) = message.split_first_chunk::<8>()?;
        let (header, rest) = quoted.split_first_chunk::<40>()?;
        let (next, datagram) = match header[6] {
            // RFC 8200, section 4.5: what is larger than the path allows leaves in pieces, of which the first has the ports.
            FRAGMENT => {
                let ([next, _, high, low, ..], datagram) = rest.split_first_chunk::<8>()?;
                let is_first = (high, low & 0xf8) == (&0, 0);
                (*next, if is_first { datagram } else { return None })
            }
            next => (next, rest),
        };
        if *kind != KIND_V6 || next != UDP {
            return None;
        }
        let ip = |at: usize| {
            Some(IpAddr::V6(Ipv6Addr::from(
                *header.get(at..)?.first_chunk::<16>()?,
            )))
        };
        Self::of(ip(8)?, ip(24)?, datagram)
    }

    fn of(from: IpAddr, to: IpAddr, datagram: &[u8]) -> Option<Self> {
        let [a, b, c, d, ..] = *datagram else {
            return None;
        };
        let port = u16::from_be_bytes;
        Some(Self {
            from: SocketAddr::new(from, port([a, b])),
            to: SocketAddr::new(to, port([c, d])),
        })
    }
}

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// Whether it is any but the first piece of a datagram: RFC 791.
fn is_fragment(header: &[u8; 20]) -> bool {
    let [_, _, _, _, _, _, high, low, ..] = *header;
    (high & 0x1f, low) != (0, 0)
}

/// What follows the IPv4 header of `packet`.
fn behind_ipv4(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    if first >> 4 != 4 {
        return None;
    }
    packet.get(usize::from(first & 0xf) * 4..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As it came from a node whose port was closed, `raw(7)`.
    fn message(code: u8) -> Vec<u8> {
        let outer = [
            0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 2, 0, 11, 10, 1, 0, 2,
        ];
        let icmp = [KIND, code, 0, 0, 0, 0, 0, 0];
        let quoted = [
            0x45, 0, 0, 29, 0x61, 0xe0, 0x40, 0, 0x40, 17, 0xc4, 0xe0, 10, 1, 0, 2, 10, 2, 0, 11,
        ];
        let udp = [0x15, 0xb4, 0x0d, 0x96, 0, 9, 0, 0, 0x78];
        [&outer[..], &icmp, &quoted, &udp].concat()
    }

    #[test]
    fn a_message_says_whose_datagram_did_not_arrive_where() {
        let expected = Unreachable {
            from: "10.1.0.2:5556".parse().unwrap(),
            to: "10.2.0.11:3478".parse().unwrap(),
        };
        for code in [0, 1, 2, 3, 13] {
            assert_eq!(Unreachable::read(&message(code)), Some(expected));
        }
        assert_eq!(Unreachable::read(&message(4)), None, "it was too large");
        let mut echo = message(3);
        echo[20] = 8;
        assert_eq!(Unreachable::read(&echo), None);
        let mut tcp = message(3);
        tcp[37] = 6;
        assert_eq!(Unreachable::read(&tcp), None);
        let mut to_us = message(3);
        to_us[19] = 1;
        assert_eq!(Unreachable::read(&to_us), None, "nobody says so to us");
        let mut later_piece = message(3);
        later_piece[35] = 1;
        assert_eq!(Unreachable::read(&later_piece), None);
    }

    #[test]
    fn so_does_one_of_ipv6() {
        let (from, to): (Ipv6Addr, Ipv6Addr) = (
            "2001:db8::2".parse().unwrap(),
            "2001:db8:2::11".parse().unwrap(),
        );
        let mut message = vec![KIND_V6, 4, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 9, UDP, 64];
        message.extend(from.octets());
        message.extend(to.octets());
        message.extend([0x15, 0xb4, 0x0d, 0x96, 0, 9, 0, 0, 0x78]);
        let expected = Unreachable {
            from: SocketAddr::new(from.into(), 5556),
            to: SocketAddr::new(to.into(), 3478),
        };
        assert_eq!(Unreachable::read_v6(&message), Some(expected));
        let fragment = [UDP, 0, 0, 1, 0, 0, 0, 7];
        let mut in_pieces = [&message[..48], &fragment, &message[48..]].concat();
        in_pieces[14] = FRAGMENT;
        assert_eq!(Unreachable::read_v6(&in_pieces), Some(expected));
        in_pieces[50] = 1;
        assert_eq!(Unreachable::read_v6(&in_pieces), None, "a later piece");
        message[0] = 2;
        assert_eq!(Unreachable::read_v6(&message), None, "it was too large");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..120), cut in 0_usize..60) {
            let _ = Unreachable::read(&bytes);
            let _ = Unreachable::read_v6(&bytes);
            let mut cut_short = message(3);
            cut_short.truncate(cut);
            let _ = Unreachable::read(&cut_short);
        }
    }
}
