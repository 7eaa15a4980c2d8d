//! The sockets of one worker by which it speaks to nodes in its clients' names, and hears what they answer.
//!
//! Owns their making; which datagram belongs to whom is `relay::udp`'s. The host's rules bring the answers here: see
//! [`transparent`](super::transparent). All of them need `CAP_NET_RAW`, which since Linux 5.17 is enough.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::transparent::{DELIVERED_HERE, LET_GO, interception_port, mark};
use super::unreachable::{KIND, KIND_V6, Unreachable};
use crate::sys;
use crate::sys::datagram::Outbox;

/// The sockets for one version of IP.
#[derive(Debug)]
pub struct Diversion {
    /// Sends in the name of clients.
    pub sender: Socket,
    /// Sends what never leaves this machine.
    releaser: Socket,
    /// Receives what nodes answer to clients.
    pub answers: UdpSocket,
    /// Receives what ICMP says of what was sent.
    failures: UdpSocket,
    is_ipv6: bool,
}

impl Diversion {
    /// Opens the sockets of `worker` for one version of IP.
    ///
    /// # Errors
    ///
    /// A capability is missing, another process has the port, no descriptors; or not on a worker's thread.
    pub fn open(worker: u8, is_ipv6: bool) -> io::Result<Self> {
        let (sender, releaser) = (sender(mark(worker), is_ipv6)?, sender(LET_GO, is_ipv6)?);
        let answers = answers(worker, is_ipv6)?;
        let failures = failures(is_ipv6)?;
        Ok(Self {
            sender,
            releaser,
            answers: UdpSocket::from_std(answers)?,
            // The runtime reads a raw socket as it reads any that has datagrams.
            failures: UdpSocket::from_std(failures.into())?,
            is_ipv6,
        })
    }

    /// Has the host's rules let go of clients that go on with their nodes directly, a batch at most: the nodes' answers
    /// go there from here on, also where the clients' datagrams do not pass this machine.
    pub fn release(&self, all: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) {
        let mut all = all.into_iter().peekable();
        if all.peek().is_none() {
            return;
        }
        let mut outbox = Outbox::default();
        for (client, node) in all {
            let _ = outbox.add(client, node, &[]);
        }
        // The rules drop them, and the kernel says so.
        outbox.send_as_senders(&self.releaser, |_, _| ());
    }

    /// Sends `bytes` in the name of a client to what stands for a node on this machine, and back in the node's: where
    /// the host's rules are in force, that comes as an answer.
    ///
    /// # Errors
    ///
    /// No descriptors.
    pub fn test(&self, client: SocketAddr, node: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        // A node's packets bear no mark.
        let of_node = sender(0, self.is_ipv6)?;
        for (socket, from, to) in [(&self.sender, client, node), (&of_node, node, client)] {
            let mut outbox = Outbox::default();
            let _ = outbox.add(from, to, bytes);
            outbox.send_as_senders(socket, |_, _| ());
        }
        Ok(())
    }

    /// Waits for the next datagram that is said not to have arrived.
    ///
    /// # Errors
    ///
    /// The runtime ends.
    pub async fn failure(&self) -> io::Result<Unreachable> {
        let mut packet = [0; PACKET_MAX];
        loop {
            let length = self.failures.recv(&mut packet).await?;
            let packet = packet.get(..length).unwrap_or_default();
            let read = if self.is_ipv6 {
                Unreachable::read_v6(packet)
            } else {
                Unreachable::read(packet)
            };
            if let Some(unreachable) = read {
                return Ok(unreachable);
            }
        }
    }
}

/// Marked, so that the host's rules know what it sends. Bound to an address where nothing comes, or it would be
/// given a copy of every datagram of this machine.
fn sender(mark: u32, is_ipv6: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        domain(is_ipv6),
        Type::RAW.nonblocking(),
        Some(Protocol::UDP),
    )?;
    set_transparent(&socket, is_ipv6)?;
    socket.set_mark(mark)?;
    if !is_ipv6 {
        // What ICMP says of packets that are too large finds no socket of their senders: the kernel learns nothing.
        sys::option::set_divisible(&socket)?;
    }
    let nowhere = either(is_ipv6, NOWHERE, NOWHERE_V6);
    socket.bind(&SocketAddr::new(nowhere, 0).into())?;
    socket.set_send_buffer_size(BUFFER)?;
    Ok(socket)
}

fn answers(worker: u8, is_ipv6: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        domain(is_ipv6),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if is_ipv6 {
        socket.set_only_v6(true)?;
    }
    set_transparent(&socket, is_ipv6)?;
    sys::option::set_original_destination(&socket, is_ipv6)?;
    socket.set_recv_buffer_size(BUFFER)?;
    let port = interception_port(worker);
    socket.bind(&SocketAddr::new(loopback(is_ipv6), port).into())?;
    Ok(socket.into())
}

fn failures(is_ipv6: bool) -> io::Result<Socket> {
    let (protocol, kind) = match is_ipv6 {
        false => (Protocol::ICMPV4, KIND),
        true => (Protocol::ICMPV6, KIND_V6),
    };
    let socket = Socket::new(domain(is_ipv6), Type::RAW.nonblocking(), Some(protocol))?;
    sys::option::set_only_icmp(&socket, is_ipv6, kind)?;
    Ok(socket)
}

/// Whether the host's policy routing delivers here what is marked so. Sends nothing.
///
/// # Errors
///
/// A capability is missing, or no descriptors.
pub fn is_delivered_here(is_ipv6: bool) -> io::Result<bool> {
    let socket = Socket::new(domain(is_ipv6), Type::DGRAM, Some(Protocol::UDP))?;
    set_transparent(&socket, is_ipv6)?;
    socket.set_mark(DELIVERED_HERE)?;
    let anybody = either(is_ipv6, ANYBODY, ANYBODY_V6);
    if is_ipv6 {
        // By the loopback interface, to where nobody is, no other route leads. (For IPv4 the kernel makes one up.)
        socket.bind_device(Some(b"lo"))?;
    }
    if socket.connect(&SocketAddr::new(anybody, 9).into()).is_err() {
        return Ok(false);
    }
    // For IPv4 an address to which such a route leads is taken for one of our own.
    let own = socket.local_addr()?.as_socket();
    Ok(is_ipv6 || own.is_some_and(|own| own.ip() == anybody))
}

/// Lets a socket have an address that is not this machine's: `ip(7)`, `IP_TRANSPARENT`.
///
/// # Errors
///
/// `CAP_NET_RAW` is missing.
pub fn set_transparent(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        socket.set_ip_transparent_v6(true)
    } else {
        socket.set_ip_transparent_v4(true)
    }
}

/// The loopback address of a version of IP.
#[must_use]
pub const fn loopback(is_ipv6: bool) -> IpAddr {
    either(is_ipv6, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
}

/// The one of two addresses that is of a version of IP.
const fn either(is_ipv6: bool, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
    if is_ipv6 {
        IpAddr::V6(v6)
    } else {
        IpAddr::V4(v4)
    }
}

const fn domain(is_ipv6: bool) -> Domain {
    if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 }
}

/// An address of the loopback network that stands for nobody: "PF".
const NOWHERE: Ipv4Addr = Ipv4Addr::new(127, 80, 70, 0);
/// RFC 6666: what comes from there goes nowhere.
const NOWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0x5046, 0);
/// RFC 1112, section 4: reserved, so that not even a laboratory has it. RFC 6666: the same for IPv6.
const ANYBODY: Ipv4Addr = Ipv4Addr::new(240, 80, 70, 1);
const ANYBODY_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0x5046, 1);

/// What 25,000 packets a second bring while a worker stands still for a tenth of one, in bytes. The system's limits must
/// allow it: [`sys::limits::socket_buffers_max`].
pub const BUFFER: usize = 4 << 20;
/// More than a message needs to say whose datagram it quotes.
const PACKET_MAX: usize = 576;
