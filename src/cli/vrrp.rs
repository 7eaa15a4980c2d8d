//! `pinfold vrrp-check`: whether this appliance should have the VIPs, for the track script of keepalived.
//!
//! keepalived runs it every second, so it asks no more than it must, answers within a second whatever the daemon
//! does, and writes nothing but one line.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::StatusCode;

use super::failure::Failure;
use super::{Daemon, client, output};
use crate::control::admin::answers::Refused;

/// Whether clients can be served: all of them, or those of `pool` and of `listeners`.
pub(super) fn check(
    daemon: &Daemon,
    pool: Option<&str>,
    listeners: &[String],
) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let mut reasons = Vec::new();
    for path in questions(pool, listeners) {
        let left = LIMIT.saturating_sub(begun.elapsed());
        match client::look(daemon, &path, left) {
            Ok((status, body)) => reasons.extend(judge(status, &body)),
            Err(Failure::NoDaemon { cause, .. }) if is_stuck(&cause) => {
                let limit = LIMIT.as_secs_f32();
                reasons.push(format!("{} does not answer within {limit} s", daemon.admin));
                break;
            }
            Err(Failure::Strange { what, .. }) => reasons.push(what),
            Err(failure) => return Err(failure),
        }
    }
    let (code, line) = match reasons.as_slice() {
        [] => (0, "ready".to_owned()),
        reasons => (1, format!("not ready: {}", reasons.join("; "))),
    };
    output::print(&(line + "\n"))?;
    Ok(ExitCode::from(code))
}

/// What is asked of the daemon, such that an address of `view` answers it as well.
fn questions(pool: Option<&str>, listeners: &[String]) -> Vec<String> {
    let of_pool = pool.map(|pool| client::with_query("/ready", &[("pool", Some(pool))]));
    let of_listeners = listeners
        .iter()
        .map(|listener| format!("/ready/{}", client::escape(listener)));
    let mut questions: Vec<_> = of_pool.into_iter().chain(of_listeners).collect();
    if questions.is_empty() {
        questions.push("/ready".to_owned());
    }
    questions
}

/// Why clients cannot be served, in words without line breaks.
fn judge(status: StatusCode, body: &str) -> Vec<String> {
    if status.is_success() {
        return Vec::new();
    }
    if let Ok(refused) = serde_json::from_str::<Refused>(body) {
        return vec![refused.error];
    }
    let reasons: Vec<_> = body.lines().map(str::to_owned).collect();
    match reasons.is_empty() {
        true => vec![format!("status {status}")],
        false => reasons,
    }
}

/// Whether somebody is there, and too busy or too stuck to answer. unix(7): EAGAIN where its queue is full.
fn is_stuck(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// keepalived takes what is late for a failure, and the next run comes a second after this one.
const LIMIT: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_narrows_to_what_is_named() {
        let listeners = ["federation".to_owned(), "a/b".to_owned()];
        assert_eq!(questions(None, &[]), ["/ready"]);
        assert_eq!(questions(Some("edge 1"), &[]), ["/ready?pool=edge%201"]);
        assert_eq!(
            questions(Some("edge"), &listeners),
            ["/ready?pool=edge", "/ready/federation", "/ready/a%2Fb"]
        );
    }

    #[test]
    fn every_reason_is_told_on_one_line() {
        let of = |status, body| judge(StatusCode::from_u16(status).unwrap(), body);
        assert_eq!(of(200, "ready\n"), Vec::<String>::new());
        assert_eq!(of(503, "a\nb\n"), ["a", "b"]);
        assert_eq!(
            of(404, r#"{"error":"there is no listener"}"#),
            ["there is no listener"]
        );
        assert_eq!(of(500, ""), ["status 500 Internal Server Error"]);
    }
}
