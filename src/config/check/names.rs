//! Names: unique where they must be, and naming something where they are used.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::read::{Draft, ListenerDraft};
use crate::config::source::Span;
use crate::config::table::Places;
use crate::config::value::did_you_mean;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    let named = |name: &str, places: &Places| (name.to_owned(), places.value("name"));
    let pools = draft
        .pools
        .iter()
        .map(|each| named(&each.pool.name, &each.places));
    let listeners = draft
        .listeners
        .iter()
        .map(|each| named(&each.listener.name, &each.places));
    let partners = draft
        .partners
        .iter()
        .map(|each| named(&each.partner.name, &each.places));
    unique("pool", pools, findings);
    unique("listener", listeners, findings);
    unique("partner", partners, findings);
    for pool in &draft.pools {
        let nodes = pool.pool.nodes.iter().zip(&pool.nodes);
        let what = format!("pool \"{}\": node", pool.pool.name);
        unique(
            &what,
            nodes.map(|(node, places)| named(&node.name, &places.node)),
            findings,
        );
    }
    references(draft, findings);
    cycles(&draft.listeners, findings);
    strangers(draft, findings);
}

fn unique(what: &str, names: impl Iterator<Item = (String, Span)>, findings: &Findings<'_>) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for (name, span) in names.filter(|(name, _)| !name.is_empty()) {
        if let Some(first) = seen.get(&name) {
            let place = findings.source.seen_from(&span, first);
            let title = format!("{what} \"{name}\" stands here a second time");
            let why = format!("the first is in {place}; pins, metrics and commands go by the name");
            findings.push(
                Diagnostic::error(&span, title)
                    .why(why)
                    .help("give one of them another name"),
            );
        } else {
            seen.insert(name, span);
        }
    }
}

/// A name that must stand elsewhere in the file.
struct Reference<'d> {
    what: &'static str,
    name: &'d str,
    span: Span,
    why: &'static str,
}

fn references(draft: &Draft, findings: &Findings<'_>) {
    let pools: BTreeSet<&str> = draft.pools.iter().map(|each| &*each.pool.name).collect();
    let listeners = draft.listeners.iter();
    let listeners: BTreeSet<&str> = listeners.map(|each| &*each.listener.name).collect();
    let nodes = draft.pools.iter().flat_map(|each| &each.pool.nodes);
    let nodes: BTreeSet<&str> = nodes.map(|node| &*node.name).collect();
    for listener in &draft.listeners {
        let pool = Reference {
            what: "pool",
            name: &listener.listener.pool,
            span: listener.places.value("pool"),
            why: "a listener without nodes serves nobody",
        };
        resolve(&pool, &pools, findings);
        for (need, span) in &listener.needs {
            let need = Reference {
                what: "listener",
                name: need,
                span: span.clone(),
                why: "a node would depend on what is never probed",
            };
            resolve(&need, &listeners, findings);
        }
    }
    for partner in &draft.partners {
        let node = Reference {
            what: "node",
            name: partner.partner.node.as_deref().unwrap_or(""),
            span: partner.places.value("node"),
            why: "the partner would never be on the node meant for it",
        };
        resolve(&node, &nodes, findings);
    }
}

fn resolve(reference: &Reference<'_>, known: &BTreeSet<&str>, findings: &Findings<'_>) {
    let Reference { what, name, .. } = *reference;
    if name.is_empty() || known.contains(name) {
        return;
    }
    let known = || known.iter().copied().filter(|name| !name.is_empty());
    let help = match did_you_mean(name, known()) {
        Some(question) => question,
        None if known().next().is_none() => format!("the file has no {what}; add one"),
        None => format!("there is: {}", known().collect::<Vec<_>>().join(", ")),
    };
    let title = format!("there is no {what} \"{name}\"");
    let diagnostic = Diagnostic::error(&reference.span, title);
    findings.push(diagnostic.why(reference.why).help(help));
}

/// A listener whose nodes depend, through others, on themselves.
fn cycles(listeners: &[ListenerDraft], findings: &Findings<'_>) {
    let by_name: BTreeMap<&str, &ListenerDraft> = listeners
        .iter()
        .map(|each| (each.listener.name.as_str(), each))
        .collect();
    for listener in listeners {
        let own = listener.listener.name.as_str();
        for (need, span) in &listener.needs {
            if reaches(&by_name, need, own) {
                let title = match need == own {
                    true => format!("listener \"{own}\" needs itself"),
                    false => format!("listener \"{own}\" needs \"{need}\", which needs \"{own}\""),
                };
                let why = "a node that is down in one would be down in all of them for ever";
                findings.push(
                    Diagnostic::error(span, title)
                        .why(why)
                        .help("remove one of the needs"),
                );
            }
        }
    }
}

/// A node that the pool of a needed listener does not know: nothing there can take it down here.
fn strangers(draft: &Draft, findings: &Findings<'_>) {
    let nodes_of = |pool: &str| -> Option<Vec<&str>> {
        let pool = draft.pools.iter().find(|each| each.pool.name == pool)?;
        Some(pool.pool.nodes.iter().map(|node| &*node.name).collect())
    };
    for listener in &draft.listeners {
        let Some(own) = nodes_of(&listener.listener.pool) else {
            continue;
        };
        for (need, span) in &listener.needs {
            let mut all = draft.listeners.iter();
            let needed = all.find(|each| each.listener.name == *need);
            let pool = needed.map(|each| &*each.listener.pool);
            let Some((pool, known)) = pool.and_then(|pool| Some((pool, nodes_of(pool)?))) else {
                continue;
            };
            let strangers: Vec<_> = own.iter().filter(|node| !known.contains(node)).collect();
            if strangers.is_empty() {
                continue;
            }
            let names = strangers.iter().map(|name| format!("\"{name}\""));
            let names = names.collect::<Vec<_>>().join(", ");
            let title = format!(
                "listener \"{need}\" is needed, and its pool \"{pool}\" has no node {names}"
            );
            let why = "the same name in two pools is the same machine: of one that is not there nobody \
                       knows whether it is dead inside";
            let help = format!("add it to pool \"{pool}\", or give both pools the same names");
            findings.push(Diagnostic::warning(span, title).why(why).help(help));
        }
    }
}

/// Whether `goal` is `start` or one of those that it needs, directly or not.
fn reaches(listeners: &BTreeMap<&str, &ListenerDraft>, start: &str, goal: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        if name == goal {
            return true;
        }
        if let Some((known, listener)) = listeners.get_key_value(name)
            && seen.insert(*known)
        {
            open.extend(listener.needs.iter().map(|(need, _)| need.as_str()));
        }
    }
    false
}
