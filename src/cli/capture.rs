//! `pinfold capture`: the `tcpdump` line that catches both legs of somebody's sessions.
//!
//! Prints it and runs nothing. The client's leg is narrow; on the node's leg everybody's sessions have this
//! machine's address, so that all of the node's port is caught.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::failure::Failure;
use super::table::{Layout, count};
use super::{Daemon, client, output};
use crate::control::admin::answers::{Explanation, Place};

/// Prints the line for `subject`.
pub(super) fn capture(subject: &str, minutes: u32, daemon: &Daemon) -> Result<(), Failure> {
    let path = format!("/v1/explain/{}", client::escape(subject));
    let json = client::get(daemon, &path)?;
    let explanation: Explanation = client::read(daemon, &json)?;
    let layout = Layout {
        width: output::width(),
        now: jiff::Timestamp::now(),
    };
    output::print(&render(&explanation, minutes, &layout))
}

/// Comments and a command: all of it may be pasted into a shell.
fn render(explanation: &Explanation, minutes: u32, layout: &Layout) -> String {
    let filter = Filter::of(explanation);
    let (subject, file) = (&explanation.subject, file_name(&explanation.subject));
    let mut text = String::new();
    let mut say = |what: String| text += &layout.wrapped("# ", &what);
    let minutes_text = count(u64::from(minutes), "minute");
    say(format!(
        "Catches {subject} on both legs for {minutes_text} into {file}; Ctrl-C ends it earlier. As root, here."
    ));
    say(format!("Client: {}", filter.client_words));
    say(format!("Nodes: {}", filter.node_words));
    if filter.expression.is_empty() {
        say("Nothing is listened on at this moment: there is nothing to catch.".into());
        return text;
    }
    let seconds = minutes.saturating_mul(60);
    let expression = &filter.expression;
    let _ = writeln!(
        text,
        "timeout {seconds} tcpdump -i any -nn -s 0 -Z root -w {file} '{expression}'"
    );
    text
}

/// What is caught, for `tcpdump` (`pcap-filter(7)`) and in words.
#[derive(Debug, Default)]
struct Filter {
    expression: String,
    client_words: String,
    node_words: String,
}

impl Filter {
    fn of(explanation: &Explanation) -> Self {
        let places = &explanation.places;
        let bound: BTreeSet<SocketAddr> = places
            .iter()
            .flat_map(|place| &place.bound)
            .filter_map(|address| address.parse().ok())
            .collect();
        let nodes: BTreeSet<(&str, SocketAddr)> = places.iter().flat_map(nodes).collect();
        let sources: BTreeSet<String> = explanation
            .comes_from
            .iter()
            .filter_map(|network| source(network))
            .collect();
        let is_narrow = (1..=ADDRESSES_MAX).contains(&sources.len());
        let mut client = any(bound.iter().copied());
        if is_narrow && !client.is_empty() {
            let sources: Vec<_> = sources.iter().map(String::as_str).collect();
            client = format!("{client} and ({})", sources.join(" or "));
        }
        let node = any(nodes.iter().map(|(_, address)| *address));
        let legs: Vec<_> = [client, node]
            .into_iter()
            .filter(|leg| !leg.is_empty())
            .collect();
        let legs = legs.iter().map(|leg| format!("({leg})"));
        Self {
            expression: legs.collect::<Vec<_>>().join(" or "),
            client_words: client_words(&explanation.comes_from, is_narrow, bound.len()),
            node_words: node_words(&nodes),
        }
    }
}

fn client_words(sources: &[String], is_narrow: bool, bound: usize) -> String {
    let listened = match bound {
        1 => "one address that is listened on".to_owned(),
        many => format!("{many} addresses that are listened on"),
    };
    match (sources.len(), is_narrow) {
        (0, _) => format!("nobody knows where it comes from, so everybody who comes to {listened}"),
        (many, false) => format!(
            "it comes from {many} addresses and networks, too many for a filter, so everybody who comes \
             to {listened}"
        ),
        (1..=NAMED_MAX, true) => format!("{}, to {listened}", sources.join(", ")),
        (some, true) => {
            format!("{some} addresses and networks (configured, by DNS, learned), to {listened}")
        }
    }
}

fn node_words(nodes: &BTreeSet<(&str, SocketAddr)>) -> String {
    let names: BTreeSet<&str> = nodes.iter().map(|(name, _)| *name).collect();
    let names: Vec<_> = names.into_iter().collect();
    if names.is_empty() {
        "none, since it has no sessions, no pin, and nowhere to go".into()
    } else {
        let names = names.join(", ");
        format!("{names}; all that this machine exchanges with them there, of other clients, too")
    }
}

/// Where its sessions go: to nodes that it is pinned to or has sessions on, else to the next one.
fn nodes(place: &Place) -> BTreeSet<(&str, SocketAddr)> {
    let mut names: BTreeSet<&str> = place.sessions.iter().map(|each| &*each.node).collect();
    names.extend(place.pin.as_ref().map(|pin| &*pin.node));
    names.extend(place.node.as_deref());
    let named = place
        .candidates
        .iter()
        .filter(|each| names.contains(&*each.node));
    let addresses = named.flat_map(|each| {
        let addresses = each.addresses.iter();
        addresses.filter_map(|address| Some((&*each.node, address.parse().ok()?)))
    });
    addresses.collect()
}

/// One of these addresses and ports; where there are too many, one of their ports.
fn any(addresses: impl Iterator<Item = SocketAddr>) -> String {
    let addresses: BTreeSet<_> = addresses.collect();
    let is_narrow = addresses.len() <= ADDRESSES_MAX;
    let terms: BTreeSet<String> = addresses
        .iter()
        .map(|address| match (address.ip(), address.port()) {
            (ip, port) if is_narrow && !ip.is_unspecified() => {
                format!("host {ip} and tcp port {port}")
            }
            (_, port) => format!("tcp port {port}"),
        })
        .collect();
    let terms: Vec<_> = terms.into_iter().collect();
    match terms.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("(({}))", many.join(") or (")),
    }
}

/// `host` or `net`; everybody is no narrowing, and whatever is no address is nobody's.
fn source(network: &str) -> Option<String> {
    let (address, length) = match network.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (network, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    match length {
        Some(length) if length < whole => Some(format!("net {address}/{length}")),
        _ => Some(format!("host {address}")),
    }
}

/// A file that a shell needs no quotes for, and that is no option.
fn file_name(subject: &str) -> String {
    let legal = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
        _ => '_',
    };
    let name: String = subject.chars().take(NAME_MAX).map(legal).collect();
    let name = name.trim_start_matches(['-', '.']);
    format!("{}.pcap", if name.is_empty() { "capture" } else { name })
}

/// A filter with more becomes a program that the kernel refuses (`BPF_MAXINSNS` is 4096), and a line that
/// nobody checks.
const ADDRESSES_MAX: usize = 100;
const NAME_MAX: usize = 60;
/// More are counted.
const NAMED_MAX: usize = 4;

#[cfg(test)]
#[path = "capture/tests.rs"]
mod tests;
