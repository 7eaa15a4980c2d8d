//! `pinfold status --check`: one line for Nagios, Icinga, Checkmk and their like.
//!
//! The plug-in's contract: `OK`, `WARNING`, `CRITICAL` or `UNKNOWN`, a sentence, figures after `|`, and the
//! exit codes 0 to 3 (Monitoring Plugins Development Guidelines, "Plugin Return Codes", "Performance data").

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::failure::Failure;
use super::table::count;
use super::{Daemon, client, output};
use crate::control::admin::answers::{Severity, Status};

/// Says how things stand; whatever keeps it from knowing is `UNKNOWN`.
pub(super) fn check(daemon: &Daemon) -> Result<ExitCode, Failure> {
    let status = client::get(daemon, "/v1/status");
    let status = status.and_then(|json| client::read(daemon, &json));
    let (code, line) = match status {
        Ok(status) => judge(&status),
        Err(failure) => (
            UNKNOWN,
            format!("UNKNOWN - {}", plain(&failure.to_string())),
        ),
    };
    output::print(&(line + "\n"))?;
    Ok(ExitCode::from(code))
}

fn judge(status: &Status) -> (u8, String) {
    let worst = status.alarms.iter().map(|alarm| alarm.severity).max();
    let (code, word) = match worst {
        None => (0, "OK"),
        Some(Severity::Warning) => (1, "WARNING"),
        Some(Severity::Critical) => (2, "CRITICAL"),
    };
    let nodes = Count::of(status);
    let mut says: Vec<_> = status
        .alarms
        .iter()
        .take(SAID_MAX)
        .map(|alarm| plain(&alarm.text))
        .collect();
    if status.alarms.len() > SAID_MAX {
        let more = status.alarms.len() - SAID_MAX;
        says.push(format!("and {more} more, see pinfold status"));
    }
    if says.is_empty() {
        let listeners = count(status.listeners.len() as u64, "listener");
        says.push(format!(
            "{listeners}, {} of {} nodes up",
            nodes.up, nodes.all
        ));
    }
    let sessions: u64 = status.listeners.iter().map(|each| each.sessions).sum();
    let (up, all, awaited) = (nodes.up, nodes.all, status.partners.awaited);
    let figures = format!(
        "sessions={sessions};;;0 nodes_up={up};;;0;{all} nodes={all};;;0 partners_not_back={awaited};;;0"
    );
    (code, format!("{word} - {} | {figures}", says.join("; ")))
}

/// How many nodes there are, and how many are up wherever they are asked.
struct Count {
    up: usize,
    all: usize,
}

impl Count {
    fn of(status: &Status) -> Self {
        let mut nodes = BTreeMap::<(&str, &str), bool>::new();
        for listener in &status.listeners {
            for node in &listener.nodes {
                let is_up = nodes.entry((&listener.pool, &node.node)).or_insert(true);
                *is_up &= node.health == "up";
            }
        }
        Self {
            up: nodes.values().filter(|is_up| **is_up).count(),
            all: nodes.len(),
        }
    }
}

/// One line, without the sign at which figures begin.
fn plain(text: &str) -> String {
    let text = text.replace('|', "/").replace('→', "see");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A page has room for that much.
const SAID_MAX: usize = 3;
const UNKNOWN: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn status(alarms: &str) -> Status {
        let node = |name, health| {
            format!(
                r#"{{"node":"{name}","health":"{health}","standing":"takes",
                "since":"2026-12-08T02:14:07Z","sessions":3}}"#
            )
        };
        let listener = |name, nodes: String| {
            format!(
                r#"{{"name":"{name}","service":"access","pool":"edge","bound":[],"open":true,
                "sessions":59,"sessions_total":99,"max_sessions":9,"nodes":[{nodes}]}}"#
            )
        };
        let both = format!("{},{}", node("edge1", "up"), node("edge2", "up"));
        let one = format!("{},{}", node("edge1", "down"), node("edge2", "up"));
        let listeners = format!("{},{}", listener("a", both), listener("b", one));
        let text = format!(
            r#"{{"version":"1","revision":1,"source":"a","started":"2026-12-08T02:14:07Z",
            "uptime_s":1,"ready":true,"not_ready":[],"listeners":[{listeners}],
            "pins":{{"partners":1,"addresses":2,"max":3}},
            "partners":{{"configured":4,"awaited":1}},"last_reload_failure":null,
            "attention":[],"alarms":[{alarms}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn one_line_says_the_worst_and_the_figures() {
        let figures = "sessions=118;;;0 nodes_up=1;;;0;2 nodes=2;;;0 partners_not_back=1;;;0";
        assert_eq!(
            judge(&status("")),
            (0, format!("OK - 2 listeners, 1 of 2 nodes up | {figures}"))
        );
        let down = r#"{"severity":"warning","text":"DOWN edge1: a|b. → pinfold probe edge1"}"#;
        assert_eq!(
            judge(&status(down)),
            (
                1,
                format!("WARNING - DOWN edge1: a/b. see pinfold probe edge1 | {figures}")
            )
        );
        let nobody = r#"{"severity":"critical","text":"NO NODE\nof pool edge"}"#;
        let many = [nobody, down, down, down, down].join(",");
        let (code, line) = judge(&status(&many));
        assert_eq!(code, 2);
        assert!(
            line.starts_with("CRITICAL - NO NODE of pool edge; DOWN"),
            "{line}"
        );
        assert!(
            line.contains("; and 2 more, see pinfold status | "),
            "{line}"
        );
        assert_eq!(line.matches('|').count(), 1);
        assert_eq!(line.lines().count(), 1);
    }
}
