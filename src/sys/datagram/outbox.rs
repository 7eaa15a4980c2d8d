//! Datagrams that are sent together from where they lie, perhaps in the name of others.
#![expect(
    unsafe_code,
    reason = "sendmmsg(2) with control messages is in no safe crate"
)]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::name::write_address;
use super::{BATCH, NOWHERE, empty_headers, send_all};

/// Datagrams that wait to be sent by one system call. Copies none of them.
#[derive(Debug)]
pub struct Outbox<'a> {
    waiting: [Outgoing<'a>; BATCH],
    length: usize,
}

#[derive(Clone, Copy, Debug)]
struct Outgoing<'a> {
    from: SocketAddr,
    to: SocketAddr,
    bytes: &'a [u8],
}

impl Default for Outbox<'_> {
    fn default() -> Self {
        let nothing = Outgoing {
            from: NOWHERE,
            to: NOWHERE,
            bytes: &[],
        };
        Self {
            waiting: [nothing; BATCH],
            length: 0,
        }
    }
}

impl<'a> Outbox<'a> {
    /// Puts a datagram for `to` in it; whether there was room. In whose name it goes counts only where it is
    /// [sent so](Self::send_as_senders).
    pub fn add(&mut self, from: SocketAddr, to: SocketAddr, bytes: &'a [u8]) -> bool {
        let Some(place) = self.waiting.get_mut(self.length) else {
            return false;
        };
        *place = Outgoing { from, to, bytes };
        self.length += 1;
        true
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Sends everything over a UDP socket, from its own address, and forgets it. What the kernel will not take is lost,
    /// as datagrams are, and holds up no other.
    pub fn send(&mut self, socket: &impl AsFd) {
        self.send_with(socket, |_| None, |_, _| ());
    }

    /// Sends everything over a raw UDP socket that may do so (`raw(7)`, and `ip(7)`: `IP_TRANSPARENT`, `IP_PKTINFO`),
    /// each datagram from its sender's address and port, and forgets it. What the kernel will not take is told: from
    /// whom it came, and why.
    pub fn send_as_senders(
        &mut self,
        socket: &impl AsFd,
        refused: impl FnMut(SocketAddr, io::Error),
    ) {
        let head = |outgoing: &Outgoing<'_>| Some(udp_header(outgoing));
        self.send_with(socket, head, refused);
    }

    fn send_with(
        &mut self,
        socket: &impl AsFd,
        head: impl Fn(&Outgoing<'_>) -> Option<[u8; UDP_HEADER]>,
        mut refused: impl FnMut(SocketAddr, io::Error),
    ) {
        let mut frames = [const { Frame::EMPTY }; BATCH];
        let mut headers = empty_headers();
        let waiting = self.waiting.get(..self.length).unwrap_or_default();
        for ((outgoing, frame), header) in waiting.iter().zip(&mut frames).zip(&mut headers) {
            frame.describe(outgoing, head(outgoing), &mut header.msg_hdr);
        }
        let ready = headers.get_mut(..waiting.len()).unwrap_or_default();
        let from = |place: usize| waiting.get(place).map_or(NOWHERE, |outgoing| outgoing.from);
        // SAFETY: every header names one or two pieces that follow each other in one array, one name of `msg_namelen`
        // and perhaps one control message of `msg_controllen`. All of them were written above, and outlive the call.
        unsafe { send_all(socket, ready, |place, error| refused(from(place), error)) };
        self.length = 0;
    }
}

/// What a datagram's header points to, beside the datagram.
struct Frame {
    head: [u8; UDP_HEADER],
    name: MaybeUninit<libc::sockaddr_storage>,
    source: Source,
    pieces: [libc::iovec; 2],
}

impl Frame {
    const EMPTY: Self = Self {
        head: [0; UDP_HEADER],
        name: MaybeUninit::uninit(),
        source: Source::EMPTY,
        pieces: [EMPTY_PIECE; 2],
    };

    /// Has `message` name what is sent of `outgoing`: after `head`, and in the name of its sender, where there is one.
    fn describe(
        &mut self,
        outgoing: &Outgoing<'_>,
        head: Option<[u8; UDP_HEADER]>,
        message: &mut libc::msghdr,
    ) {
        let mut to = outgoing.to;
        let body = piece(outgoing.bytes);
        message.msg_iovlen = 1;
        self.pieces = [body; 2];
        if let Some(head) = head {
            self.head = head;
            self.pieces = [piece(&self.head), body];
            message.msg_iovlen = 2;
            // To a raw socket, a port is a protocol.
            to.set_port(0);
            self.source.write(outgoing.from.ip(), message);
        }
        message.msg_iov = self.pieces.as_mut_ptr();
        message.msg_namelen = write_address(to, &mut self.name);
        message.msg_name = self.name.as_mut_ptr().cast();
    }
}

/// Tells the kernel from which address a datagram goes: `cmsg(3)`, `ip(7)`, `ipv6(7)`.
#[repr(C)]
struct Source {
    header: libc::cmsghdr,
    info: Info,
}

#[repr(C)]
union Info {
    v4: libc::in_pktinfo,
    v6: libc::in6_pktinfo,
}

impl Source {
    const EMPTY: Self = Self {
        header: libc::cmsghdr {
            cmsg_len: 0,
            cmsg_level: 0,
            cmsg_type: 0,
        },
        info: Info {
            v6: libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
                ipi6_ifindex: 0,
            },
        },
    };

    fn write(&mut self, ip: IpAddr, message: &mut libc::msghdr) {
        let (level, kind, length, info) = match ip {
            IpAddr::V4(ip) => {
                let v4 = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(ip).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let length = size_of::<libc::in_pktinfo>();
                (libc::IPPROTO_IP, libc::IP_PKTINFO, length, Info { v4 })
            }
            IpAddr::V6(ip) => {
                let v6 = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                let length = size_of::<libc::in6_pktinfo>();
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, length, Info { v6 })
            }
        };
        self.header.cmsg_level = level;
        self.header.cmsg_type = kind;
        self.header.cmsg_len = (size_of::<libc::cmsghdr>() + length) as _;
        self.info = info;
        message.msg_control = std::ptr::from_mut(self).cast();
        message.msg_controllen = size_of::<Self>() as _;
    }
}

/// Bytes of a header: RFC 768.
const UDP_HEADER: usize = 8;

const EMPTY_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// Sending reads what it is given, though the kernel's type would let it write.
const fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The header of a datagram, with its checksum: RFC 768; for IPv6, RFC 8200, section 8.1.
fn udp_header(outgoing: &Outgoing<'_>) -> [u8; UDP_HEADER] {
    const UDP: u16 = 17;
    let Outgoing { from, to, bytes } = outgoing;
    // A longer one is not sent: the kernel refuses it.
    let length = u16::try_from(UDP_HEADER + bytes.len()).unwrap_or(u16::MAX);
    let mut sum = Sum::default();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => sum.add(&ip.octets()),
            IpAddr::V6(ip) => sum.add(&ip.octets()),
        }
    }
    for word in [UDP, length, from.port(), to.port(), length] {
        sum.add(&word.to_be_bytes());
    }
    sum.add(bytes);
    let [a, b] = from.port().to_be_bytes();
    let [c, d] = to.port().to_be_bytes();
    let [e, f] = length.to_be_bytes();
    let [g, h] = sum.finish().to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The checksum of the Internet: RFC 1071.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    /// Adds bytes that begin at an even place.
    fn add(&mut self, bytes: &[u8]) {
        // Four at a time: carries are folded in at the end.
        let (words, rest) = bytes.as_chunks::<4>();
        let words = words
            .iter()
            .map(|word| u64::from(u32::from_be_bytes(*word)));
        self.0 += words.sum::<u64>();
        let (pairs, odd) = rest.as_chunks::<2>();
        let pairs = pairs
            .iter()
            .map(|pair| u64::from(u16::from_be_bytes(*pair)));
        self.0 += pairs.sum::<u64>();
        self.0 += odd.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
    }

    /// Zero would say that there is none.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is folded into sixteen bits"
    )]
    fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        match !(sum as u16) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use proptest::prelude::*;

    use super::*;
    use crate::sys::datagram::Batch;

    #[test]
    fn what_waits_is_sent_together_and_a_datagram_that_cannot_be_sent_holds_up_no_other() {
        let (one, other) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let to = other.local_addr().unwrap();
        let mut outbox = Outbox::default();
        assert!(outbox.is_empty());
        for (address, bytes) in [
            (to, "first"),
            ("[::1]:9".parse().unwrap(), "lost"),
            (to, "third"),
        ] {
            assert!(outbox.add(NOWHERE, address, bytes.as_bytes()));
        }
        outbox.send(&one);
        assert!(outbox.is_empty());
        let mut batch = Batch::default();
        batch.receive(&other).unwrap();
        let from = one.local_addr().unwrap();
        let received: Vec<_> = batch.iter().collect();
        assert_eq!(received, [(&b"first"[..], from), (&b"third"[..], from)]);
    }

    #[test]
    fn it_is_full_where_a_batch_is() {
        let mut outbox = Outbox::default();
        let added = (0..100)
            .filter(|_| outbox.add(NOWHERE, NOWHERE, b"x"))
            .count();
        assert_eq!(added, BATCH);
    }

    #[test]
    fn the_checksum_is_that_of_the_example_in_rfc_1071() {
        let mut sum = Sum::default();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn a_sum_of_nothing_is_not_written_as_no_sum() {
        let mut sum = Sum::default();
        sum.add(&[0xff, 0xff]);
        assert_eq!(sum.finish(), 0xffff);
    }

    proptest! {
        /// Whoever receives a datagram adds it all up, its checksum too, and must get ones.
        #[test]
        fn a_header_makes_the_sum_of_its_datagram_come_out(
            from: [u8; 4], to: [u8; 4], ports: (u16, u16), bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let outgoing = Outgoing {
                from: (from, ports.0).into(),
                to: (to, ports.1).into(),
                bytes: &bytes,
            };
            let header = udp_header(&outgoing);
            let mut all = [&from[..], &to[..], &[0, 17], &header[4..6], &header[..], &bytes[..]].concat();
            if all.len() % 2 == 1 {
                all.push(0);
            }
            let sum: u64 = all.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1])).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            prop_assert_eq!(folded, 0xffff);
        }
    }
}
