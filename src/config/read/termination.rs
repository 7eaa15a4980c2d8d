//! `mode`, `protocol`, `[listener.tls]`, `[listener.node_tls]`, `[listener.http]` and `[listener.sip]`.
//!
//! The files that they name are read here, so that a key which does not belong to its certificate is a mistake in
//! the configuration, with its place, and a renewed certificate a change of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Http, Protocol, Rate, Service, Sip, Termination};
use crate::config::names::Words;
use crate::config::schema::Section;
use crate::config::source::Span;
use crate::config::table::Table;
use crate::config::value::{self, Item};
use crate::tls::{
    Authorities, Client, ClientAuth, ClientTerms, Credential, Server, ServerTerms, Unusable,
};

/// What is spoken inside TLS, as the file names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Raw,
    Http,
    Sip,
}

const MODES: Words<bool> = &[("passthrough", false), ("terminate", true)];
const PROTOCOLS: Words<Spoken> = &[
    ("raw", Spoken::Raw),
    ("http", Spoken::Http),
    ("sip", Spoken::Sip),
];
const CLIENT_AUTH: Words<ClientAuth> = &[
    ("off", ClientAuth::Off),
    ("request", ClientAuth::Request),
    ("require", ClientAuth::Require),
];
/// Whether TLS 1.2 is spoken beside 1.3.
const MIN_VERSIONS: Words<bool> = &[("1.2", true), ("1.3", false)];
const NODE_MODES: Words<NodeMode> = &[
    ("off", NodeMode::Off),
    ("verify", NodeMode::Verify),
    ("insecure", NodeMode::Insecure),
];

/// Lync 2010 Front Ends expect it under this name (domain.md 1.5).
const COOKIE: &str = "MS-WSMAN";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeMode {
    Off,
    Verify,
    Insecure,
}

/// What the keys `mode` and `protocol` say together; `None`: TLS is passed through.
pub(super) fn spoken(table: &mut Table<'_, '_>, service: Service) -> Option<Spoken> {
    let terminates = table.take("mode", value::choice(MODES), false);
    let protocol = table.take_optional("protocol", value::choice(PROTOCOLS));
    let protocol = protocol.unwrap_or(Spoken::Raw);
    if !terminates {
        if protocol != Spoken::Raw {
            let name = word(protocol);
            let title = format!("protocol = \"{name}\" needs mode = \"terminate\"");
            let why = "what is passed through is encrypted, and nothing of it can be read";
            let help = "write mode = \"terminate\", or remove the line";
            let span = table.span_of("protocol");
            table.error(Diagnostic::error(&span, title).why(why).help(help));
        }
        return None;
    }
    if !(service.speaks_tls() || service == Service::Tcp) {
        let name = service.name();
        let title = format!("mode = \"terminate\" cannot be used on service \"{name}\"");
        let why = "what is spoken there does not begin with TLS";
        let span = table.span_of("mode");
        table.error(
            Diagnostic::error(&span, title)
                .why(why)
                .help("remove the line"),
        );
        return None;
    }
    Some(protocol)
}

fn word(protocol: Spoken) -> &'static str {
    let found = PROTOCOLS.iter().find(|(_, each)| *each == protocol);
    found.map_or("", |&(word, _)| word)
}

/// Reads the four tables of `listener`: how TLS is terminated, where it is, and how it is spoken with nodes.
pub(super) fn termination(
    listener: &mut Table<'_, '_>,
    spoken: Option<Spoken>,
    pins_by_cookie: bool,
) -> (Option<Termination>, Option<Client>) {
    let clients = clients(listener, spoken);
    let nodes = nodes(listener);
    let http = http(listener, spoken, pins_by_cookie);
    let sip = sip(listener, spoken);
    let protocol = spoken.map(|spoken| match spoken {
        Spoken::Raw => Protocol::Raw,
        Spoken::Http => Protocol::Http(http),
        Spoken::Sip => Protocol::Sip(sip),
    });
    let termination = protocol
        .zip(clients)
        .map(|(protocol, clients)| Termination {
            protocol,
            clients,
            nodes: nodes.clone(),
        });
    (termination, nodes)
}

/// `[listener.node_tls]` of `listener` is for nobody.
pub(super) fn warn_of_idle_node_tls(listener: &Table<'_, '_>) {
    let title = "[listener.node_tls] has no effect without mode = \"terminate\", or a probe that speaks TLS";
    let help = "remove it, or write kind = \"tls\" in [listener.probe]";
    let span = listener.span_of("node_tls");
    listener.error(Diagnostic::warning(&span, title).help(help));
}

/// A table that stands there in vain is a mistake that nobody would notice.
fn idle(table: &Table<'_, '_>, is_said: bool, needs: &str) {
    if is_said {
        let header = table.section.header();
        let title = format!("{header} has no effect without {needs}");
        table.error(Diagnostic::warning(table.header(), title));
    }
}

fn clients(listener: &mut Table<'_, '_>, spoken: Option<Spoken>) -> Option<Server> {
    let mut table = listener.table("tls", Section::Tls);
    let inner = table.tables("certificates", Section::TlsCertificate);
    let written = inner.len();
    if spoken.is_none() {
        idle(&table, written > 0, "mode = \"terminate\"");
    }
    let certificates: Vec<Credential> = inner.into_iter().filter_map(certificate).collect();
    let client_auth = table.take("client_auth", value::choice(CLIENT_AUTH), ClientAuth::Off);
    let client_authorities = table.take_optional("client_ca", authorities);
    let speaks_1_2 = table.take("min_version", value::choice(MIN_VERSIONS), true);
    let tickets = table.take("tickets", value::boolean, true);
    match (client_auth, table.sets("client_ca")) {
        (ClientAuth::Off, true) => {
            let title =
                "`client_ca` has no effect without client_auth = \"request\" or \"require\"";
            let span = table.span_of("client_ca");
            table.error(Diagnostic::warning(&span, title));
        }
        (ClientAuth::Request | ClientAuth::Require, false) => {
            let span = table.span_of("client_auth");
            let title = "`client_auth` needs `client_ca`";
            let why = "nobody could tell a good certificate from a bad one";
            let help = "write the file of those who vouch for clients: `client_ca = \"/etc/pinfold/ca.pem\"`";
            table.error(Diagnostic::error(&span, title).why(why).help(help));
        }
        _ => {}
    }
    if spoken.is_some() && written == 0 {
        let title = format!(
            "{} has mode = \"terminate\" and no certificate",
            listener.label()
        );
        let help = "write `certificates = [{ chain = \"/etc/pinfold/a.pem\", key = \"/etc/pinfold/a.key\" }]` in [listener.tls]";
        let diagnostic = Diagnostic::error(&table.span_of("certificates"), title);
        table.error(
            diagnostic
                .why("a server without a certificate cannot answer")
                .help(help),
        );
    }
    let span = table.header().clone();
    let findings = table.findings;
    table.finish();
    if spoken.is_none() || certificates.is_empty() {
        return None;
    }
    let terms = ServerTerms {
        certificates,
        client_auth,
        client_authorities,
        speaks_1_2,
        tickets,
        protocols: match spoken {
            Some(Spoken::Http) => &[b"h2", b"http/1.1"],
            Some(Spoken::Raw | Spoken::Sip) | None => &[],
        },
    };
    joined(Server::new(terms), findings, &span)
}

fn nodes(listener: &mut Table<'_, '_>) -> Option<Client> {
    let mut table = listener.table("node_tls", Section::NodeTls);
    let mode = table.take("mode", value::choice(NODE_MODES), NodeMode::Off);
    let authorities = table.take_optional("ca", authorities);
    let server_name = table.take_optional("server_name", value::domain);
    let inner = table.table("certificate", Section::NodeTlsCertificate);
    let certificate = if inner.is_present() {
        certificate(inner)
    } else {
        inner_keys(inner);
        None
    };
    match mode {
        NodeMode::Off => {
            for key in ["ca", "server_name", "certificate"] {
                if table.sets(key) {
                    let title = format!("`{key}` has no effect with mode = \"off\"");
                    let help = "write mode = \"verify\", or remove the line";
                    let span = table.span_of(key);
                    table.error(Diagnostic::warning(&span, title).help(help));
                }
            }
        }
        NodeMode::Verify => {
            needed(
                &table,
                "ca",
                "the file of those who vouch for the nodes: `ca = \"/etc/pinfold/pool-ca.pem\"`",
            );
            needed(
                &table,
                "server_name",
                "the name that every node's certificate carries: `server_name = \"sip.contoso.com\"`",
            );
        }
        NodeMode::Insecure if table.sets("ca") => {
            let title = "`ca` has no effect with mode = \"insecure\"";
            let span = table.span_of("ca");
            table.error(Diagnostic::warning(&span, title).help("write mode = \"verify\""));
        }
        NodeMode::Insecure => {}
    }
    let span = table.header().clone();
    let findings = table.findings;
    table.finish();
    let authorities = match mode {
        NodeMode::Off => return None,
        NodeMode::Verify => Some(authorities?),
        NodeMode::Insecure => None,
    };
    let terms = ClientTerms {
        authorities,
        server_name,
        certificate,
        protocols: &[],
    };
    joined(Client::new(terms), findings, &span)
}

fn needed(table: &Table<'_, '_>, key: &'static str, write: &str) {
    if !table.sets(key) {
        let title = format!("[listener.node_tls] mode = \"verify\" needs `{key}`");
        let why = "nodes are dialled by address, and an address proves nothing";
        let help = format!("write {write}; or mode = \"insecure\"");
        let span = table.span_of("mode");
        table.error(Diagnostic::error(&span, title).why(why).help(help));
    }
}

fn joined<T>(result: Result<T, rustls::Error>, findings: &Findings<'_>, span: &Span) -> Option<T> {
    let refuse = |error: &rustls::Error| {
        findings.push(Diagnostic::error(
            span,
            format!("these settings of TLS do not fit together: {error}"),
        ));
    };
    result.inspect_err(refuse).ok()
}

/// Reads the pair of files that `table` names.
fn certificate(mut table: Table<'_, '_>) -> Option<Credential> {
    let (chain, key) = pair(&mut table);
    let loaded = match (chain, key) {
        (Some(chain), Some(key)) => {
            table.findings.reads(&chain);
            table.findings.reads(&key);
            let refuse = |unusable: Vec<Unusable>| {
                for each in unusable {
                    let is_key = each.file == key && each.file != chain;
                    let span = table.span_of(if is_key { "key" } else { "chain" });
                    table.error(refusal(&span, &each));
                }
            };
            Credential::load(&chain, &key).map_err(refuse).ok()
        }
        _ => None,
    };
    table.finish();
    loaded
}

/// What a table knows that is not there.
fn inner_keys(mut table: Table<'_, '_>) {
    pair(&mut table);
    table.finish();
}

fn pair(table: &mut Table<'_, '_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let chain = "write `chain = \"/etc/pinfold/a.pem\"`";
    let key = "write `key = \"/etc/pinfold/a.key\"`";
    (
        table.take_required("chain", value::path, chain),
        table.take_required("key", value::path, key),
    )
}

fn authorities(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<Authorities> {
    let path = value::path(item, findings)?;
    findings.reads(&path);
    let refuse = |unusable: &Unusable| findings.push(refusal(&item.span(), unusable));
    Authorities::load(&path).inspect_err(refuse).ok()
}

fn refusal(span: &Span, unusable: &Unusable) -> Diagnostic {
    Diagnostic::error(span, unusable.to_string()).help(unusable.remedy())
}

fn http(listener: &mut Table<'_, '_>, spoken: Option<Spoken>, pins_by_cookie: bool) -> Http {
    let mut table = listener.table("http", Section::Http);
    let cookie = table.take("cookie", value::text_or_empty, COOKIE.to_owned());
    let request_timeout = table.take("request_timeout", value::positive, REQUEST_TIMEOUT);
    if spoken != Some(Spoken::Http) {
        let is_said = cookie != COOKIE || request_timeout != REQUEST_TIMEOUT;
        idle(&table, is_said, "protocol = \"http\"");
    }
    let http = Http {
        cookie: Some(cookie).filter(|name| pins_by_cookie && !name.is_empty()),
        request_timeout,
    };
    table.finish();
    http
}

fn sip(listener: &mut Table<'_, '_>, spoken: Option<Spoken>) -> Sip {
    let mut table = listener.table("sip", Section::Sip);
    let default = Sip {
        discovered_rate: Some(Rate {
            count: 20,
            per: Duration::from_secs(1),
        }),
        max_body: 5_000_000,
    };
    let sip = Sip {
        discovered_rate: table.take(
            "discovered_rate",
            value::rate_or_off,
            default.discovered_rate,
        ),
        max_body: table.take("max_body", value::bytes(1, 1 << 30), default.max_body),
    };
    if spoken != Some(Spoken::Sip) {
        idle(&table, sip != default, "protocol = \"sip\"");
    }
    table.finish();
    sip
}
