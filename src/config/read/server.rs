//! `[server]`, `[log]`, `[resolve]` and `[cluster]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Admin, Log, LogFormat, LogLevel, LogSessions, Resolve, Secret, Server};
use crate::config::names;
use crate::config::read::view;
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value::{self, Item, show_text, spans, values};
use crate::confine::Measure;

/// `[server]`, read.
pub(in crate::config) struct ServerDraft {
    pub(in crate::config) server: Server,
    pub(in crate::config) places: Places,
    /// Whether the file has the table at all.
    pub(in crate::config) header: Option<Span>,
    /// Where each address of `view` stands.
    pub(in crate::config) views: Vec<Span>,
}

/// Where the admin API listens unless told otherwise.
pub(in crate::config) const ADMIN_SOCKET: &str = "/run/pinfold/admin.sock";

pub(super) fn server(mut table: Table<'_, '_>) -> ServerDraft {
    let views = table.take("view", value::list(view::view), Vec::new());
    let server = Server {
        workers: table.take("workers", workers, None),
        admin: table.take("admin", admin, Admin::Unix(PathBuf::from(ADMIN_SOCKET))),
        admin_token_file: table.take_optional("admin_token_file", value::path),
        state_dir: table.take_optional("state_dir", value::path),
        drain_timeout: table.take("drain_timeout", value::duration, Duration::from_secs(600)),
        stop_timeout: table.take("stop_timeout", value::duration, Duration::from_secs(2)),
        placement_key: table
            .take_optional("placement_key", value::secret)
            .map(Secret),
        freebind: table.take("freebind", value::boolean, true),
        kernel_tls: table.take("kernel_tls", value::boolean, true),
        buffer_memory: table.take("buffer_memory", value::bytes(1 << 20, 1 << 40), 256 << 20),
        max_pins: table.take("max_pins", value::integer(1, 100_000_000), 100_000),
        view_from: values(table.take("view_from", value::list(value::prefix), Vec::new())),
        view: views.iter().map(|view| view.get_ref().clone()).collect(),
        sandbox: table.take("sandbox", sandbox, Measure::ALL.into()),
    };
    ServerDraft {
        views: spans(&views),
        server,
        header: table.is_present().then(|| table.header().clone()),
        places: table.finish(),
    }
}

pub(super) fn log(mut table: Table<'_, '_>) -> Log {
    let log = Log {
        format: table.take("format", value::choice(names::LOG_FORMATS), LogFormat::Text),
        level: table.take("level", value::choice(names::LOG_LEVELS), LogLevel::Info),
        sessions: table.take(
            "sessions",
            value::choice(names::LOG_SESSIONS),
            LogSessions::Off,
        ),
    };
    table.finish();
    log
}

pub(super) fn resolve(mut table: Table<'_, '_>) -> Resolve {
    let servers = table.take("servers", value::list(value::dns_server), Vec::new());
    let resolve = Resolve {
        servers: values(servers),
        names: table.take("names", value::boolean, true),
    };
    table.finish();
    resolve
}

pub(super) fn cluster(mut table: Table<'_, '_>) {
    table.take_later("etcd", value::list(value::text), &Vec::new());
    table.finish();
}

/// `"auto"` or a number.
fn workers(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Option<usize>> {
    if item.value.get_ref().as_str() == Some("auto") {
        return Some(None);
    }
    let number = match item.value.get_ref().as_integer() {
        Some(number) => usize::from_str_radix(number.as_str(), number.radix()).ok(),
        None => None,
    };
    let inside = number.filter(|number| (1..=256).contains(number));
    if inside.is_none() {
        let title = format!(
            "workers = {} is neither \"auto\" nor a number from 1 to 256",
            item.shown()
        );
        let help = "write workers = \"auto\" for one per core, or a number without quotes";
        findings.push(Diagnostic::error(&item.span(), title).help(help));
    }
    inside.map(Some)
}

/// `true`, `false`, or a list of the measures that are taken.
fn sandbox(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<BTreeSet<Measure>> {
    let all = names::MEASURES
        .iter()
        .map(|(word, _)| format!("\"{word}\""));
    let all = all.collect::<Vec<_>>().join(", ");
    if let Some(whole) = item.value.get_ref().as_bool() {
        return Some(match whole {
            true => Measure::ALL.into(),
            false => BTreeSet::new(),
        });
    }
    if item.value.get_ref().as_array().is_none() {
        let title = format!(
            "sandbox = {} is neither true, false nor a list",
            item.shown()
        );
        let help = format!("write sandbox = true, or the measures to take: [{all}]");
        findings.push(Diagnostic::error(&item.span(), title).help(help));
        return None;
    }
    let listed = value::list(value::choice(names::MEASURES))(item, findings)?;
    let taken: BTreeSet<_> = listed.iter().map(|each| *each.get_ref()).collect();
    for measure in &listed {
        let needs = measure.get_ref().needs_no_new_privileges();
        if needs && !taken.contains(&Measure::NoNewPrivileges) {
            let title = format!(
                "sandbox: \"{}\" is not to be had without \"{}\"",
                measure.get_ref().label(),
                Measure::NoNewPrivileges.label()
            );
            let why = "the kernel takes it only of a process that has given up new privileges: else it could be used \
                       against programs that have them";
            let help = format!("add \"{}\" to the list", Measure::NoNewPrivileges.label());
            findings.push(
                Diagnostic::error(&measure.span(), title)
                    .why(why)
                    .help(help),
            );
        }
    }
    Some(taken)
}

/// `"off"`, `"unix:PATH"` or a loopback address with a port.
fn admin(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Admin> {
    const HELP: &str = "write \"unix:/run/pinfold/admin.sock\", \"127.0.0.1:9061\" or \"off\"";
    let Some(text) = item.value.get_ref().as_str() else {
        let title = format!("admin = {} is no address of the admin API", item.shown());
        findings.push(Diagnostic::error(&item.span(), title).help(HELP));
        return None;
    };
    if text == "off" {
        return Some(Admin::Off);
    }
    let refuse = |what: String| {
        Diagnostic::error(&item.span(), format!("admin = {} {what}", show_text(text)))
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let socket = view::socket_path(path).map(Admin::Unix);
        if socket.is_none() {
            findings.push(refuse(view::NO_SOCKET_PATH.to_owned()).help(HELP));
        }
        return socket;
    }
    match text.parse::<SocketAddr>().map(value::plain_socket) {
        Ok(address) if address.ip().is_loopback() => Some(Admin::Tcp(address)),
        Ok(_) => {
            let why = "whoever reaches the admin API can cut every session";
            findings.push(
                refuse("is not a loopback address".to_owned())
                    .why(why)
                    .help(HELP),
            );
            None
        }
        Err(_) => {
            findings.push(refuse("is no address of the admin API".to_owned()).help(HELP));
            None
        }
    }
}
