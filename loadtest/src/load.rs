//! The loads of a scenario at work, on a thread of their own.
//!
//! Owns that thread and how the kinds of load are started; each kind is a file. A load knows the
//! addresses it goes to and nothing of who answers there. Whatever has a rate is sent when its time
//! has come, answered or not, and its latency counts from that time, so that a stalled balancer
//! cannot hide the messages it delayed.

mod agenda;
mod bulk;
mod client;
mod connects;
mod flood;
mod idle;
mod latency;
mod pace;
mod partners;
mod record;
mod round_trips;
mod talk;
#[cfg(test)]
mod tests;
mod udp_flows;
mod users;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use rustls::ClientConfig;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

pub use self::latency::Latency;
pub use self::partners::{Gap, Life};
pub use self::record::{Ends, Record, Trouble, Unit};
use crate::scenario::{Load, Scenario};
use crate::tls::{Resumption, measured_client};

/// Where the loads go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of the listener.
    pub listener: String,
    /// Its addresses: one, or several where clients choose for themselves.
    pub addresses: Vec<SocketAddr>,
}

/// Loads at work; dropping it ends them.
#[derive(Debug)]
pub struct Stage {
    records: Vec<Arc<Record>>,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Starts every load of `scenario`.
    ///
    /// # Errors
    /// No thread or no descriptors for its runtime; a load without a target.
    pub fn open(scenario: &Scenario, targets: &[Target]) -> io::Result<Self> {
        let records: Vec<_> = scenario
            .loads()
            .map(|load| Arc::new(record_of(load)))
            .collect();
        let (close, closed) = oneshot::channel::<()>();
        let (started, start) = sync_channel(1);
        let (scenario, targets) = (scenario.clone(), targets.to_vec());
        let spawned = records.clone();
        let thread = thread::Builder::new()
            .name("loads".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started.send(Err(error))),
                };
                runtime.block_on(async move {
                    let all = scenario
                        .loads()
                        .zip(spawned)
                        .try_for_each(|(load, record)| begin(&scenario, load, &targets, record));
                    let _ = started.send(all);
                    let _ = closed.await;
                });
            })?;
        let stage = Self {
            records,
            close: Some(close),
            thread: Some(thread),
        };
        start.recv().map_err(io::Error::other)??;
        Ok(stage)
    }

    /// What each load has recorded, in the order of [`Scenario::loads`].
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Whether every load has done what comes before its work, such as signing in.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.records.iter().all(|record| record.is_settled())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn record_of(load: Load<'_>) -> Record {
    let unit = match load {
        Load::RoundTrips(_) | Load::Users(_) | Load::Partners(_) => Unit::RoundTrip,
        Load::Bulk(_) => Unit::Byte,
        Load::Connects(_) | Load::Flood(_) => Unit::Connection,
        Load::Idle(_) => Unit::Session,
        Load::UdpFlows(_) => Unit::Packet,
    };
    Record::new(load.name(), unit)
}

/// Where the clients of a load go, and what they speak TLS with if it ends there.
#[derive(Clone, Copy, Debug)]
struct Doors<'a> {
    addresses: &'a [SocketAddr],
    tls: Option<&'a Arc<ClientConfig>>,
}

fn begin(
    scenario: &Scenario,
    load: Load<'_>,
    targets: &[Target],
    record: Arc<Record>,
) -> io::Result<()> {
    let wanted = load.listener();
    let target = targets
        .iter()
        .find(|target| wanted.is_empty() || target.listener == wanted)
        .ok_or_else(|| io::Error::other(format!("nobody serves listener \"{wanted}\"")))?;
    let addresses: Rc<[SocketAddr]> = target.addresses.as_slice().into();
    let termination = scenario.listener_of(load).and_then(|it| it.terminate);
    let tls = termination.map(|it| measured_client(it, Resumption::Off));
    let tls = tls.transpose()?;
    let doors = Doors {
        addresses: &addresses,
        tls: tls.as_ref(),
    };
    match load {
        Load::RoundTrips(plan) => round_trips::begin(plan, doors, record),
        Load::Bulk(plan) => bulk::begin(plan, doors, &record),
        Load::Connects(plan) => connects::begin(plan, &addresses, termination, record),
        Load::Idle(plan) => idle::begin(plan, doors, record),
        Load::Users(plan) => users::begin(plan, doors, record),
        Load::Partners(plan) => partners::begin(plan, &addresses, &record),
        Load::Flood(plan) => flood::begin(plan, &addresses, record),
        Load::UdpFlows(plan) => udp_flows::begin(plan, &addresses, record),
    }
}

/// The address that session `number` calls from: on this machine each has one of its own, as clients
/// have, and elsewhere the system chooses.
fn source(number: u32, target: SocketAddr) -> Option<IpAddr> {
    const HOSTS: u32 = 250;
    if !matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
        return None;
    }
    let byte = |value: u32| u8::try_from(value % HOSTS + 1).unwrap_or(1);
    let (last, third, second) = (
        byte(number),
        byte(number / HOSTS),
        byte(number / HOSTS / HOSTS),
    );
    Some(Ipv4Addr::new(127, second.max(1), third, last).into())
}

/// The address that session `number` goes to.
fn pick(addresses: &[SocketAddr], number: u32) -> io::Result<SocketAddr> {
    let at = (number as usize).checked_rem(addresses.len());
    at.and_then(|at| addresses.get(at).copied())
        .ok_or_else(|| io::Error::other("a listener without an address"))
}
