//! Pinfold: its configuration, and its admin socket.
//!
//! Everything is as shipped except `return_after`, the kind of a probe and the ending of TLS, which a scenario may
//! set.

use std::fmt::Write as _;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::{CONFIGURATION, Description, bind, certificates};
use crate::http;
use crate::load::Target;
use crate::process::{Directory, wait_until};
use crate::scenario::{Generation, Probe};

const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// Two values that differ without a difference, for reloads.
const DRAIN_TIMEOUTS: [&str; 2] = ["10m", "601s"];

pub(super) fn arguments(command: &mut Command, directory: &Directory) {
    command.args(["serve", "--config"]);
    command.arg(directory.file(CONFIGURATION));
}

pub(super) fn configuration(
    description: &Description<'_>,
    targets: &[Target],
    directory: &Directory,
    reloads: u32,
) -> String {
    let mut text = format!(
        r#"version = 1

[server]
workers = {threads}
admin = "unix:{admin}"
state_dir = "{state}"
drain_timeout = "{drain_timeout}"

[[pool]]
name = "edge"
return_after = "{return_after}ms"
"#,
        threads = description.balancer.threads,
        admin = directory.file(ADMIN).display(),
        state = directory.path().display(),
        drain_timeout = DRAIN_TIMEOUTS[(reloads % 2) as usize],
        return_after = description.balancer.return_after.0.as_millis(),
    );
    for (name, address) in description.nodes {
        let _ = write!(
            text,
            "\n[[pool.node]]\nname = \"{name}\"\naddress = \"{address}\"\n"
        );
    }
    for listener in &description.balancer.listeners {
        let Some(bind) = bind(targets, &listener.name) else {
            continue;
        };
        let _ = write!(
            text,
            r#"
[[listener]]
name = "{name}"
bind = "{bind}"
service = "{service}"
pool = "edge"
max_sessions = {max}
"#,
            name = listener.name,
            service = listener.service,
            max = listener.max_sessions,
        );
        if listener.terminate.is_some() {
            let _ = write!(
                text,
                "mode = \"terminate\"\n[listener.tls]\ncertificates = [{{ chain = \"{}\", key = \"{}\" }}]\n",
                certificates::chain(directory, &listener.name).display(),
                certificates::key(directory, &listener.name).display(),
            );
        }
        if let Some(Probe::TurnAllocate) = listener.probe {
            text.push_str("[listener.probe]\nkind = \"turn-allocate\"\n");
        }
    }
    for partner in description.partners {
        let generation = match partner.generation {
            Generation::Ocs2007 => "ocs-2007",
            Generation::Lync2013 => "lync-2013",
        };
        let _ = write!(
            text,
            "\n[[partner]]\nname = \"{}\"\naddresses = [\"{}/32\"]\ngeneration = \"{generation}\"\n",
            partner.name, partner.address
        );
    }
    text
}

/// Whether it would serve a client.
pub(super) fn is_ready(directory: &Directory) -> bool {
    http::get(&directory.file(ADMIN), "/ready").is_ok_and(|answer| answer.status == 200)
}

/// Waits until that many reloads are in force.
pub(super) fn wait_for_reload(directory: &Directory, reloads: u32) -> io::Result<()> {
    let wanted = u64::from(reloads) + 1;
    let in_force = wait_until(RELOAD_LIMIT, || {
        let status = http::get(&directory.file(ADMIN), "/v1/status").ok()?;
        let revision = status.json().ok()?.get("revision")?.as_u64()?;
        (revision >= wanted).then_some(())
    });
    in_force.ok_or_else(|| io::Error::other("a reload did not come into force"))
}

const ADMIN: &str = "admin.sock";
