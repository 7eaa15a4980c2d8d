//! HAProxy: its configuration.
//!
//! Sources: its configuration manual, sections 3 (`global`), 4 (`option splice-auto`,
//! `splice-request`, `splice-response`, `option redispatch`, `tcp-smart-connect`, `tcp-smart-accept`,
//! and in 3 `tune.pipesize`), 5 (`defer-accept`, `check`, `fastinter`,
//! `observe`, `on-error`, `on-marked-down`, `ssl`, `crt`; session tickets and its cache are on by default).

use std::fmt::Write as _;
use std::process::Command;

use super::{CONFIGURATION, Description, bind, certificates};
use crate::load::Target;
use crate::process::Directory;
use crate::scenario::Listener;

/// What it is told besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tuning {
    /// To splice as it sees fit.
    Auto,
    /// To splice always.
    Forced,
    /// Whatever its manual has for speed: large pipes, accepts deferred until the client speaks, fewer
    /// packets to open a connection.
    Speed,
}

pub(super) fn arguments(command: &mut Command, directory: &Directory) {
    // In the foreground, quiet, one process.
    command.args(["-db", "-q", "-f"]);
    command.arg(directory.file(CONFIGURATION));
}

pub(super) fn configuration(
    description: &Description<'_>,
    targets: &[Target],
    directory: &Directory,
    tuning: Tuning,
) -> String {
    let options = match tuning {
        Tuning::Auto | Tuning::Speed => "    option splice-auto\n",
        Tuning::Forced => "    option splice-request\n    option splice-response\n",
    };
    let (global, defaults) = match tuning {
        Tuning::Auto | Tuning::Forced => ("", ""),
        Tuning::Speed => (
            "    tune.pipesize 524288\n",
            "    option tcp-smart-connect\n    option tcp-smart-accept\n",
        ),
    };
    let mut text = format!(
        "\
global
    nbthread {threads}
    maxconn {sessions}
    maxpipes 64
    ssl-default-bind-options ssl-min-ver TLSv1.2
{global}
defaults
    mode tcp
    timeout connect 1s
    timeout client 2h
    timeout server 2h
    timeout check 250ms
    option redispatch 1
    retries 3
    option clitcpka
    option srvtcpka
{options}{defaults}",
        threads = description.balancer.threads,
        sessions = sessions(description),
    );
    for listener in &description.balancer.listeners {
        let Some(bind) = bind(targets, &listener.name) else {
            continue;
        };
        let _ = write!(
            text,
            "
listen {name}
    bind {bind}{tls}{defer}
    maxconn {max}
    balance leastconn
    stick-table type ip size 200k expire 20m
    stick on src
{check}    default-server check inter 400ms fastinter {FAST_INTERVAL_MS}ms fall 2 rise {rise}
    default-server observe layer4 error-limit 1 on-error mark-down
    default-server on-marked-down shutdown-sessions
",
            name = listener.name,
            tls = tls(listener, directory),
            defer = if tuning == Tuning::Speed && listener.client_speaks_first() {
                " defer-accept"
            } else {
                ""
            },
            max = listener.max_sessions,
            check = check(listener),
            rise = rise(description),
        );
        for (name, address) in description.nodes {
            let _ = writeln!(text, "    server {name} {address}");
        }
    }
    text
}

/// What ends TLS on `listener`.
fn tls(listener: &Listener, directory: &Directory) -> String {
    if listener.terminate.is_none() {
        return String::new();
    }
    let both = certificates::both(directory, &listener.name);
    format!(" ssl crt {}", both.display())
}

/// A hello that a TLS stack must answer, as Pinfold's probe of such a service does. HAProxy's own
/// `ssl-hello-chk` speaks SSL 3.0, which is not answered any more.
fn check(listener: &Listener) -> String {
    if !listener.is_tls() {
        return String::new();
    }
    let hello = client_hello().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!(
        "    option tcp-check
    tcp-check send-binary {hello}
    tcp-check expect rbinary ^1[56]03
"
    )
}

/// What it may hold at once. It refuses to start with more than its descriptors carry, and by itself
/// assumes that a quarter of them splice.
fn sessions(description: &Description<'_>) -> u64 {
    const RESERVED: u64 = 400;
    let listeners = description.balancer.listeners.iter();
    let wanted: u64 = listeners
        .map(|listener| u64::from(listener.max_sessions))
        .sum();
    wanted.min(description.descriptors.saturating_sub(RESERVED) / 2)
}

/// From one check to the next while a server is going down or coming up.
const FAST_INTERVAL_MS: u128 = 50;

/// Good checks in a row before a server is used again, to take as long as Pinfold waits.
fn rise(description: &Description<'_>) -> u128 {
    let wait = description.balancer.return_after.0.as_millis();
    wait.div_ceil(FAST_INTERVAL_MS).max(3)
}

/// A ClientHello of TLS 1.2 (RFC 5246, section 7.4.1.2): four common suites, and the extensions that a
/// server may insist on.
fn client_hello() -> Vec<u8> {
    let record = [0x16, 3, 1, 0, 79, 1, 0, 0, 75];
    let version = [3, 3];
    let random = [0x70; 32];
    let session_and_suites = [0, 0, 8, 0xc0, 0x2f, 0xc0, 0x2b, 0, 0x2f, 0, 0x35];
    let compression = [1, 0];
    let groups = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23];
    let point_formats = [0, 11, 0, 2, 1, 0];
    let signatures = [0, 13, 0, 6, 0, 4, 4, 3, 4, 1];
    [
        &record[..],
        &version,
        &random,
        &session_and_suites,
        &compression,
        &[0, 26],
        &groups,
        &point_formats,
        &signatures,
    ]
    .concat()
}
