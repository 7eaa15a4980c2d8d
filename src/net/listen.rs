//! Groups of listening sockets that share one address, one for each worker.
//!
//! Invariant: the first socket of a group is bound without `SO_REUSEPORT`, so a second instance
//! cannot share the port in silence; only then is it set, and the siblings bind.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::options::ListenOptions;

/// Listening sockets of one address.
#[derive(Debug)]
pub struct Group {
    /// The address in use; a port 0 that was asked for is resolved.
    pub address: SocketAddr,
    /// One socket for each worker, not blocking.
    pub sockets: Vec<TcpListener>,
}

/// Binds `count` listening sockets to `address`. Nothing is accepted before the sockets are served,
/// but the kernel completes handshakes from here on.
///
/// # Errors
///
/// The address is in use, not allowed, or not on this machine (without `freebind`); no descriptors.
pub fn bind(address: SocketAddr, count: usize, options: &ListenOptions) -> io::Result<Group> {
    let first = socket(address, options)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("a bound socket without an IP address"))?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let sibling = socket(bound, options)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&bound.into())?;
        sockets.push(sibling);
    }
    // Only now, so that the group is complete when the kernel starts to spread connections over it.
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(Group {
        address: bound,
        sockets: sockets.into_iter().map(Into::into).collect(),
    })
}

fn socket(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // Without it, a restart would wait for the old sessions' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(options.freebind)?;
    } else {
        socket.set_freebind_v4(options.freebind)?;
    }
    options.apply(&socket)?;
    Ok(socket)
}

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

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn a_group_shares_one_port() {
        let group = bind(loopback(), 3, &options()).unwrap();
        assert_eq!(group.sockets.len(), 3);
        for socket in &group.sockets {
            assert_eq!(socket.local_addr().unwrap(), group.address);
        }
    }

    #[test]
    fn a_second_instance_cannot_share_the_port_in_silence() {
        let group = bind(loopback(), 2, &options()).unwrap();
        let refusal = bind(group.address, 2, &options()).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_is_absent_binds_only_with_freebind() {
        let absent: SocketAddr = "203.0.113.10:0".parse().unwrap();
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
        let group = bind("[::]:0".parse().unwrap(), 1, &options()).unwrap();
        let same_port = SocketAddr::new("127.0.0.1".parse().unwrap(), group.address.port());
        assert!(bind(same_port, 1, &options()).is_ok());
    }
}
