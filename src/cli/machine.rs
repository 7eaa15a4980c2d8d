//! Facts of this machine, for `check`: its addresses and how many descriptors a process may open.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Machine;
use crate::sys::limits::raise_descriptors;

/// The machine this runs on. What cannot be read is unknown, and an unknown address is warned of.
pub(super) fn here() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut addresses = v4_addresses(&read("/proc/net/fib_trie"));
    addresses.extend(v6_addresses(&read("/proc/net/if_inet6")));
    Machine {
        addresses,
        descriptors: raise_descriptors(),
    }
}

/// Local addresses of the routing table: an address, and below it `/32 host LOCAL`.
fn v4_addresses(fib_trie: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if let Some(address) = leaf.filter(|_| line == "/32 host LOCAL") {
            addresses.push(IpAddr::V4(address));
            leaf = None;
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Addresses of interfaces: 32 hexadecimal digits begin each line.
fn v6_addresses(if_inet6: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let digits = line
            .split_whitespace()
            .next()
            .filter(|word| word.len() == 32)?;
        let number = u128::from_str_radix(digits, 16).ok()?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(number)))
    };
    if_inet6.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.7\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     \
                    |-- 192.0.2.7\n        /32 host LOCAL\n";
        let expected: Vec<IpAddr> = ["127.0.0.1", "192.0.2.7"]
            .map(|ip| ip.parse().unwrap())
            .into();
        assert_eq!(v4_addresses(trie), expected);
        let inet6 = "20010db8000000000000000000000001 02 40 00 80 eth0\nbad\n";
        assert_eq!(
            v6_addresses(inet6),
            ["2001:db8::1".parse::<IpAddr>().unwrap()]
        );
        assert!(v4_addresses("|-- x\n/32 host LOCAL\n|--").is_empty());
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(here().addresses.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
