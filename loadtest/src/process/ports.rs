//! Ports for programs that cannot be asked which one they got.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below what the kernel hands out by itself, so that no client of ours takes one in between.
const RANGE: std::ops::Range<u16> = 15_000..31_000;

const ATTEMPTS_MAX: u32 = 10_000;

/// `count` different ports that nobody uses, over TCP and UDP.
///
/// # Errors
/// All are taken.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        if ports.len() == count {
            return Ok(ports);
        }
        let port = fastrand::u16(RANGE);
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(any), UdpSocket::bind(any)) {
            held.push((tcp, udp));
            ports.push(port);
        }
    }
    Err(io::Error::other("no free ports from 15000 to 31000"))
}

/// Whether every one of `ports` is listened on over TCP, or open over UDP, by what the kernel lists.
#[must_use]
pub fn all_listening(ports: &[u16]) -> bool {
    const LISTEN: &str = "0A";
    const UDP_OPEN: &str = "07";
    let open = |file: &str, state: &str| -> Vec<u16> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let entries = text.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, _, found) = (fields.next()?, fields.next()?, fields.next()?);
            let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
            (found == state).then_some(port)
        });
        entries.collect()
    };
    let mut listening = open("/proc/net/tcp", LISTEN);
    listening.extend(open("/proc/net/tcp6", LISTEN));
    listening.extend(open("/proc/net/udp", UDP_OPEN));
    ports.iter().all(|port| listening.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_are_not_listened_on_until_somebody_does() {
        let ports = free_ports(5).unwrap();
        let distinct: std::collections::HashSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 5);
        let port = ports[0];
        assert!(!all_listening(&[port]));
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(all_listening(&[port]));
        assert!(!all_listening(&ports));
    }
}
