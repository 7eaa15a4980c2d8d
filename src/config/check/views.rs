//! Addresses for reading the admin API: clashes, and such as nobody can use.

use std::net::SocketAddr;

use crate::config::check::ports::{binds, is_same_place};
use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Admin, View};
use crate::config::read::Draft;
use crate::config::source::Span;

/// More would only take descriptors from sessions.
const VIEWS_MAX: usize = 8;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    let server = &draft.server.server;
    let places = &draft.server.places;
    let views = || server.view.iter().zip(&draft.server.views);
    for (number, (view, span)) in views().enumerate() {
        if let Some(other) = taken(draft, view, number) {
            let title = format!("view \"{view}\" is {other} as well");
            let why = "one socket answers at an address";
            let help = "give it an address of its own, or remove one";
            findings.push(Diagnostic::error(span, title).why(why).help(help));
        }
        beyond_this_machine(draft, view, span, findings);
    }
    if server.view.len() > VIEWS_MAX {
        let title = format!("view has more than {VIEWS_MAX} addresses");
        let why = "each has room for connections of its own, which sessions do not get";
        let help = "let readers share an address";
        let span = places.value("view");
        findings.push(Diagnostic::error(&span, title).why(why).help(help));
    }
    let is_tcp = |view: &View| matches!(view, View::Tcp(_));
    if !server.view_from.is_empty() && !server.view.iter().any(is_tcp) {
        let title = "view_from has no effect: no address of `view` is TCP";
        let help = "add one, such as view = [\"192.0.2.5:9062\"], or remove view_from";
        let span = places.value("view_from");
        findings.push(Diagnostic::warning(&span, title).help(help));
    }
}

/// What has the address already that the view of this number asks for.
fn taken(draft: &Draft, view: &View, number: usize) -> Option<String> {
    let server = &draft.server.server;
    let is_same = |other: SocketAddr| match view {
        View::Tcp(address) => is_same_place(*address, other),
        View::Unix(_) => false,
    };
    let before = server.view.iter().take(number);
    let is_twice = |other: &View| match other {
        View::Tcp(address) => is_same(*address),
        View::Unix(_) => other == view,
    };
    if before.into_iter().any(is_twice) {
        return Some("another view".to_owned());
    }
    let is_admin = match (&server.admin, view) {
        (Admin::Unix(path), View::Unix(own)) => path == own,
        (Admin::Tcp(address), View::Tcp(_)) => is_same(*address),
        (Admin::Off | Admin::Unix(_) | Admin::Tcp(_), View::Unix(_) | View::Tcp(_)) => false,
    };
    if is_admin {
        return Some("`admin`".to_owned());
    }
    let mut tcp = binds(&draft.listeners).filter(|bind| !bind.listener.listener.service.is_udp());
    tcp.find(|bind| is_same(bind.address)).map(|bind| {
        format!(
            "{} of listener \"{}\"",
            bind.address, bind.listener.listener.name
        )
    })
}

/// Nobody but this machine may come where nobody is named.
fn beyond_this_machine(draft: &Draft, view: &View, span: &Span, findings: &Findings<'_>) {
    let View::Tcp(address) = view else { return };
    if address.ip().is_loopback() || !draft.server.server.view_from.is_empty() {
        return;
    }
    let title = format!("nobody on the network can use view \"{address}\": view_from names nobody");
    let why = "over TCP an address says who may read; without view_from only this machine may";
    let help = "write view_from = [\"192.0.2.0/24\"] with the addresses of your monitoring";
    findings.push(Diagnostic::warning(span, title).why(why).help(help));
}
