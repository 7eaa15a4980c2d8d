//! `[[listener]]`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{
    Allow, Listener, OnNodeDown, Pin, PinPrefix, Probe, ProxyAccept, ProxySend, Service,
    SourceAddress, SpeaksFirst, Termination, TlsMinMode, TlsVersion, WhenNoNode,
};
use crate::config::names::{self, Words};
use crate::config::preset::{self, Preset};
use crate::config::read::probe::{self, Within};
use crate::config::read::termination::{self, Spoken};
use crate::config::schema::Section;
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value::{self, Item, spans, values};

/// `[[listener]]`, read.
pub(in crate::config) struct ListenerDraft {
    pub(in crate::config) listener: Listener,
    pub(in crate::config) places: Places,
    pub(in crate::config) probe: Places,
    /// Of each bind address, in order.
    pub(in crate::config) binds: Vec<Span>,
    /// Names of other listeners, each with its place.
    pub(in crate::config) needs: Vec<(String, Span)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PinChoice {
    Partner,
    Source,
    Cookie,
    None,
}

const PINS: Words<PinChoice> = &[
    ("partner", PinChoice::Partner),
    ("source", PinChoice::Source),
    ("cookie", PinChoice::Cookie),
    ("none", PinChoice::None),
];

const ACCEPTS: Words<bool> = &[("off", false), ("accept", true)];
pub(super) fn listener(mut table: Table<'_, '_>) -> ListenerDraft {
    let name = table.take_required("name", value::name, "write `name = \"federation\"`");
    let bind_help = "write `bind = \"203.0.113.10:5061\"`";
    let bind = table.take_required("bind", value::at_least_one(value::socket), bind_help);
    let pool = table.take_required("pool", value::name, "write the name of a [[pool]]");
    let service = table.take(
        "service",
        value::choice(names::SERVICES),
        Service::Federation,
    );
    let preset = preset::of(service);
    let bind = bind.unwrap_or_default();
    let binds = spans(&bind);
    let bind = values(bind);
    let spoken = termination::spoken(&mut table, service);
    let needs = table.take("needs", value::list(value::name), Vec::new());
    let source = source(&mut table, service);
    let node_port = node_port(&mut table, &preset, &bind);
    let (pin, pins_by_cookie) = pin(&mut table, service, &preset, spoken);
    let (termination, nodes) = termination::termination(&mut table, spoken, pins_by_cookie);
    let within = Within {
        nodes,
        is_terminated: spoken.is_some(),
    };
    let asked = probe::probe(&mut table, service, &preset, node_port, &within);
    let (probe, probe_places) = asked;
    if spoken.is_none() && within.nodes.is_some() && !probe.kind.speaks_tls() {
        termination::warn_of_idle_node_tls(&table);
    }
    let identity = Identity {
        name: name.unwrap_or_default(),
        bind,
        service,
        pool: pool.unwrap_or_default(),
        node_port,
        pin,
        needs: needs.iter().map(|need| need.get_ref().clone()).collect(),
        source,
        proxy_protocol: proxy_accept(&mut table),
        probe,
        termination,
    };
    let listener = complete(&mut table, &preset, identity);
    ListenerDraft {
        listener,
        binds,
        needs: needs
            .into_iter()
            .map(|need| (need.get_ref().clone(), need.span()))
            .collect(),
        probe: probe_places,
        places: table.finish(),
    }
}

/// The keys of a listener that other keys decide.
struct Identity {
    name: String,
    bind: Vec<SocketAddr>,
    service: Service,
    pool: String,
    node_port: u16,
    pin: Pin,
    needs: Vec<String>,
    source: SourceAddress,
    proxy_protocol: ProxyAccept,
    probe: Probe,
    termination: Option<Termination>,
}

/// Reads the keys that stand alone.
fn complete(table: &mut Table<'_, '_>, preset: &Preset, identity: Identity) -> Listener {
    let seconds = Duration::from_secs;
    let speaks_first = match preset.is_tls || identity.termination.is_some() {
        true => SpeaksFirst::Client,
        false => SpeaksFirst::Any,
    };
    let off = || value::positive_or("off");
    let on_node_down = value::choice(names::ON_NODE_DOWN);
    let proxy_send = value::choice(names::PROXY_SENDS);
    Listener {
        name: identity.name,
        bind: identity.bind,
        service: identity.service,
        pool: identity.pool,
        family: table.take("family", value::choice(names::FAMILIES), preset.family),
        affinity: table.take("affinity", value::name, preset.affinity.to_owned()),
        node_port: identity.node_port,
        pin: identity.pin,
        pin_ttl: table.take("pin_ttl", value::duration, seconds(20 * 60)),
        pin_prefix: pin_prefix(table),
        speaks_first: table.take(
            "speaks_first",
            value::choice(names::SPEAKS_FIRST),
            speaks_first,
        ),
        replay: table.take("replay", value::boolean, preset.is_tls),
        connect_timeout: table.take("connect_timeout", value::positive, seconds(1)),
        first_bytes_timeout: table.take("first_bytes_timeout", value::positive, seconds(10)),
        idle_timeout: table.take("idle_timeout", off(), Some(preset.idle)),
        fin_timeout: table.take("fin_timeout", value::positive, seconds(30)),
        keepalive: table.take("keepalive", keepalive, Some(seconds(60))),
        user_timeout: table.take("user_timeout", off(), Some(seconds(60))),
        on_node_down: table.take("on_node_down", on_node_down, OnNodeDown::Reset),
        cut_within: table.take("cut_within", value::duration, seconds(30)),
        needs: identity.needs,
        when_no_node: table.take(
            "when_no_node",
            value::choice(names::WHEN_NO_NODE),
            WhenNoNode::Dial,
        ),
        source: identity.source,
        allow: table.take("allow", allow, Allow::Any),
        max_sessions: table.take("max_sessions", value::integer(1, 10_000_000), 50_000),
        max_sessions_per_client: table.take(
            "max_sessions_per_client",
            value::integer(0, 10_000_000),
            0,
        ),
        connect_rate_per_client: table.take("connect_rate_per_client", value::rate_or_off, None),
        proxy_protocol: identity.proxy_protocol,
        proxy_protocol_send: table.take("proxy_protocol_send", proxy_send, ProxySend::Off),
        tls_min: tls_min(table, identity.service),
        tls_min_mode: table.take(
            "tls_min_mode",
            value::choice(names::TLS_MIN_MODES),
            TlsMinMode::Enforce,
        ),
        unknown_legacy: table.take("unknown_legacy", value::boolean, true),
        probe: identity.probe,
        termination: identity.termination,
    }
}

fn tls_min(table: &mut Table<'_, '_>, service: Service) -> Option<TlsVersion> {
    let least = table.take("tls_min", value::choice(names::TLS_FLOORS), None);
    if least.is_some() && !service.speaks_tls() {
        let title = format!("`tls_min` has no effect on service \"{}\"", service.name());
        let why = "what is spoken there does not begin with a ClientHello";
        let span = table.span_of("tls_min");
        table.error(Diagnostic::warning(&span, title).why(why));
    }
    least
}

fn source(table: &mut Table<'_, '_>, service: Service) -> SourceAddress {
    table.take("source", value::choice(names::SOURCES), service.source())
}

fn node_port(table: &mut Table<'_, '_>, preset: &Preset, bind: &[SocketAddr]) -> u16 {
    let of_bind = bind.first().map_or(0, SocketAddr::port);
    let default = preset.node_port.unwrap_or(of_bind);
    table.take("node_port", value::integer(1, 65_535), default)
}

/// What a pin belongs to, and whether a cookie holds clients on their nodes.
fn pin(
    table: &mut Table<'_, '_>,
    service: Service,
    preset: &Preset,
    spoken: Option<Spoken>,
) -> (Pin, bool) {
    let is_http = spoken == Some(Spoken::Http);
    let default = match (service, preset.pins_partners) {
        (Service::Https, _) if is_http => PinChoice::Cookie,
        (Service::Https, _) => PinChoice::None,
        (_, true) => PinChoice::Partner,
        (_, false) => PinChoice::Source,
    };
    match table.take("pin", value::choice(PINS), default) {
        PinChoice::Partner => (Pin::Partner, false),
        PinChoice::Source => (Pin::Source, false),
        PinChoice::None => (Pin::None, false),
        PinChoice::Cookie => {
            if !is_http {
                let span = table.span_of("pin");
                let title = "pin = \"cookie\" needs mode = \"terminate\" and protocol = \"http\"";
                let why = "a cookie is read and set in HTTP";
                let help = "write both, or pin = \"source\"";
                table.error(Diagnostic::error(&span, title).why(why).help(help));
            }
            (Pin::None, true)
        }
    }
}

fn pin_prefix(table: &mut Table<'_, '_>) -> PinPrefix {
    let mut inner = table.table("pin_prefix", Section::PinPrefix);
    let prefix = PinPrefix {
        v4: inner.take("v4", value::integer(0, 32), 32),
        v6: inner.take("v6", value::integer(0, 128), 64),
    };
    inner.finish();
    prefix
}

/// `"any"`, `"partners"`, or prefixes.
fn allow(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Allow> {
    match item.value.get_ref().as_str() {
        Some("any") => return Some(Allow::Any),
        Some("partners") => return Some(Allow::Partners),
        _ => {}
    }
    if item
        .value
        .get_ref()
        .as_array()
        .is_some_and(|entries| entries.is_empty())
    {
        let help = "write \"any\", \"partners\" or the prefixes that may connect";
        let diagnostic = Diagnostic::error(&item.span(), "allow = [] lets nobody connect");
        findings.push(diagnostic.help(help));
        return None;
    }
    value::list(value::prefix)(item, findings).map(|list| Allow::Prefixes(values(list)))
}

/// Whole seconds, or `"off"`.
fn keepalive(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Option<Duration>> {
    let interval = value::positive_or("off")(item, findings)?;
    let is_whole =
        |interval: &Duration| interval.subsec_nanos() == 0 && interval.as_secs() <= 32_767;
    if interval
        .as_ref()
        .is_some_and(|interval| !is_whole(interval))
    {
        let title = format!(
            "keepalive = {} is not a whole number of seconds up to 32767",
            item.shown()
        );
        let why = "Linux counts keepalive in seconds";
        findings.push(
            Diagnostic::error(&item.span(), title)
                .why(why)
                .help("write \"60s\""),
        );
        return None;
    }
    Some(interval)
}

fn proxy_accept(table: &mut Table<'_, '_>) -> ProxyAccept {
    let accepts = table.take("proxy_protocol", value::choice(ACCEPTS), false);
    let from = table.take_optional("proxy_protocol_from", value::list(value::prefix));
    let places = |table: &Table<'_, '_>, key| table.span_of(key);
    match (accepts, from) {
        (true, Some(from)) if !from.is_empty() => ProxyAccept::From(values(from)),
        (true, _) => {
            let span = places(table, "proxy_protocol");
            let title = "proxy_protocol = \"accept\" needs `proxy_protocol_from`";
            let why = "whoever may speak the PROXY protocol can claim to be any client";
            let help = "write the addresses of the balancer in front: `proxy_protocol_from = [\"192.0.2.5\"]`";
            table.error(Diagnostic::error(&span, title).why(why).help(help));
            ProxyAccept::Off
        }
        (false, Some(from)) if !from.is_empty() => {
            let span = places(table, "proxy_protocol_from");
            let title = "`proxy_protocol_from` has no effect without proxy_protocol = \"accept\"";
            table.error(Diagnostic::warning(&span, title));
            ProxyAccept::Off
        }
        (false, _) => ProxyAccept::Off,
    }
}
