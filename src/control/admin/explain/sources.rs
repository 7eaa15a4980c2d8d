//! By what somebody is known, in the order of trust.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::answers::Source;
use super::place::Scene;
use crate::control::chronicle;
use crate::partner::learned::Names;
use crate::partner::resolved::NameView;
use crate::partner::table::Known;

pub(super) fn known_by(scene: &Scene<'_>) -> Vec<Source> {
    match (scene.subject.address, &scene.subject.partner) {
        (Some(address), _) => of_address(scene, address),
        (None, Some(known)) => of_partner(scene, known),
        (None, None) => Vec::new(),
    }
}

/// Where its packets come from, as far as anything tells.
pub(super) fn comes_from(scene: &Scene<'_>) -> Vec<String> {
    if let Some(address) = scene.subject.address {
        return vec![address.to_string()];
    }
    let Some(known) = &scene.subject.partner else {
        return Vec::new();
    };
    let config = scene.subject.config(&scene.snapshot.config);
    let configured = config.into_iter().flat_map(|config| &config.addresses);
    let configured = configured.map(|network| network.trunc().to_string());
    let view = scene.shared.asking.view();
    let by_dns = view.partners.get(&known.name).into_iter();
    let by_dns = by_dns.flat_map(|known| &known.names);
    let by_dns = by_dns.flat_map(|name| &name.addresses);
    let learned = seen_from(scene, known).into_iter();
    let addresses = by_dns.copied().chain(learned.map(|(address, _)| address));
    let all: BTreeSet<_> = configured
        .chain(addresses.map(|address| address.to_string()))
        .collect();
    all.into_iter().take(ADDRESSES_MAX).collect()
}

fn source(source: &str, what: String) -> Source {
    Source {
        source: source.into(),
        what,
    }
}

/// What tells who a client at this address is.
fn of_address(scene: &Scene<'_>, address: IpAddr) -> Vec<Source> {
    let mut sources = Vec::new();
    let nets = scene.subject.config(&scene.snapshot.config).into_iter();
    let nets = nets.flat_map(|partner| &partner.addresses);
    let around = nets.filter(|net| net.contains(&address));
    if let Some(net) = around.max_by_key(|net| net.prefix_len()) {
        sources.push(source("addresses", format!("{net} configured")));
    }
    if let Some(named) = scene.snapshot.partners.resolved().get(address) {
        let was: Vec<_> = named.before.iter().map(ToString::to_string).collect();
        let was = match was.is_empty() {
            true => String::new(),
            false => format!(" (was {})", was.join(", ")),
        };
        let what = format!("{} of {} is {address}{was}", named.name, named.partner);
        sources.push(source("dns", what));
    }
    if let Some(shown) = scene.shared.recognition.learned.names(address, scene.now) {
        let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
        let what = format!("{} seen from there", shown.join(", "));
        sources.push(source("certificate", what));
    }
    sources
}

/// What tells that somebody is this partner.
fn of_partner(scene: &Scene<'_>, known: &Known) -> Vec<Source> {
    let mut sources = Vec::new();
    let config = scene.subject.config(&scene.snapshot.config);
    let addresses = config.into_iter().flat_map(|config| &config.addresses);
    let addresses: Vec<_> = addresses.map(ToString::to_string).collect();
    if !addresses.is_empty() {
        let what = format!("{} configured", addresses.join(", "));
        sources.push(source("addresses", what));
    }
    let view = scene.shared.asking.view();
    let names = view.partners.get(&known.name).into_iter();
    let names = names.flat_map(|known| &known.names);
    sources.extend(names.map(|name| source("dns", by_dns(name))));
    sources.extend(certificates(scene, known));
    let expected = config
        .into_iter()
        .flat_map(|config| config.edge.iter().chain(&config.certificate_names));
    let expected: Vec<_> = expected.cloned().collect();
    if !expected.is_empty() {
        let what = format!("{} expected in its certificate", expected.join(", "));
        sources.push(source("edge", what));
    }
    sources
}

/// Addresses from which its certificates were seen.
fn seen_from(scene: &Scene<'_>, known: &Known) -> Vec<(IpAddr, Names)> {
    let is_theirs = |shown: &Names| {
        let owner = scene.snapshot.partners.by_certificate(shown);
        owner.is_some_and(|owner| owner.name == known.name)
    };
    let learned = &scene.shared.recognition.learned;
    learned.seen_from(scene.now, is_theirs)
}

/// Certificates that were seen from addresses; where there are none, the one that it has shown last.
fn certificates(scene: &Scene<'_>, known: &Known) -> Vec<Source> {
    let seen = seen_from(scene, known).into_iter();
    let mut sources: Vec<_> = seen
        .map(|(address, names)| {
            let what = format!("{} seen from {address}", names.join(", "));
            source("certificate", what)
        })
        .collect();
    if sources.is_empty() {
        let chronicle = chronicle::lock(&scene.shared.chronicle);
        let chapter = chronicle.partner(&known.name);
        let shown = chapter.and_then(|chapter| chapter.tls.certificate.as_ref());
        sources.extend(shown.map(|shown| source("certificate", format!("{shown} shown last"))));
    }
    sources
}

/// What DNS says of a name.
fn by_dns(each: &NameView) -> String {
    let name = &each.name;
    let failure = each.standing.failure.map(|why| why.label());
    if each.addresses.is_empty() {
        return format!("{name}: {}", failure.unwrap_or("not asked yet"));
    }
    let addresses: Vec<_> = each.addresses.iter().map(ToString::to_string).collect();
    let ttl = each
        .standing
        .ttl
        .map(|ttl| format!(" (TTL {} s)", ttl.as_secs()));
    let failure = failure.map(|why| format!("; asked again: {why}"));
    let (ttl, failure) = (ttl.unwrap_or_default(), failure.unwrap_or_default());
    format!("{name} is {}{ttl}{failure}", addresses.join(", "))
}

const ADDRESSES_MAX: usize = 1000;
