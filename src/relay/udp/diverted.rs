//! What nodes answer to clients in whose names they were asked.
//!
//! Owns the sockets of one worker for that, and finds the door to whose flows an answer belongs. The host's rules bring
//! the answers here, and no other datagrams; whether they do is told by one that the worker sends to itself now and
//! then, over the loopback interface only.
//!
//! Invariants: an answer goes to the one flow of its client that has asked its node, or nowhere. What comes as an
//! answer is the node's own word, but what ICMP says may be anybody's.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::flow::Leg;
use super::{Entrance, Flows};
use crate::net::divert::{Diversion, is_delivered_here, loopback};
use crate::net::transparent::{SELF_TEST_PORT, mark, self_test_client_port};
use crate::net::unreachable::Unreachable;
use crate::relay::diversions::{Diversions, State};
use crate::relay::placing::Failure;
use crate::sys::datagram::{BATCH, Batch, Outbox};
use crate::telemetry::outcome::Outcome;

/// The flows of one door, as far as their nodes' answers concern them.
pub trait Answered {
    /// Takes those of a batch that belong to its flows, and marks them.
    fn take(&self, batch: &Batch, taken: &mut [bool]);

    /// A datagram has not arrived; whether it was one of its.
    fn lose(&self, lost: &Unreachable) -> bool;
}

/// The ways of one worker to speak in the names of clients.
pub struct Diverted {
    worker: u8,
    /// For IPv4 and for IPv6, once they are needed.
    ways: [OnceCell<Rc<Way>>; 2],
    wanted: [Cell<bool>; 2],
    /// Weak, so that a door is gone when its last flow is.
    doors: RefCell<Vec<Weak<dyn Answered>>>,
    told: Arc<Diversions>,
}

/// One version of IP.
struct Way {
    diversion: Rc<Diversion>,
    /// The datagram that the worker has sent to itself has come.
    has_come: Cell<bool>,
    comes: Notify,
}

impl fmt::Debug for Diverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diverted")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl Diverted {
    /// No way yet for `worker`; how it fares is `told`.
    #[must_use]
    pub fn new(worker: u8, told: Arc<Diversions>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            ways: Default::default(),
            wanted: Default::default(),
            doors: RefCell::default(),
            told,
        })
    }

    /// By which the host's rules know what this worker sends in the names of clients.
    pub fn mark(&self) -> u32 {
        mark(self.worker)
    }

    /// The sockets for one version of IP, if there are any.
    pub fn get(&self, is_ipv6: bool) -> Option<Rc<Diversion>> {
        let way = self.ways.get(usize::from(is_ipv6))?.get()?;
        Some(Rc::clone(&way.diversion))
    }

    /// From here on sockets for one version of IP are needed: they are opened, and where that fails it is told and
    /// tried again from time to time.
    pub fn want(self: &Rc<Self>, is_ipv6: bool) {
        let Some(is_wanted) = self.wanted.get(usize::from(is_ipv6)) else {
            return;
        };
        if !is_wanted.replace(true) && self.open(is_ipv6).is_none() {
            let this = Rc::clone(self);
            spawn_local(async move {
                while this.open(is_ipv6).is_none() {
                    sleep(TEST_INTERVAL).await;
                }
            });
        }
    }

    fn open(self: &Rc<Self>, is_ipv6: bool) -> Option<()> {
        let way = self.ways.get(usize::from(is_ipv6))?;
        let diversion = match Diversion::open(self.worker, is_ipv6) {
            Ok(diversion) => diversion,
            Err(error) => {
                self.tell_fares(is_ipv6, Err(error));
                return None;
            }
        };
        let diversion = Rc::new(diversion);
        let new = Rc::new(Way {
            diversion,
            has_come: Cell::new(false),
            comes: Notify::new(),
        });
        let _ = way.set(Rc::clone(&new));
        let (this, served) = (Rc::clone(self), Rc::clone(&new));
        spawn_local(async move { this.serve_answers(&served).await });
        let (this, served) = (Rc::clone(self), Rc::clone(&new));
        spawn_local(async move { this.serve_failures(&served).await });
        let this = Rc::clone(self);
        spawn_local(async move { this.test(&new, is_ipv6).await });
        Some(())
    }

    /// Tells how it fares, and logs an error that is news.
    fn tell_fares(&self, is_ipv6: bool, found: io::Result<State>) {
        let state = found.as_ref().map_or_else(State::of, |state| *state);
        let is_news = self.told.tell(self.worker, is_ipv6, state);
        if let Err(error) = found
            && is_news
        {
            tracing::error!(worker = self.worker, %error, "cannot speak to nodes in the names of clients");
        }
    }

    /// From here on `door` is told of answers.
    pub fn tell(&self, door: &Rc<dyn Answered>) {
        let mut doors = self.doors.borrow_mut();
        doors.retain(|door| door.strong_count() > 0);
        doors.push(Rc::downgrade(door));
    }

    async fn serve_answers(&self, way: &Way) {
        let socket = &way.diversion.answers;
        let mut batch = Batch::default();
        while socket.readable().await.is_ok() {
            fill(&mut batch, socket, |batch| batch.receive_diverted(socket));
            let mut taken = [false; BATCH];
            for (place, (_, node, _)) in taken.iter_mut().zip(batch.iter_diverted()) {
                if node.port() == SELF_TEST_PORT && node.ip().is_loopback() {
                    *place = true;
                    way.has_come.set(true);
                    way.comes.notify_one();
                }
            }
            self.hand_out(way, &batch, &mut taken);
            batch.clear();
        }
    }

    /// Gives each answer to the door whose flow it is for. What is for none was asked by a flow that has ended: the two
    /// speak with each other directly, or will.
    fn hand_out(&self, way: &Way, batch: &Batch, taken: &mut [bool]) {
        for door in self.doors.borrow().iter() {
            if taken.iter().take(batch.len()).all(|taken| *taken) {
                return;
            }
            if let Some(door) = door.upgrade() {
                door.take(batch, taken);
            }
        }
        let left = batch
            .iter_diverted()
            .zip(taken)
            .filter(|(_, taken)| !**taken);
        way.diversion
            .release(left.map(|((_, node, client), _)| (client, node)));
    }

    async fn serve_failures(&self, way: &Way) {
        loop {
            match way.diversion.failure().await {
                Ok(lost) => {
                    let doors = self.doors.borrow();
                    let mut doors = doors.iter().filter_map(Weak::upgrade);
                    doors.any(|door| door.lose(&lost));
                }
                // Out of memory, perhaps: what ICMP says is worth no hurry.
                Err(_) => sleep(PATIENCE).await,
            }
        }
    }

    /// Finds out, again and again, whether the host's rules are in force: nobody tells when they are taken away.
    async fn test(&self, way: &Way, is_ipv6: bool) {
        loop {
            let found = match is_delivered_here(is_ipv6) {
                Ok(true) if self.comes_back(way, is_ipv6).await => Ok(State::Works),
                // One datagram may be lost where many come.
                Ok(true) if self.comes_back(way, is_ipv6).await => Ok(State::Works),
                Ok(true) => Ok(State::NoRules),
                Ok(false) => Ok(State::NoRoute),
                Err(error) => Err(error),
            };
            self.tell_fares(is_ipv6, found);
            sleep(TEST_INTERVAL).await;
        }
    }

    /// Whether an answer to a datagram in another's name comes back here.
    async fn comes_back(&self, way: &Way, is_ipv6: bool) -> bool {
        let own = loopback(is_ipv6);
        let client = SocketAddr::new(own, self_test_client_port(self.worker));
        let node = SocketAddr::new(own, SELF_TEST_PORT);
        way.has_come.set(false);
        if way.diversion.test(client, node, TEST).is_err() {
            return false;
        }
        let comes = async {
            while !way.has_come.get() {
                way.comes.notified().await;
            }
        };
        timeout(PATIENCE, comes).await.is_ok()
    }
}

impl<E: Entrance + 'static> Answered for Flows<E> {
    fn take(&self, batch: &Batch, taken: &mut [bool]) {
        let mut outbox = Outbox::default();
        let mut over = Vec::new();
        {
            let mut table = self.table.borrow_mut();
            let answers = batch.iter_diverted().zip(taken);
            for ((bytes, node, client), taken) in answers.filter(|(_, taken)| !**taken) {
                let id = table.find(client);
                let Some((id, flow)) = id.and_then(|id| Some((id, table.get_mut(id)?))) else {
                    continue;
                };
                if !matches!(flow.leg(), Leg::Shared) || flow.node() != node {
                    continue;
                }
                *taken = true;
                if flow.is_stranger_to(bytes) {
                    over.push(id);
                    continue;
                }
                flow.note_answer(bytes.len());
                if flow.is_redirected_by(bytes, self.here) {
                    over.push(id);
                }
                let _ = outbox.add(node, client, bytes);
                table.answer(id, self.context.sessions.now());
            }
        }
        let mut table = self.table.borrow_mut();
        let over: Vec<_> = over.into_iter().filter_map(|id| table.remove(id)).collect();
        drop(table);
        // Before they hear of it: a node may answer their next datagrams sooner than this thread goes on.
        if let Some(diversion) = self.diversion.get() {
            diversion.release(over.iter().map(|flow| (flow.client(), flow.node())));
        }
        if !outbox.is_empty() {
            outbox.send(&self.socket);
        }
        for flow in over {
            flow.end(Outcome::Redirected);
        }
    }

    fn lose(&self, lost: &Unreachable) -> bool {
        self.give_up_node(lost.from, Some(lost.to), Failure::Unanswered)
    }
}

/// Has `receive` fill a batch from a socket that is said to be readable, and the runtime know whether it still is.
fn fill(batch: &mut Batch, socket: &UdpSocket, receive: impl FnOnce(&mut Batch) -> io::Result<()>) {
    let received = socket.try_io(Interest::READABLE, || {
        receive(batch)?;
        // A batch that is not full has emptied the socket; whatever came since is told anew.
        match batch.is_full() {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    // An error of the socket's own is about a datagram that was sent before.
    let _ = received;
}

/// What is sent to see whether it comes back. Whoever looks at the wire finds out by whom.
const TEST: &[u8] = b"pinfold: are the host's rules in force?";
/// The loopback interface takes no time; a worker may.
const PATIENCE: Duration = Duration::from_secs(1);
const TEST_INTERVAL: Duration = Duration::from_secs(5);
