//! nginx with its `stream` module: its configuration.
//!
//! Sources: the documentation of ngx_stream_core_module, ngx_stream_proxy_module and
//! ngx_stream_upstream_module, ngx_stream_ssl_module (session tickets are on by default; the cache is as its
//! documentation advises). The open edition has no active health checks: a node counts as failed
//! for `fail_timeout` after `max_fails` failed connects, which its workers tell each other in a `zone`.
//! A node that accepts and says nothing never fails a connect, so it is never found.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::{CONFIGURATION, Description, bind, certificates};
use crate::load::Target;
use crate::process::Directory;

/// Where Debian puts the module; elsewhere it is built in.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) fn arguments(command: &mut Command, directory: &Directory) {
    command.arg("-p").arg(directory.path());
    command.args(["-e", "stderr", "-c"]);
    command.arg(directory.file(CONFIGURATION));
}

pub(super) fn configuration(
    description: &Description<'_>,
    targets: &[Target],
    directory: &Directory,
) -> String {
    let module = if Path::new(MODULE).is_file() {
        format!("load_module {MODULE};\n")
    } else {
        String::new()
    };
    let listeners = &description.balancer.listeners;
    let sessions: u64 = listeners.iter().map(|it| u64::from(it.max_sessions)).sum();
    // Two connections a session, and any worker may get most of them.
    let connections = (2 * sessions + 64).min(description.descriptors);
    // It counts in seconds.
    let return_after = description.balancer.return_after.0;
    let fail_timeout = return_after.as_millis().div_ceil(1000).max(1);
    let mut text = format!(
        "\
{module}daemon off;
worker_processes {threads};
worker_rlimit_nofile {connections};
pid {pid};
error_log stderr crit;
events {{
    worker_connections {connections};
}}
stream {{
    access_log off;
    proxy_connect_timeout 1s;
    proxy_timeout 2h;
    proxy_socket_keepalive on;
",
        threads = description.balancer.threads,
        pid = directory.file("pid").display(),
    );
    for listener in listeners {
        let Some(bind) = bind(targets, &listener.name) else {
            continue;
        };
        let name = &listener.name;
        let _ = writeln!(
            text,
            "    upstream {name} {{\n        zone {name} 64k;\n        hash $remote_addr consistent;"
        );
        for (_, address) in description.nodes {
            let _ = writeln!(
                text,
                "        server {address} max_fails=1 fail_timeout={fail_timeout}s;"
            );
        }
        let options = match listener.service.as_str() {
            "udp" => " udp reuseport",
            // Its stream module cannot defer an accept.
            _ => " reuseport so_keepalive=on",
        };
        let (ssl, tls) = match listener.terminate {
            Some(_) => (" ssl", tls(directory, name)),
            None => ("", String::new()),
        };
        let _ = write!(
            text,
            "    }}
    server {{
        listen {bind}{ssl}{options};
{tls}        proxy_pass {name};
    }}
"
        );
    }
    text.push_str("}\n");
    text
}

/// What ends TLS on the listener `name`.
fn tls(directory: &Directory, name: &str) -> String {
    format!(
        "        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
        ssl_session_timeout 1h;
",
        chain = certificates::chain(directory, name).display(),
        key = certificates::key(directory, name).display(),
    )
}
