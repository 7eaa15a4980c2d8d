//! Limits of the process and the system.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one and returns what is in force.
///
/// Never fails: where the system refuses, the limit stays as it was.
#[must_use]
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

/// The first of the ports that the kernel gives to sockets that connect: `ip(7)`,
/// `ip_local_port_range`. Read once; 0, below all others, where the system does not tell.
#[must_use]
pub fn first_local_port() -> u16 {
    static FIRST: OnceLock<u16> = OnceLock::new();
    *FIRST.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let range = range.unwrap_or_default();
        let first = range.split_ascii_whitespace().next();
        first.and_then(|port| port.parse().ok()).unwrap_or_default()
    })
}

/// The most that a socket may have for what it receives and for what it sends, in bytes: `net.core.rmem_max` and
/// `net.core.wmem_max`, `socket(7)`. `None`: the system does not tell.
#[must_use]
pub fn socket_buffers_max() -> Option<(usize, usize)> {
    let limit = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}"));
        text.ok()?.trim().parse().ok()
    };
    Some((limit("rmem_max")?, limit("wmem_max")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_connects_gets_no_port_below_the_first() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(stream.local_addr().unwrap().port() >= first_local_port());
        assert!(first_local_port() > 0);
    }

    #[test]
    fn raising_twice_changes_nothing_more() {
        let first = raise_descriptors();
        assert!(first > 0);
        assert_eq!(raise_descriptors(), first);
    }
}
