//! A configuration held against the machine that is to run it.
//!
//! Pure: the facts are arguments, gathered by the command line. Nothing here is an error, since a
//! standby may be checked long before its addresses arrive.

use std::net::IpAddr;

use crate::config::diagnostics::{Diagnostic, Diagnostics};
use crate::config::load::Loaded;

/// Facts of a machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Most descriptors that the process may open (the hard limit).
    pub descriptors: u64,
}

/// Descriptors for listeners, probes, pipes, the admin API and the disk.
const RESERVED: u64 = 1000;

/// How many sessions so many descriptors carry: two each, after a reserve for everything else.
#[must_use]
pub fn sessions_carried(descriptors: u64) -> u64 {
    // Where there are few, the reserve must not take them all.
    let reserve = RESERVED.min(descriptors / 8 * 3);
    (descriptors - reserve) / 2
}

/// What will not work on this machine as the file says.
#[must_use]
pub fn machine_warnings(loaded: &Loaded, machine: &Machine) -> Diagnostics {
    let mut list = Vec::new();
    absent_addresses(loaded, machine, &mut list);
    descriptors(loaded, machine, &mut list);
    Diagnostics::new(loaded.source.clone(), list)
}

fn absent_addresses(loaded: &Loaded, machine: &Machine, list: &mut Vec<Diagnostic>) {
    for listener in &loaded.config.listeners {
        let spans = loaded
            .binds
            .get(&listener.name)
            .map_or(&[][..], Vec::as_slice);
        for (bind, span) in listener.bind.iter().zip(spans) {
            let ip = bind.ip();
            if ip.is_unspecified() || ip.is_loopback() || machine.addresses.contains(&ip) {
                continue;
            }
            let title = format!("{ip} is on no interface of this machine");
            let warning = Diagnostic::warning(span, title);
            list.push(if loaded.config.server.freebind {
                warning.why("fine on a standby or before cut-over (freebind); nobody is served until the address is here")
            } else {
                warning
                    .why("freebind = false: `serve` refuses to start without it")
                    .help("remove `freebind = false`, or give the address to an interface")
            });
        }
    }
}

fn descriptors(loaded: &Loaded, machine: &Machine, list: &mut Vec<Diagnostic>) {
    let listeners = loaded.config.listeners.iter();
    let listeners = listeners.filter(|each| each.needs_descriptors());
    let sessions: u64 = listeners.map(|each| u64::from(each.max_sessions)).sum();
    let needed = sessions * 2 + RESERVED;
    if sessions > sessions_carried(machine.descriptors) {
        let title =
            format!("max_sessions of all listeners is {sessions}, more than the descriptors allow");
        let why = format!(
            "2 x {sessions} + {RESERVED} = {needed} descriptors, and the hard limit is {}; the limits are lowered at start",
            machine.descriptors
        );
        let warning = Diagnostic {
            span: None,
            ..Diagnostic::warning(&(0..0), title)
        };
        let help = format!("raise LimitNOFILE to {needed}, or lower max_sessions");
        list.push(warning.why(why).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Style, parse};

    const SHIPPED: &str = include_str!("../../packaging/pinfold.toml");

    fn lines(text: &str, addresses: &[&str], descriptors: u64) -> Vec<String> {
        let Ok(loaded) = parse("a.toml", text) else {
            panic!("the text does not load");
        };
        let machine = Machine {
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
            descriptors,
        };
        let warnings = machine_warnings(&loaded, &machine);
        assert!(!warnings.render(Style::Plain).is_empty());
        warnings.lines()
    }

    #[test]
    fn an_address_that_is_on_no_interface_is_named_with_its_place() {
        let found = lines(SHIPPED, &["203.0.113.10", "192.0.2.10"], 2_000_000);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(": 203.0.113.20 is on no interface of this machine"));
    }

    #[test]
    fn limits_that_the_descriptors_cannot_carry_are_counted() {
        let all = ["203.0.113.10", "203.0.113.20", "192.0.2.10"];
        assert_eq!(lines(SHIPPED, &all, 501_000), Vec::<String>::new());
        assert_eq!(
            lines(SHIPPED, &all, 500_999),
            [
                "a.toml: max_sessions of all listeners is 250000, more than the descriptors allow; \
              help: raise LimitNOFILE to 501000, or lower max_sessions"
            ]
        );
    }
}
