//! `[listener.probe]`.

use std::sync::Arc;

use crate::config::diagnostics::Diagnostic;
use crate::config::model::{HttpQuestion, Probe, ProbeKind, Service};
use crate::config::names;
use crate::config::preset::Preset;
use crate::config::quantity;
use crate::config::schema::Section;
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value;
use crate::tls;

/// What the service presets.
fn of_preset(preset: &Preset, port: u16) -> Probe {
    Probe {
        kind: preset.probe,
        port,
        interval: preset.pace.interval,
        fast_interval: preset.pace.fast_interval,
        timeout: preset.pace.timeout,
        silence: preset.silence,
        fall: 2,
        rise: 3,
        http: None,
        tls: None,
    }
}

/// Reads the table of `listener`.
pub(super) fn probe(
    listener: &mut Table<'_, '_>,
    service: Service,
    preset: &Preset,
    node_port: u16,
    within: &Within,
) -> (Probe, Places) {
    let mut table = listener.table("probe", Section::Probe);
    let default = of_preset(preset, node_port);
    let port = table.take("port", value::integer(1, 65_535), default.port);
    // Microsoft: Front Ends are asked on 5061, so that a dead SIP service takes the web out too.
    let asks_sip = service == Service::Https && port == 5061;
    let kind_default = if asks_sip {
        ProbeKind::Tcp
    } else {
        default.kind
    };
    let written = table.take_optional("kind", value::choice(names::PROBE_KINDS));
    let kind = written.unwrap_or(kind_default);
    if let Some(kind) = written.filter(|kind| !kind.reaches(service)) {
        let span = table.span_of("kind");
        table.error(of_another_transport(&span, kind, service));
    }
    let interval = table.take("interval", value::positive, default.interval);
    let fast_interval = default.fast_interval.min(interval);
    let probe = Probe {
        kind,
        port,
        interval,
        fast_interval: table.take("fast_interval", value::positive, fast_interval),
        timeout: table.take("timeout", value::positive, default.timeout),
        silence: table.take("silence", value::duration, default.silence),
        fall: table.take("fall", value::integer(1, 100), default.fall),
        rise: table.take("rise", value::integer(1, 100), default.rise),
        http: http(&mut table, kind),
        tls: within.of(kind, service),
    };
    let places = table.finish();
    if probe.fast_interval > probe.interval {
        let span = places.value("fast_interval");
        let shown = quantity::show_duration;
        let title = format!(
            "fast_interval = \"{}\" is longer than interval = \"{}\"",
            shown(probe.fast_interval),
            shown(probe.interval)
        );
        let why = "it is the time between probes while a node is in doubt";
        let help = "make it shorter than interval, or remove it";
        listener.error(Diagnostic::error(&span, title).why(why).help(help));
    }
    (probe, places)
}

/// How nodes are spoken to.
pub(super) struct Within {
    /// What `[listener.node_tls]` says; `None`: nothing, or `mode = "off"`.
    pub(super) nodes: Option<tls::Client>,
    /// Whether clients' TLS ends here, so that nodes are spoken to as `node_tls` says and not otherwise.
    pub(super) is_terminated: bool,
}

impl Within {
    /// The TLS of a question. Nodes whose TLS is passed through are asked in TLS as well, and need not be who they
    /// should be: whoever passes it on does not check that either.
    fn of(&self, kind: ProbeKind, service: Service) -> Option<Arc<tls::Client>> {
        let is_looked_at = kind == ProbeKind::Tls;
        let is_asked = kind.asks_inside();
        let is_passed_through = service.speaks_tls() && !self.is_terminated;
        match &self.nodes {
            Some(nodes) if is_looked_at || is_asked => Some(nodes.clone()),
            None if is_looked_at || (is_asked && is_passed_through) => {
                tls::Client::of_anybody().ok()
            }
            Some(_) | None => None,
        }
        .map(Arc::new)
    }
}

/// What is asked for by HTTP, if that is asked.
fn http(table: &mut Table<'_, '_>, kind: ProbeKind) -> Option<Arc<HttpQuestion>> {
    let path = table.take_optional("path", value::url_path);
    let status = table.take_optional("status", value::statuses);
    let body = table.take_optional("body", value::text);
    if kind == ProbeKind::Http {
        return Some(Arc::new(HttpQuestion {
            path: path.map_or_else(|| "/".into(), String::into_boxed_str),
            status: status.unwrap_or(200..=399),
            body: body.map(String::into_boxed_str),
        }));
    }
    for (key, is_written) in [
        ("path", path.is_some()),
        ("status", status.is_some()),
        ("body", body.is_some()),
    ] {
        if is_written {
            let title = format!("`{key}` has no effect with kind = \"{}\"", kind.name());
            let help = "write kind = \"http\", or remove the line";
            let span = table.span_of(key);
            table.error(Diagnostic::warning(&span, title).help(help));
        }
    }
    None
}

/// A probe over TCP on a listener of UDP, or the other way round.
fn of_another_transport(span: &Span, kind: ProbeKind, service: Service) -> Diagnostic {
    let (kind, service) = (kind.name(), service.name());
    if kind == ProbeKind::TurnAllocate.name() {
        let title = format!("kind = \"{kind}\" asks over UDP, and service \"{service}\" is TCP");
        let why = "a node whose UDP is dead would be down on TCP too, and the other way round";
        let help = "write kind = \"tcp\" here, and \"turn-allocate\" on the listener of UDP";
        Diagnostic::error(span, title).why(why).help(help)
    } else {
        let title = format!("kind = \"{kind}\" asks over TCP, and service \"{service}\" is UDP");
        let why = "no node accepts a connection there, so that all would be down";
        let help = "write kind = \"turn-allocate\", or \"none\" where TURN is not spoken";
        Diagnostic::error(span, title).why(why).help(help)
    }
}
