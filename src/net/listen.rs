//! Groups of sockets that clients come to, which share one address, one for each worker.
//!
//! Invariant: the first socket of a group is bound without `SO_REUSEPORT`, so a second instance
//! cannot share the port in silence; only then is it set, and the siblings bind.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::options::ListenOptions;

/// What clients come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where clients come to. TCP and UDP have ports of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    /// By what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// Sockets of one address.
#[derive(Debug)]
pub struct Group {
    /// The address in use; a port 0 that was asked for is resolved.
    pub local: Local,
    /// One socket for each worker, not blocking.
    pub sockets: Vec<Listening>,
}

/// A socket that clients come to.
#[derive(Debug)]
pub enum Listening {
    /// Which accepts connections.
    Stream(TcpListener),
    /// Which receives datagrams.
    Datagram(UdpSocket),
}

/// Binds `count` sockets to an address. Nothing is accepted before the sockets are served, but the kernel completes
/// handshakes, and keeps datagrams, from here on.
///
/// # Errors
///
/// The address is in use, not allowed, or not on this machine (without `freebind`); no descriptors.
pub fn bind(local: Local, count: usize, options: &ListenOptions) -> io::Result<Group> {
    let Local { transport, address } = local;
    let first = socket(local, options)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("a bound socket without an IP address"))?;
    let local = Local {
        transport,
        address: bound,
    };
    let mut sockets = vec![first];
    for _ in 1..count {
        let sibling = socket(local, options)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&bound.into())?;
        sockets.push(sibling);
    }
    if transport == Transport::Tcp {
        // Only now, so that the group is complete when the kernel starts to spread connections over it.
        for socket in &sockets {
            socket.listen(BACKLOG)?;
        }
    }
    let listening = |socket: Socket| match transport {
        Transport::Tcp => Listening::Stream(socket.into()),
        Transport::Udp => Listening::Datagram(socket.into()),
    };
    Ok(Group {
        local,
        sockets: sockets.into_iter().map(listening).collect(),
    })
}

fn socket(local: Local, options: &ListenOptions) -> io::Result<Socket> {
    let Local { transport, address } = local;
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(options.freebind)?;
    } else {
        socket.set_freebind_v4(options.freebind)?;
    }
    match transport {
        Transport::Tcp => {
            // Without it, a restart would wait for the old sessions' TIME_WAIT.
            socket.set_reuse_address(true)?;
            options.apply(&socket)?;
        }
        // The kernel caps this at `net.core.rmem_max`.
        Transport::Udp => socket.set_recv_buffer_size(DATAGRAM_BUFFER)?,
    }
    Ok(socket)
}

/// What 25,000 packets a second bring while a worker stands still for a tenth of one.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// A failover brings thousands of clients back within a second; the kernel caps this at `somaxconn`.
const BACKLOG: i32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::options::LegOptions;

    fn options() -> ListenOptions {
        ListenOptions {
            leg: LegOptions {
                keepalive: None,
                user_timeout: None,
            },
            defer_accept: false,
            freebind: true,
        }
    }

    fn at(transport: Transport, address: &str) -> Local {
        let address = address.parse().unwrap();
        Local { transport, address }
    }

    const BOTH: [Transport; 2] = [Transport::Tcp, Transport::Udp];

    fn address_of(socket: &Listening) -> SocketAddr {
        let address = match socket {
            Listening::Stream(socket) => socket.local_addr(),
            Listening::Datagram(socket) => socket.local_addr(),
        };
        address.unwrap()
    }

    #[test]
    fn a_group_shares_one_port() {
        for transport in BOTH {
            let group = bind(at(transport, "127.0.0.1:0"), 3, &options()).unwrap();
            assert_eq!(group.sockets.len(), 3);
            for socket in &group.sockets {
                assert_eq!(address_of(socket), group.local.address);
            }
        }
    }

    #[test]
    fn a_second_instance_cannot_share_the_port_in_silence() {
        for transport in BOTH {
            let group = bind(at(transport, "127.0.0.1:0"), 2, &options()).unwrap();
            let refusal = bind(group.local, 2, &options()).unwrap_err();
            assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn an_address_that_is_absent_binds_only_with_freebind() {
        let absent = at(Transport::Tcp, "203.0.113.10:0");
        assert!(bind(absent, 1, &options()).is_ok());
        let refusal = bind(
            absent,
            1,
            &ListenOptions {
                freebind: false,
                ..options()
            },
        )
        .unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn an_ipv6_listener_leaves_ipv4_alone() {
        for transport in BOTH {
            let group = bind(at(transport, "[::]:0"), 1, &options()).unwrap();
            let same_port = format!("127.0.0.1:{}", group.local.address.port());
            assert!(bind(at(transport, &same_port), 1, &options()).is_ok());
        }
    }
}
