//! `/v1/nodes/{node}/probe`: every service of a node, asked once and now.
//!
//! Asks as the governor does, with the listener's own settings, and tells nobody else: it is no evidence
//! and changes no health. On a thread of its own, so that control does not wait; few at once.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::answers::{NodeCertificate, Probed, ProbedPool, ProbedService};
use super::refusal::Refusal;
use super::status::{certificate, names, round, tls_fault, turn};
use crate::addr::NodeAddr;
use crate::clock::Moment;
use crate::config::model::ProbeKind;
use crate::control::Shared;
use crate::governor::{Fault, GroupView, View};
use crate::inspect::tls::{Certificate, Version};
use crate::pool::health::{Event, ProbeFailure};
use crate::probe::{self, Question, Shown, TurnAnswer};
use crate::snapshot::{GroupPlan, MemberPlan, Snapshot};
use crate::sys;
use crate::tls::Finding;

/// Asks every service of `node` now.
pub(super) async fn probe(
    shared: &Shared,
    view: &View,
    node: &str,
    pool: Option<&str>,
) -> Result<Probed, Refusal> {
    let snapshot = shared.snapshot.load_full();
    let asked = services(&snapshot, node, pool);
    if asked.is_empty() {
        return Err(Refusal::unknown_node(&snapshot, node, pool));
    }
    let at = round(Timestamp::now());
    let questions: Vec<_> = asked.iter().map(|each| each.question.clone()).collect();
    let heard = ask_all(questions).await?;
    let services: Vec<_> = asked
        .iter()
        .zip(heard)
        .map(|(asked, heard)| asked.describe(node, view, &heard))
        .collect();
    let is_asked = |each: &&ProbedService| each.result != NOT_ASKED;
    let mut results = services.iter().filter(is_asked).peekable();
    Ok(Probed {
        node: node.into(),
        at,
        all_answered: results.peek().is_some() && results.all(|each| each.result == ANSWERED),
        pools: pools(shared, &snapshot, node, pool),
        services,
    })
}

/// One question, and who asks so.
struct Asked {
    question: (NodeAddr, Question),
    /// Where clients are relayed to.
    served: NodeAddr,
    pools: Vec<Arc<str>>,
    listeners: Vec<Arc<str>>,
}

/// Each address and kind of probe once.
fn services(snapshot: &Snapshot, node: &str, pool: Option<&str>) -> Vec<Asked> {
    let mut services: Vec<Asked> = Vec::new();
    let groups = snapshot.groups.iter();
    for group in groups.filter(|group| pool.is_none_or(|pool| *group.key.pool == *pool)) {
        let is_it = |member: &&MemberPlan| *member.endpoint.node == *node && !member.is_removed;
        let Some(member) = group.members.iter().find(is_it) else {
            continue;
        };
        let asks_so = |known: &&mut Asked| {
            let (address, question) = &known.question;
            *address == member.probed
                && question.kind == group.probe.kind
                && question.http == group.probe.http
                && question.tls == group.probe.tls
                && question.proxy_protocol == group.proxy_protocol
                // Where the answer tells of an address, it must be this one.
                && (question.kind != ProbeKind::TurnAllocate
                    || known.served == member.endpoint.address)
        };
        if let Some(known) = services.iter_mut().find(asks_so) {
            known.listeners.extend(group.listeners.iter().cloned());
            if !known.pools.contains(&group.key.pool) {
                known.pools.push(Arc::clone(&group.key.pool));
            }
            continue;
        }
        services.push(Asked {
            question: (member.probed, question(group, member.probed.socket().ip())),
            served: member.endpoint.address,
            pools: vec![Arc::clone(&group.key.pool)],
            listeners: group.listeners.clone(),
        });
    }
    services
}

fn question(group: &GroupPlan, node: IpAddr) -> Question {
    let mut alike = group.sources.iter().copied();
    let source = alike.find(|own| own.is_ipv4() == node.is_ipv4());
    Question::of(&group.probe, group.proxy_protocol, source)
}

/// What was heard of one question.
#[derive(Clone, Debug)]
struct Heard {
    result: &'static str,
    after: Option<Duration>,
    error: Option<io::ErrorKind>,
    version: Option<Version>,
    certificate: Option<Certificate>,
    turn: Option<TurnAnswer>,
    finding: Option<Finding>,
}

/// Asks side by side, on a thread of its own.
async fn ask_all(questions: Vec<(NodeAddr, Question)>) -> Result<Vec<Heard>, Refusal> {
    let busy = || {
        let error = "too many nodes are being probed at this moment: try again";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    };
    let place = timeout(LONGEST, RUNNING.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(busy());
    };
    let (answer, answered) = oneshot::channel();
    let started = sys::thread::spawn("probe", move || async move {
        let at_once = Rc::new(Semaphore::new(AT_ONCE));
        let tasks: Vec<_> = questions
            .into_iter()
            .map(|(address, question)| {
                let at_once = Rc::clone(&at_once);
                spawn_local(async move {
                    let _turn = at_once.acquire().await;
                    ask(address, question).await
                })
            })
            .collect();
        let mut heard = Vec::with_capacity(tasks.len());
        for task in tasks {
            heard.push(task.await.unwrap_or_else(|_| Heard::plain(FAILED)));
        }
        let _ = answer.send(heard);
    });
    if let Err(error) = started {
        let error = format!("no thread to ask from ({error}): try again");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error));
    }
    answered
        .await
        .map_err(|_| Refusal::silent("the thread that asks"))
}

async fn ask(address: NodeAddr, question: Question) -> Heard {
    if question.kind == ProbeKind::None {
        return Heard::plain(NOT_ASKED);
    }
    let started = Moment::now();
    let told = RefCell::new(Vec::new());
    let tell = |event| {
        told.borrow_mut()
            .push((event, Moment::now().since(started)))
    };
    let shown = timeout(LONGEST, probe::ask(question, address, started, tell)).await;
    Heard::of(&told.into_inner(), shown.unwrap_or_default())
}

impl Heard {
    const fn plain(result: &'static str) -> Self {
        Self {
            result,
            after: None,
            error: None,
            version: None,
            certificate: None,
            turn: None,
            finding: None,
        }
    }

    fn of(told: &[(Event, Duration)], shown: Shown) -> Self {
        let good = told
            .iter()
            .find(|(event, _)| matches!(event, Event::ProbeGood { .. }));
        let (result, after) = match (told.first(), good) {
            (Some((Event::ProbeGood { .. }, after)), _) => (ANSWERED, Some(*after)),
            (Some((Event::ProbeFailed { how, .. }, after)), late) => match how {
                ProbeFailure::TimedOut => (TIMED_OUT, late.map(|(_, after)| *after)),
                ProbeFailure::WrongAnswer => ("wrong-answer", Some(*after)),
                ProbeFailure::Refused => (refusal(shown.error), Some(*after)),
            },
            (Some((Event::ProbeVoid { .. }, _)), _) => (FAILED, None),
            _ => (TIMED_OUT, None),
        };
        Self {
            result,
            after,
            error: shown.error,
            version: shown.version,
            certificate: shown.certificate.map(|shown| *shown),
            turn: shown.turn,
            finding: shown.handshake.and_then(Result::err),
        }
    }
}

/// What the patch night wants to know: is the service not started, or is the way to it broken?
const fn refusal(error: Option<io::ErrorKind>) -> &'static str {
    match error {
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => "unreachable",
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "reset",
        _ => "refused",
    }
}

impl Asked {
    fn describe(&self, node: &str, view: &View, heard: &Heard) -> ProbedService {
        let (address, question) = &self.question;
        let shown = heard.certificate.as_ref();
        ProbedService {
            pools: names(&self.pools),
            listeners: names(&self.listeners),
            address: address.to_string(),
            probe: question.kind.name().into(),
            result: heard.result.into(),
            millis: heard.after.map(millis),
            timeout_ms: millis(question.timeout),
            error: heard.error.map(|kind| kind.to_string()),
            tls: heard.version.map(|version| version.label().into()),
            certificate: shown.map(|shown| self.compare(node, view, shown)),
            turn: heard.turn.map(|answer| {
                let fault = Fault::of(&answer, self.served);
                turn(&answer, fault, self.served)
            }),
            tls_fault: heard.finding.as_ref().map(tls_fault),
        }
    }

    /// A certificate, beside what the others that are asked alike last showed.
    fn compare(&self, node: &str, view: &View, shown: &Certificate) -> NodeCertificate {
        let ours = |group: &&GroupView| {
            let mut listeners = group.listeners.iter();
            listeners.any(|listener| self.listeners.contains(listener))
        };
        let others = view.groups.iter().filter(ours);
        let mut others = others
            .flat_map(|group| &group.endpoints)
            .filter(|each| *each.endpoint.node != *node)
            .filter_map(|each| each.certificate.as_ref());
        let same =
            |other: &Arc<Certificate>| (other.key, other.not_after) == (shown.key, shown.not_after);
        certificate(shown, others.all(same))
    }
}

/// What the administrator, or else the file, wants of the node.
fn pools(shared: &Shared, snapshot: &Snapshot, node: &str, pool: Option<&str>) -> Vec<ProbedPool> {
    let administered = shared.administered.load();
    let pools = snapshot.config.pools.iter();
    let pools = pools.filter(|known| pool.is_none_or(|pool| known.name == pool));
    pools
        .filter_map(|known| {
            let configured = known.nodes.iter().find(|each| each.name == node)?;
            let word = administered
                .iter()
                .find(|word| word.pool == known.name && word.node == node);
            let state = word.map_or(configured.state, |word| word.state.into());
            Some(ProbedPool {
                name: known.name.clone(),
                state: state.name().into(),
            })
        })
        .collect()
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

const ANSWERED: &str = "answered";
const TIMED_OUT: &str = "timed-out";
const NOT_ASKED: &str = "not-asked";
const FAILED: &str = "failed";

/// Requests that ask nodes at this moment.
static RUNNING: Semaphore = Semaphore::const_new(4);
/// Questions of one request at once: each has a descriptor.
const AT_ONCE: usize = 64;
/// Whatever a listener's `timeout` and `silence` are, an administrator waits no longer.
const LONGEST: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(events: &[(Event, u64)], error: Option<io::ErrorKind>) -> (&'static str, Option<u64>) {
        let events: Vec<_> = events
            .iter()
            .map(|(event, at)| (*event, Duration::from_millis(*at)))
            .collect();
        let shown = Shown {
            error,
            ..Shown::default()
        };
        let heard = Heard::of(&events, shown);
        let after = heard.after.map(|after| after.as_millis());
        (
            heard.result,
            after.map(|after| u64::try_from(after).unwrap()),
        )
    }

    #[test]
    fn what_came_of_a_question_is_told_apart() {
        let started = Moment::START;
        let good = Event::ProbeGood { started };
        let failed = |how| Event::ProbeFailed { started, how };
        let late = failed(ProbeFailure::TimedOut);
        let refused = failed(ProbeFailure::Refused);
        let parted = (Event::Parted, 9);
        assert_eq!(heard(&[(good, 3), parted], None), ("answered", Some(3)));
        assert_eq!(heard(&[(late, 250)], None), ("timed-out", None));
        assert_eq!(
            heard(&[(late, 250), (good, 700)], None),
            ("timed-out", Some(700))
        );
        assert_eq!(heard(&[], None), ("timed-out", None), "given up");
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, "refused"),
            (io::ErrorKind::ConnectionReset, "reset"),
            (io::ErrorKind::HostUnreachable, "unreachable"),
        ] {
            assert_eq!(heard(&[(refused, 1)], Some(kind)).0, expected);
        }
        let wrong = failed(ProbeFailure::WrongAnswer);
        assert_eq!(heard(&[(wrong, 2)], None), ("wrong-answer", Some(2)));
        assert_eq!(
            heard(&[(Event::ProbeVoid { started }, 2)], None).0,
            "failed"
        );
    }
}
