//! `[[partner]]`.

use std::time::Duration;

use crate::config::diagnostics::Diagnostic;
use crate::config::model::{Failback, Federation, Generation, Partner, Pin};
use crate::config::names::{self, Words};
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value::{self, spans, values};

/// `[[partner]]`, read.
pub(in crate::config) struct PartnerDraft {
    pub(in crate::config) partner: Partner,
    pub(in crate::config) places: Places,
    /// Of each prefix, in order.
    pub(in crate::config) addresses: Vec<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    Stay,
    Idle,
    Window,
}

const RETURNS: Words<Return> = &[
    ("stay", Return::Stay),
    ("idle", Return::Idle),
    ("window", Return::Window),
];

const PINS: Words<Pin> = &[
    ("partner", Pin::Partner),
    ("source", Pin::Source),
    ("none", Pin::None),
];

pub(super) fn partner(mut table: Table<'_, '_>) -> PartnerDraft {
    let name = table.take_required("name", value::name, "write `name = \"fabrikam\"`");
    let federation = value::choice(names::FEDERATIONS);
    let federation = table.take("federation", federation, Federation::AllowedServer);
    let generation = value::choice(names::GENERATIONS);
    let generation = table.take("generation", generation, Generation::Other);
    let is_stubborn = matches!(federation, Federation::Xmpp | Federation::PublicImProvider);
    let legacy = table.take(
        "legacy",
        value::boolean,
        generation.is_legacy() || is_stubborn,
    );
    let pin = if legacy { Pin::Partner } else { Pin::Source };
    let addresses = table.take("addresses", value::list(value::prefix), Vec::new());
    let mut names = |key| values(table.take(key, value::list(value::domain), Vec::new()));
    let (domains, edge, certificate_names) =
        (names("domains"), names("edge"), names("certificate_names"));
    let places = spans(&addresses);
    let partner = Partner {
        name: name.unwrap_or_default(),
        domains,
        federation,
        edge,
        addresses: values(addresses),
        generation,
        certificate_names,
        legacy,
        pin: table.take("pin", value::choice(PINS), pin),
        node: table.take_optional("node", value::name),
        failback: failback(&mut table),
        alarm_after: table.take("alarm_after", value::positive, Duration::from_secs(60)),
        tls_min: table.take_optional("tls_min", value::choice(names::TLS_FLOORS)),
        contact: table.take_optional("contact", value::text),
    };
    PartnerDraft {
        partner,
        addresses: places,
        places: table.finish(),
    }
}

fn failback(table: &mut Table<'_, '_>) -> Failback {
    let written = table.take("failback", value::choice(RETURNS), Return::Stay);
    let idle = table.take_optional("failback_idle", value::positive);
    let window = table.take_optional("failback_window", value::window);
    let idle_default = Duration::from_secs(600);
    let is_idle_default = idle.is_none_or(|idle| idle == idle_default);
    if written != Return::Idle && !is_idle_default {
        without_effect(table, "failback_idle", "idle");
    }
    if written != Return::Window && window.is_some() {
        without_effect(table, "failback_window", "window");
    }
    match (written, window) {
        (Return::Stay, _) => Failback::Stay,
        (Return::Idle, _) => Failback::Idle(idle.unwrap_or(idle_default)),
        (Return::Window, Some(window)) => Failback::Window(window),
        (Return::Window, None) => {
            if !table.sets("failback_window") {
                let span = table.span_of("failback");
                let title = "failback = \"window\" needs `failback_window`";
                let help = "write `failback_window = \"Sat 02:00-05:00 Europe/Paris\"`";
                table.error(Diagnostic::error(&span, title).help(help));
            }
            Failback::Stay
        }
    }
}

fn without_effect(table: &Table<'_, '_>, key: &'static str, needed: &str) {
    let title = format!("`{key}` has no effect without failback = \"{needed}\"");
    table.error(Diagnostic::warning(&table.span_of(key), title));
}
