//! Which addresses are listened on, and what a reload changes about that.
//!
//! Invariants: an unchanged address is never reopened; whatever can fail is done before anything is
//! changed. A UDP address that a reload has given up is kept while flows may come to their end over it, and lets nobody
//! new in: so a reload that brings it back does not find it taken by this very process.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Bound;
use super::error::StartError;
use crate::clock::Moment;
use crate::config::model::{self, Config, SpeaksFirst, WhenNoNode};
use crate::net::listen::{self, Listening, Local, Transport};
use crate::net::options::{LegOptions, ListenOptions};
use crate::snapshot::Snapshot;
use crate::worker::Order;

/// All addresses.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// What was bound at the start and waits for the first verdicts.
    pub(super) prepared: Option<Prepared>,
    open: Vec<Door>,
    /// Given up, and not closed before the moment.
    suspended: Vec<(Door, Moment)>,
    workers: usize,
}

#[derive(Clone, Debug)]
struct Door {
    listener: String,
    configured: Local,
    local: Local,
    options: ListenOptions,
    is_open: bool,
    closes_without_node: bool,
}

/// What is to become of the doors; the sockets that were bound for it close when it is dropped.
#[derive(Debug)]
pub(super) struct Prepared {
    doors: Vec<Door>,
    opened: Vec<(Local, Vec<Listening>)>,
    retired: Vec<Local>,
    adjusted: Vec<(Local, ListenOptions)>,
}

impl Doors {
    /// All of `config`, bound and not yet open.
    pub(super) fn begin(workers: usize, config: &Config) -> Result<Self, StartError> {
        let doors = Self {
            workers,
            ..Self::default()
        };
        let prepared = doors.prepare(config)?;
        Ok(Self {
            prepared: Some(prepared),
            ..doors
        })
    }

    /// Binds what is new in `config`. Nothing that serves has changed when this fails.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, StartError> {
        let mut prepared = Prepared {
            doors: Vec::new(),
            opened: Vec::new(),
            retired: Vec::new(),
            adjusted: Vec::new(),
        };
        for listener in &config.listeners {
            for configured in locals(listener) {
                let options = options(config, listener);
                let door = match self.known(config, listener, configured) {
                    Some(known) => {
                        if known.options != options {
                            prepared.adjusted.push((known.local, options));
                        }
                        Door {
                            listener: listener.name.clone(),
                            options,
                            ..known.clone()
                        }
                    }
                    None => self.bind(listener, configured, options, &mut prepared.opened)?,
                };
                // A datagram that comes in vain is no refusal that anybody sees.
                let closes_without_node = listener.when_no_node == WhenNoNode::Refuse
                    && configured.transport == Transport::Tcp;
                prepared.doors.push(Door {
                    closes_without_node,
                    ..door
                });
            }
        }
        let is_kept = |local| prepared.doors.iter().any(|door| door.local == local);
        let gone = self
            .open
            .iter()
            .map(|door| door.local)
            .filter(|local| !is_kept(*local));
        prepared.retired = gone.collect();
        Ok(prepared)
    }

    /// The door that serves `configured` already: this listener's own, or one of a listener that
    /// gives it up in the same reload.
    fn known(
        &self,
        config: &Config,
        listener: &model::Listener,
        configured: Local,
    ) -> Option<&Door> {
        let same = |door: &&Door| [door.configured, door.local].contains(&configured);
        let own = self
            .open
            .iter()
            .filter(same)
            .find(|door| door.listener == listener.name);
        let suspended = || {
            let doors = self.suspended.iter().map(|(door, _)| door);
            doors.filter(|_| configured.address.port() != 0)
        };
        own.or_else(|| suspended().find(same)).or_else(|| {
            let others = self
                .open
                .iter()
                .filter(same)
                .filter(|_| configured.address.port() != 0);
            others.into_iter().find(|door| {
                let holder = config
                    .listeners
                    .iter()
                    .find(|other| other.name == door.listener);
                holder.is_none_or(|holder| locals(holder).all(|other| other != configured))
            })
        })
    }

    fn bind(
        &self,
        listener: &model::Listener,
        configured: Local,
        options: ListenOptions,
        opened: &mut Vec<(Local, Vec<Listening>)>,
    ) -> Result<Door, StartError> {
        let group = listen::bind(configured, self.workers, &options).map_err(|cause| {
            let listener = listener.name.clone();
            StartError::Listen {
                address: configured.address,
                listener,
                cause,
            }
        })?;
        opened.push((group.local, group.sockets));
        Ok(Door {
            listener: listener.name.clone(),
            configured,
            local: group.local,
            options,
            is_open: true,
            closes_without_node: false,
        })
    }

    /// Puts `prepared` in force: from here on nothing fails.
    pub(super) async fn commit(
        &mut self,
        prepared: Prepared,
        snapshot: &Snapshot,
        workers: &[mpsc::Sender<Order>],
    ) {
        for (local, sockets) in prepared.opened {
            let door = prepared.doors.iter().find(|door| door.local == local);
            let listener = door.map_or(0, |door| number(snapshot, &door.listener));
            hand_out(workers, listener, local, sockets).await;
        }
        for door in &prepared.doors {
            let before = self.open.iter().find(|before| before.local == door.local);
            let is_it = |(other, _): &mut (Door, Moment)| other.local == door.local;
            let is_resumed = self.suspended.extract_if(.., is_it).count() > 0;
            if is_resumed || before.is_some_and(|before| before.listener != door.listener) {
                let listener = number(snapshot, &door.listener);
                tell(workers, || Order::Reassign {
                    local: door.local,
                    listener,
                })
                .await;
            }
        }
        for (local, options) in prepared.adjusted {
            tell(workers, || Order::Adjust { local, options }).await;
        }
        let until = Moment::now() + snapshot.config.server.drain_timeout + SETTLING;
        for local in prepared.retired {
            if local.transport == Transport::Udp {
                tell(workers, || Order::Suspend { local }).await;
                let given_up = self.open.iter().filter(|door| door.local == local);
                self.suspended
                    .extend(given_up.map(|door| (door.clone(), until)));
            } else {
                tell(workers, || Order::Retire { local }).await;
            }
        }
        self.open = prepared.doors;
    }

    /// Closes what was given up once no flow may be left.
    pub(super) async fn sweep(&mut self, now: Moment, workers: &[mpsc::Sender<Order>]) {
        let is_over = |(_, until): &mut (Door, Moment)| *until <= now;
        for (door, _) in self.suspended.extract_if(.., is_over) {
            tell(workers, || Order::Retire { local: door.local }).await;
        }
    }

    /// Closes the doors of listeners without a node, where they are to refuse, and opens them again.
    pub(super) async fn follow(
        &mut self,
        without_node: &[std::sync::Arc<str>],
        snapshot: &Snapshot,
        workers: &[mpsc::Sender<Order>],
    ) {
        for door in self
            .open
            .iter_mut()
            .filter(|door| door.closes_without_node || !door.is_open)
        {
            let is_without = without_node.iter().any(|name| **name == *door.listener);
            let is_wanted = !(is_without && door.closes_without_node);
            if door.is_open == is_wanted {
                continue;
            }
            let local = door.local;
            let address = local.address;
            if !is_wanted {
                tracing::warn!(listener = door.listener, %address, "listener-closed: no node is up");
                tell(workers, || Order::Retire { local }).await;
                door.is_open = false;
                continue;
            }
            match listen::bind(local, self.workers, &door.options) {
                Ok(group) => {
                    let listener = number(snapshot, &door.listener);
                    hand_out(workers, listener, local, group.sockets).await;
                    tracing::info!(listener = door.listener, %address, "listener-opened");
                    door.is_open = true;
                }
                Err(error) => {
                    tracing::error!(listener = door.listener, %address, %error, "cannot listen again");
                }
            }
        }
    }

    /// Closes every door.
    pub(super) async fn close(&mut self, workers: &[mpsc::Sender<Order>]) {
        let suspended = std::mem::take(&mut self.suspended).into_iter();
        let open = std::mem::take(&mut self.open).into_iter();
        for door in open.chain(suspended.map(|(door, _)| door)) {
            tell(workers, || Order::Retire { local: door.local }).await;
        }
    }

    pub(super) fn bound(&self) -> Vec<Bound> {
        let bound = |door: &Door| Bound {
            listener: door.listener.clone(),
            address: door.local.address,
            is_open: door.is_open,
        };
        self.open.iter().map(bound).collect()
    }
}

/// After the last flow was to end.
const SETTLING: Duration = Duration::from_secs(1);

/// Gives each worker its socket of an address.
async fn hand_out(
    workers: &[mpsc::Sender<Order>],
    listener: u32,
    local: Local,
    sockets: Vec<Listening>,
) {
    for (worker, socket) in workers.iter().zip(sockets) {
        let order = Order::Listen {
            listener,
            local,
            socket,
        };
        let _ = worker.send(order).await;
    }
}

pub(super) async fn tell(workers: &[mpsc::Sender<Order>], order: impl Fn() -> Order) {
    for worker in workers {
        // A worker that has ended is noticed by the heartbeat.
        let _ = worker.send(order()).await;
    }
}

fn number(snapshot: &Snapshot, listener: &str) -> u32 {
    let mut listeners = snapshot.listeners.iter();
    listeners
        .find(|known| known.config.name == listener)
        .map_or(0, |known| known.state.number)
}

/// Where a listener's clients come to.
fn locals(listener: &model::Listener) -> impl Iterator<Item = Local> {
    let transport = match listener.service.is_udp() {
        true => Transport::Udp,
        false => Transport::Tcp,
    };
    let binds = listener.bind.iter().copied();
    binds.map(move |address| Local { transport, address })
}

fn options(config: &Config, listener: &model::Listener) -> ListenOptions {
    ListenOptions {
        leg: LegOptions::from(listener),
        defer_accept: listener.speaks_first == SpeaksFirst::Client,
        freebind: config.server.freebind,
    }
}
