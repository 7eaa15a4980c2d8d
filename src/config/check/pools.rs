//! Pools: their size, their nodes, and whether listeners use them as the domain demands.

use std::collections::BTreeMap;

use crate::config::check::{is_laboratory, pool_of};
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Family, Node};
use crate::config::names::FAMILIES;
use crate::config::read::{Draft, ListenerDraft, NodePlaces, PoolDraft};

/// More than any supported Edge pool has; per-node state is sized by it.
const MOST_NODES: usize = 64;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    for pool in &draft.pools {
        size(draft, pool, findings);
        same_addresses(pool, findings);
        sides(draft, pool, findings);
    }
    for listener in draft.listeners.iter().filter(|each| !is_laboratory(each)) {
        stand_ins(draft, listener, findings);
    }
}

fn size(draft: &Draft, pool: &PoolDraft, findings: &Findings<'_>) {
    let (name, span) = (&pool.pool.name, pool.places.value("name"));
    let user = draft
        .listeners
        .iter()
        .find(|each| each.listener.pool == *name);
    match pool.pool.nodes.len() {
        0 => {
            let help = match user {
                Some(user) => {
                    let line = findings.source.position(user.places.header().start).line;
                    let listener = &user.listener.name;
                    format!(
                        "add a [[pool.node]], or remove listener \"{listener}\" (line {line}) that uses it"
                    )
                }
                None => "add a [[pool.node]], or remove the pool".to_owned(),
            };
            findings
                .push(Diagnostic::error(&span, format!("pool \"{name}\" has no node")).help(help));
        }
        1 => {
            let title = format!("pool \"{name}\" has one node only");
            let why = "when it dies there is nowhere to go; nothing is cut and it is dialled all the same";
            findings.push(Diagnostic::warning(&span, title).why(why));
        }
        2..=MOST_NODES => {}
        many => {
            let title = format!("pool \"{name}\" has {many} nodes, more than {MOST_NODES}");
            let why = "Microsoft supports 12 Edge Servers in a pool";
            findings.push(
                Diagnostic::error(&span, title)
                    .why(why)
                    .help("split the pool"),
            );
        }
    }
    let all_resolve = draft
        .listeners
        .iter()
        .all(|each| pool_of(draft, each).is_some());
    if user.is_none() && !name.is_empty() && all_resolve {
        findings.push(Diagnostic::warning(
            &span,
            format!("no listener uses pool \"{name}\""),
        ));
    }
}

fn same_addresses(pool: &PoolDraft, findings: &Findings<'_>) {
    for &(_, family) in FAMILIES {
        let mut seen = BTreeMap::new();
        for (node, places) in pool.pool.nodes.iter().zip(&pool.nodes) {
            let Some(address) = node.addresses.get(&family) else {
                continue;
            };
            if let Some(first) = seen.insert((address.ip, address.port), &node.name) {
                let title = format!("node \"{}\" has the address of node \"{first}\"", node.name);
                let why =
                    "one machine would be counted as two, and a failover could lead back to it";
                let help = "correct the address, or give each its own port: \"127.0.0.1:15061\"";
                let span = places.address(family);
                findings.push(Diagnostic::error(&span, title).why(why).help(help));
            }
        }
    }
}

/// Hardware balancing is all or nothing: outside and inside.
fn sides(draft: &Draft, pool: &PoolDraft, findings: &Findings<'_>) {
    let name = &pool.pool.name;
    let users = || {
        draft
            .listeners
            .iter()
            .filter(|each| each.listener.pool == *name)
    };
    let has_internal = users().any(|each| each.listener.service.is_internal());
    let has_external = users().any(|each| {
        let service = each.listener.service;
        let is_web = each.listener.family == Family::Web;
        service.is_edge() && !service.is_internal() && !is_web && !is_laboratory(each)
    });
    if has_external && !has_internal {
        let title = format!("pool \"{name}\" has external listeners and no internal one");
        let why =
            "hardware balancing outside with DNS balancing inside is not supported by Microsoft";
        let help = "add listeners of the services internal-sip and mras on the internal VIP";
        let span = pool.places.value("name");
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    }
}

/// A node whose Access Edge stands in for another of its services answers, and serves nobody.
fn stand_ins(draft: &Draft, listener: &ListenerDraft, findings: &Findings<'_>) {
    let family = listener.listener.family;
    let is_access = matches!(family, Family::Access | Family::Web);
    let Some(pool) = pool_of(draft, listener).filter(|_| !is_access) else {
        return;
    };
    let lacks = |(node, _): &(&Node, &NodePlaces)| {
        !node.addresses.is_empty() && !node.addresses.contains_key(&family)
    };
    let mut lacking = pool.pool.nodes.iter().zip(&pool.nodes).filter(lacks);
    let Some((node, places)) = lacking
        .next()
        .filter(|_| listener.listener.service.is_edge())
    else {
        return;
    };
    let name = family.name();
    let title = match lacking.count() {
        0 => format!("node \"{}\" has no {name} address", node.name),
        others => format!(
            "node \"{}\" and {others} more have no {name} address",
            node.name
        ),
    };
    let why = "their Access Edge is dialled instead, which answers and speaks something else";
    let help = format!("write it: addresses = {{ {name} = \"…\" }}");
    let span = places.node.value("address");
    findings.push(Diagnostic::warning(&span, title).why(why).help(help));
}
