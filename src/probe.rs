//! Asking an endpoint whether it is alive.
//!
//! One call is one question. Owns no schedule and no verdict: `pool::health` does. A question may be
//! told twice: as timed out, and as good when the answer comes late. What else it has brought to light is
//! [`Shown`], and nobody's evidence.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::NodeAddr;
use crate::clock::Moment;
use crate::config::model::{HttpQuestion, Probe, ProbeKind, ProxySend};
use crate::inspect::tls::{Certificate, Version};
use crate::net::dial::Refusal;
use crate::pool::health::{Event, ProbeFailure};
use crate::tls::{self, Finding};

pub use self::datagram::TurnAnswer;

mod datagram;
mod stream;

/// What is asked, and how long an answer is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What.
    pub kind: ProbeKind,
    /// For what, by [`ProbeKind::Http`].
    pub http: Option<Arc<HttpQuestion>>,
    /// In which TLS, or by which the node is looked at; `None`: in clear.
    pub tls: Option<Arc<tls::Client>>,
    /// After this it has failed.
    pub timeout: Duration,
    /// For so long after the timeout a late answer still is a sign of life.
    pub patience: Duration,
    /// Whether the node expects a PROXY header.
    pub proxy_protocol: ProxySend,
    /// The address of this machine that the node sees; `None`: the system chooses.
    pub source: Option<IpAddr>,
}

impl Question {
    /// What `probe` asks of a node that is told by `proxy_protocol` that nobody comes, from `source`.
    #[must_use]
    pub fn of(probe: &Probe, proxy_protocol: ProxySend, source: Option<IpAddr>) -> Self {
        Self {
            kind: probe.kind,
            http: probe.http.clone(),
            tls: probe.tls.clone(),
            timeout: probe.timeout,
            patience: probe.silence + probe.timeout,
            proxy_protocol,
            source,
        }
    }
}

/// What a question has brought to light beside its verdict.
#[derive(Debug, Default)]
pub struct Shown {
    /// The version of TLS that the node chose.
    pub version: Option<Version>,
    /// The node's certificate: of a hello up to TLS 1.2, of a whole handshake always.
    pub certificate: Option<Box<Certificate>>,
    /// What it said to an Allocate without credentials.
    pub turn: Option<TurnAnswer>,
    /// What a whole handshake has shown; `None`: nobody has tried one.
    pub handshake: Option<Result<(), Finding>>,
    /// Why there is no answer, where the system has said so.
    pub error: Option<io::ErrorKind>,
}

/// Asks `address` and tells what comes of it, dated `started`. The answer to a hello goes on with the
/// node's certificate, which is returned once the two have parted; that to an Allocate may come twice.
pub async fn ask(
    question: Question,
    address: NodeAddr,
    started: Moment,
    tell: impl Fn(Event),
) -> Shown {
    let mut answer = Box::pin(answer(&question, address));
    let in_time = tokio::time::timeout(question.timeout, &mut answer).await;
    let result = match in_time {
        Ok(result) => result,
        Err(_) => {
            tell(Event::ProbeFailed {
                started,
                how: ProbeFailure::TimedOut,
            });
            match tokio::time::timeout(question.patience, answer).await {
                // Only a sign of life is worth telling after the failure has been told.
                Ok(Ok(answered)) => Ok(answered),
                Ok(Err(_)) | Err(_) => return Shown::default(),
            }
        }
    };
    match result {
        Ok(answered) => {
            tell(Event::ProbeGood { started });
            let (has_parted, shown) = answered.part().await;
            if has_parted {
                tell(Event::Parted);
            }
            shown
        }
        Err(Unanswered { how, error, .. }) => {
            tell(match how {
                Some(how) => Event::ProbeFailed { started, how },
                None => Event::ProbeVoid { started },
            });
            Shown {
                error,
                ..Shown::default()
            }
        }
    }
}

/// A node that has answered.
enum Answered {
    Stream(stream::Answered),
    Datagram(datagram::Answered),
}

async fn answer(question: &Question, address: NodeAddr) -> Result<Answered, Unanswered> {
    if question.kind == ProbeKind::TurnAllocate {
        let answered = datagram::answer(question, address).await;
        return answered
            .map(Answered::Datagram)
            .map_err(|error| judge(&error));
    }
    stream::answer(question, address)
        .await
        .map(Answered::Stream)
}

impl Answered {
    /// Parts from the node in order. Whether it has parted in turn, and what it has said meanwhile.
    async fn part(self) -> (bool, Shown) {
        match self {
            Self::Stream(answered) => answered.part().await,
            Self::Datagram(answered) => (false, answered.part().await),
        }
    }
}

/// Why a question has no answer.
struct Unanswered {
    /// `None`: for a reason of our own.
    how: Option<ProbeFailure>,
    error: Option<io::ErrorKind>,
    /// What TLS has found, where it was TLS that failed: the node has answered then.
    finding: Option<Finding>,
}

impl Unanswered {
    const WRONG: Self = Self {
        how: Some(ProbeFailure::WrongAnswer),
        error: None,
        finding: None,
    };
}

fn judge(error: &io::Error) -> Unanswered {
    let cause = tls::cause(error);
    if cause.is_some_and(tls::is_no_tls) {
        return Unanswered {
            error: Some(error.kind()),
            ..Unanswered::WRONG
        };
    }
    let how = match Refusal::of(error) {
        Refusal::Node => Some(ProbeFailure::Refused),
        Refusal::Silence => Some(ProbeFailure::TimedOut),
        Refusal::Us => None,
    };
    Unanswered {
        how,
        error: Some(error.kind()),
        finding: cause.map(Finding::of),
    }
}

const FAREWELL_MAX: Duration = Duration::from_millis(500);
