//! Socket options that socket2 lacks.
#![expect(unsafe_code, reason = "setsockopt(2) for options no safe crate offers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Wakes an accept only once the client has sent a byte, or after about `patience`.
///
/// `tcp(7)`, `TCP_DEFER_ACCEPT`: the kernel keeps the connection until data arrives; after the
/// timeout it is accepted without. Zero switches it off.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not a TCP socket.
pub fn set_defer_accept(socket: &impl AsFd, patience: Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(patience.as_secs()).unwrap_or(libc::c_int::MAX);
    set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds)
}

/// Leaves the choice of the source port to `connect(2)`, which may then share it between
/// destinations: `ip(7)`, `IP_BIND_ADDRESS_NO_PORT`.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not an IP socket.
pub fn set_bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &ON)
}

/// Lets the first bytes that are sent acknowledge the handshake, instead of a packet of its own:
/// `tcp(7)`, `TCP_QUICKACK`. Before a connect it says no more than that; once the connection stands,
/// what arrives is acknowledged as quickly as ever.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not a TCP socket.
pub fn set_no_quick_ack(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &OFF)
}

/// Tells all that ICMP says of a connected UDP socket, also what may pass: `ip(7)` and `ipv6(7)`,
/// `IP_RECVERR`. Without it only an unreachable port is told, and no unreachable host.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not an IP socket of that version.
pub fn set_all_errors(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &ON)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &ON)
    }
}

/// Tells, beside each datagram that was diverted here, for whom it was: `ip(7)`, `IP_RECVORIGDSTADDR`.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not an IP socket of that version.
pub fn set_original_destination(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, &ON)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, &ON)
    }
}

/// Lets routers divide what is sent, instead of learning from them how large it may be: `ip(7)`, `IP_MTU_DISCOVER`.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not an IPv4 socket.
pub fn set_divisible(socket: &impl AsFd) -> io::Result<()> {
    let never = libc::IP_PMTUDISC_DONT;
    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &never)
}

/// Lets a raw ICMP socket receive nothing but messages of `kind`: `raw(7)`, `ICMP_FILTER`; RFC 3542, section 3.2,
/// `ICMP6_FILTER`.
///
/// # Errors
///
/// What `setsockopt(2)` refuses: the descriptor is not a raw ICMP socket of that version.
pub fn set_only_icmp(socket: &impl AsFd, is_ipv6: bool, kind: u8) -> io::Result<()> {
    // In both filters a bit that is set keeps a kind away.
    let kind = usize::from(kind);
    let mut blocked = [u32::MAX; 8];
    if let Some(word) = blocked.get_mut(kind / 32) {
        *word &= !(1 << (kind % 32));
    }
    let [first, ..] = blocked;
    if is_ipv6 {
        set(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked)
    } else {
        set(socket, libc::SOL_RAW, ICMP_FILTER, &first)
    }
}

/// `linux/icmp.h` and `linux/icmpv6.h`; not in libc.
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;

/// Switches an option on, or off.
const ON: libc::c_int = 1;
const OFF: libc::c_int = 0;

/// Gives `socket` the option `name` of `level`, with the bytes of `value` as they lie in memory.
pub(super) fn set<V: ?Sized>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &V,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the pointer names the `length` readable bytes of
    // a value that is borrowed for it too.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_tcp_listener_takes_the_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_defer_accept(&listener, Duration::from_secs(3)).unwrap();
        set_defer_accept(&listener, Duration::ZERO).unwrap();
        set_bind_address_no_port(&listener).unwrap();
        set_no_quick_ack(&listener).unwrap();
    }

    #[test]
    fn a_udp_socket_of_either_version_tells_all_errors() {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_all_errors(&v4, false).unwrap();
        assert!(set_all_errors(&v4, true).is_err());
        if let Ok(v6) = UdpSocket::bind("[::1]:0") {
            set_all_errors(&v6, true).unwrap();
        }
    }

    #[test]
    fn a_socket_that_is_not_tcp_refuses_deferred_accepts() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(set_defer_accept(&socket, Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_udp_socket_of_either_version_tells_for_whom_a_datagram_was() {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_original_destination(&v4, false).unwrap();
        assert!(set_original_destination(&v4, true).is_err());
        assert!(set_only_icmp(&v4, false, 3).is_err());
        if let Ok(v6) = UdpSocket::bind("[::1]:0") {
            set_original_destination(&v6, true).unwrap();
        }
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let refusal = set_bind_address_no_port(&file).unwrap_err();
        assert_eq!(refusal.raw_os_error(), Some(libc::ENOTSOCK));
    }
}
