//! Many quiet sessions, which count how often somebody disturbed them.
//!
//! Owns the bystanders of a measurement: each says a line now and then and expects the same node
//! to answer on the same connection for ever. An end, or an answer from elsewhere, is a
//! disturbance, charged to the node the session was on; afterwards the session starts anew.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::partner::connect;

/// Longest answer that is listened to.
const ANSWER_MAX: u64 = 4096;

/// What the sessions do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom they call.
    pub address: SocketAddr,
    /// How many there are.
    pub sessions: usize,
    /// Mean time between two lines of one session.
    pub interval: Duration,
    /// Pause before a disturbed or refused session tries again.
    pub retry_delay: Duration,
    /// Addresses they call from, in turn; empty: the system chooses.
    pub sources: Vec<IpAddr>,
}

impl Plan {
    /// `sessions` that say a line each second and come back after 50 ms.
    #[must_use]
    pub const fn new(address: SocketAddr, sessions: usize) -> Self {
        Self {
            address,
            sessions,
            interval: Duration::from_secs(1),
            retry_delay: Duration::from_millis(50),
            sources: Vec::new(),
        }
    }
}

/// A view of all sessions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions that stand and have been answered, by node.
    pub established: BTreeMap<String, usize>,
    /// Disturbances so far, by the node the session was on before.
    pub disturbed: BTreeMap<String, u64>,
    /// How many of the disturbances were an answer from another node.
    pub moved: u64,
    /// Attempts that ended before their first answer.
    pub failed_attempts: u64,
    /// Good answers.
    pub replies: u64,
}

impl Stats {
    /// Sessions that stand, over all nodes.
    #[must_use]
    pub fn standing(&self) -> usize {
        self.established.values().sum()
    }

    /// Disturbances of sessions that were not on `node`.
    #[must_use]
    pub fn disturbed_elsewhere(&self, node: &str) -> u64 {
        let elsewhere = self.disturbed.iter().filter(|(name, _)| *name != node);
        elsewhere.map(|(_, count)| count).sum()
    }
}

/// The sessions at work; dropping it ends them.
#[derive(Debug)]
pub struct Background {
    record: Arc<Record>,
    /// Held because dropping it ends the sessions.
    _sessions: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Record {
    stats: Mutex<Stats>,
    revision: watch::Sender<u64>,
}

impl Background {
    /// Starts all sessions.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let record = Arc::new(Record::default());
        let plan = Arc::new(plan);
        let mut sessions = JoinSet::new();
        for number in 0..plan.sessions {
            sessions.spawn(live(Arc::clone(&plan), Arc::clone(&record), number));
        }
        Self {
            record,
            _sessions: sessions,
        }
    }

    /// What they have lived through so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.record.stats().clone()
    }

    /// Waits until `condition` holds; `None` once `limit` has passed.
    pub async fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&Stats) -> bool,
    ) -> Option<Stats> {
        let mut events = self.record.revision.subscribe();
        let holds = async {
            loop {
                events.borrow_and_update();
                let stats = self.stats();
                if condition(&stats) {
                    return Some(stats);
                }
                events.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, holds).await.ok().flatten()
    }
}

impl Record {
    fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, write: impl FnOnce(&mut Stats)) {
        write(&mut self.stats());
        self.revision.send_modify(|revision| *revision += 1);
    }
}

/// A session that stands; leaving it, even by being dropped, takes it off the count.
struct Standing<'a> {
    record: &'a Record,
    node: String,
}

impl<'a> Standing<'a> {
    fn on(record: &'a Record, node: String) -> Self {
        record.note(|stats| *stats.established.entry(node.clone()).or_default() += 1);
        Self { record, node }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.record.note(|stats| {
            if let Some(count) = stats.established.get_mut(&self.node) {
                *count = count.saturating_sub(1);
            }
        });
    }
}

async fn live(plan: Arc<Plan>, record: Arc<Record>, number: usize) {
    let source = number
        .checked_rem(plan.sources.len())
        .and_then(|at| plan.sources.get(at));
    loop {
        if session(&plan, &record, source.copied()).await.is_err() {
            record.note(|stats| stats.failed_attempts += 1);
        }
        sleep(jittered(plan.retry_delay)).await;
    }
}

/// One session; an error means that it never stood.
async fn session(plan: &Plan, record: &Record, source: Option<IpAddr>) -> io::Result<()> {
    let mut stream = BufReader::new(connect(plan.address, source).await?);
    let node = ask(&mut stream).await?;
    let standing = Standing::on(record, node);
    loop {
        record.note(|stats| stats.replies += 1);
        let moved = tokio::select! {
            () = sleep(jittered(plan.interval)) => match ask(&mut stream).await {
                Ok(node) if node == standing.node => continue,
                Ok(_) => true,
                Err(_) => false,
            },
            // Nothing was asked, so whatever comes is an end.
            _ = stream.fill_buf() => false,
        };
        let node = standing.node.clone();
        drop(standing);
        record.note(|stats| {
            *stats.disturbed.entry(node).or_default() += 1;
            stats.moved += u64::from(moved);
        });
        return Ok(());
    }
}

/// Says a line and tells which node answered it.
async fn ask(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    stream.write_all(b"background\n").await?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_line(&mut answer).await?;
    let node = answer
        .strip_suffix(" background\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(node.to_owned())
}

/// Between half and one and a half of `mean`, so that sessions do not march in step.
fn jittered(mean: Duration) -> Duration {
    mean.mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::SimulatedEdge;

    const SOON: Duration = Duration::from_secs(5);

    async fn edge(name: &str) -> SimulatedEdge {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SimulatedEdge::start(name, any).await.unwrap()
    }

    fn plan(address: SocketAddr) -> Plan {
        let mut plan = Plan::new(address, 20);
        plan.interval = Duration::from_millis(20);
        plan.retry_delay = Duration::from_millis(5);
        plan
    }

    #[tokio::test]
    async fn quiet_sessions_are_counted_and_never_disturbed() {
        let edge = edge("edge1").await;
        let mut plan = plan(edge.address());
        plan.sources = vec![
            Ipv4Addr::new(127, 1, 0, 1).into(),
            Ipv4Addr::new(127, 1, 0, 2).into(),
        ];
        let background = Background::start(plan);
        let stats = background
            .wait_for(SOON, |stats| stats.replies >= 60)
            .await
            .unwrap();
        assert_eq!((stats.standing(), stats.failed_attempts), (20, 0));
        assert!(stats.disturbed.is_empty());
        assert_eq!(edge.counters().accepted, 20);
    }

    #[tokio::test]
    async fn each_session_on_a_killed_node_is_one_disturbance_charged_to_it() {
        let edge = edge("edge1").await;
        let background = Background::start(plan(edge.address()));
        background
            .wait_for(SOON, |stats| stats.standing() == 20)
            .await
            .unwrap();
        edge.kill().await;
        let failed = |stats: &Stats| stats.failed_attempts >= 20;
        let stats = background.wait_for(SOON, failed).await.unwrap();
        assert_eq!(stats.disturbed.get("edge1"), Some(&20));
        assert_eq!((stats.standing(), stats.moved), (0, 0));
        assert_eq!(
            (
                stats.disturbed_elsewhere("edge1"),
                stats.disturbed_elsewhere("x")
            ),
            (0, 20)
        );
        edge.revive().await.unwrap();
        background
            .wait_for(SOON, |stats| stats.standing() == 20)
            .await
            .unwrap();
    }
}
