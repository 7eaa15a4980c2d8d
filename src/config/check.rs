//! What must hold between tables: references, clashes, and the rules of the domain.
//!
//! Owns no defaults and changes nothing: it reads a draft and reports. Names that are empty were
//! refused by the walk and are passed over here.

mod gateway;
mod names;
mod partners;
mod pools;
mod ports;
mod sources;
mod views;

use std::net::IpAddr;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::Node;
use crate::config::read::{Draft, ListenerDraft, PoolDraft};

/// Reports whatever does not fit together.
pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    names::check(draft, findings);
    pools::check(draft, findings);
    ports::check(draft, findings);
    sources::check(draft, findings);
    gateway::check(draft, findings);
    partners::check(draft, findings);
    views::check(draft, findings);
    memory_only(draft, findings);
}

fn memory_only(draft: &Draft, findings: &Findings<'_>) {
    if draft.server.server.state_dir.is_none() && !draft.server.places.sets("state_dir") {
        let title = "no state_dir: node states and the placement key live in memory only";
        let warning = Diagnostic {
            span: draft.server.header.clone(),
            ..Diagnostic::warning(&(0..0), title)
        };
        findings.push(
            warning
                .why("a restart forgets which nodes were drained or disabled, and places partners anew")
                .help("write `state_dir = \"/var/lib/pinfold\"` in [server]"),
        );
    }
}

/// The pool that `listener` names, if there is one.
fn pool_of<'d>(draft: &'d Draft, listener: &ListenerDraft) -> Option<&'d PoolDraft> {
    let name = &listener.listener.pool;
    draft
        .pools
        .iter()
        .find(|pool| pool.pool.name == *name && !name.is_empty())
}

/// Where `listener` dials `node`.
fn target(listener: &ListenerDraft, node: &Node) -> Option<(IpAddr, u16)> {
    if node.addresses.is_empty() {
        return None;
    }
    let address = node.address(listener.listener.family);
    Some((
        address.ip,
        address.port.unwrap_or(listener.listener.node_port),
    ))
}

/// Whether `listener` is reached from other machines only by design: a loopback set-up is a
/// laboratory, and the rules of the domain do not concern it.
fn is_laboratory(listener: &ListenerDraft) -> bool {
    listener
        .listener
        .bind
        .iter()
        .all(|bind| bind.ip().is_loopback())
}
