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

/// Descriptors for listeners, probes, the admin API and the disk.
const RESERVED: u64 = 1000;

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
    let sessions: u64 = listeners.map(|each| u64::from(each.max_sessions)).sum();
    let needed = sessions * 2 + RESERVED;
    if needed > machine.descriptors {
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
