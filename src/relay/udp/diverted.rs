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
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::net::divert::{Diversion, is_delivered_here, loopback};
use crate::net::transparent::{SELF_TEST_PORT, self_test_client_port};
use crate::net::unreachable::Unreachable;
use crate::relay::diversions::{Diversions, State};
use crate::sys::datagram::{BATCH, Batch};

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
            doors: RefCell::default(),
            told,
        })
    }

    /// The sockets for one version of IP, opened if they are not yet; `None` where they cannot be, which is told, and
    /// tried again whenever they are asked for.
    pub fn open(self: &Rc<Self>, is_ipv6: bool) -> Option<Rc<Diversion>> {
        let way = self.ways.get(usize::from(is_ipv6))?;
        if let Some(way) = way.get() {
            return Some(Rc::clone(&way.diversion));
        }
        let opened = Diversion::open(self.worker, is_ipv6);
        let Ok(diversion) = opened else {
            self.told.tell(self.worker, is_ipv6, State::NotAllowed);
            return None;
        };
        let diversion = Rc::new(diversion);
        let new = Rc::new(Way {
            diversion: Rc::clone(&diversion),
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
        Some(diversion)
    }

    /// From here on `door` is told of answers.
    pub fn tell(&self, door: &Rc<dyn Answered>) {
        let mut doors = self.doors.borrow_mut();
        doors.retain(|door| door.strong_count() > 0);
        doors.push(Rc::downgrade(door));
    }

    fn doors(&self) -> Vec<Rc<dyn Answered>> {
        self.doors
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    async fn serve_answers(&self, way: &Way) {
        let socket = &way.diversion.answers;
        let mut batch = Batch::default();
        while socket.readable().await.is_ok() {
            let _ = socket.try_io(Interest::READABLE, || {
                batch.receive_diverted(socket)?;
                if batch.is_full() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::WouldBlock.into())
                }
            });
            let mut taken = [false; BATCH];
            for (place, (_, node, _)) in taken.iter_mut().zip(batch.iter_diverted()) {
                if node.port() == SELF_TEST_PORT && node.ip().is_loopback() {
                    *place = true;
                    way.has_come.set(true);
                    way.comes.notify_one();
                }
            }
            for door in self.doors() {
                door.take(&batch, &mut taken);
            }
            batch.clear();
        }
    }

    async fn serve_failures(&self, way: &Way) {
        loop {
            match way.diversion.failure().await {
                Ok(lost) => {
                    self.doors().iter().any(|door| door.lose(&lost));
                }
                // Out of memory, perhaps: what ICMP says is worth no hurry.
                Err(_) => sleep(PATIENCE).await,
            }
        }
    }

    /// Finds out, again and again, whether the host's rules are in force: nobody tells when they are taken away.
    async fn test(&self, way: &Way, is_ipv6: bool) {
        loop {
            let state = match is_delivered_here(is_ipv6) {
                Ok(true) if self.comes_back(way, is_ipv6).await => State::Works,
                Ok(true) => State::NoRules,
                Ok(false) => State::NoRoute,
                Err(_) => State::NotAllowed,
            };
            self.told.tell(self.worker, is_ipv6, state);
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

/// What is sent to see whether it comes back. Whoever looks at the wire finds out by whom.
const TEST: &[u8] = b"pinfold: are the host's rules in force?";
/// The loopback interface takes no time; a worker may.
const PATIENCE: Duration = Duration::from_secs(1);
const TEST_INTERVAL: Duration = Duration::from_secs(5);
