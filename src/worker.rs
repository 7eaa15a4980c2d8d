//! Workers: one thread for each core, which accepts and relays and does nothing else.
//!
//! Owns the threads and what each keeps to itself. A worker learns of the world by [`Order`]s and by
//! the published snapshot; it knows neither control nor governor. It never reads a file and never
//! waits for another thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::door::Door;
use self::naming::Naming;
use self::policies::Policies;
use crate::clock::Moment;
use crate::config::model::LogSessions;
use crate::net::listen::{Listening, Local};
use crate::net::options::ListenOptions;
use crate::pool::pins::{PinKey, PinTable};
use crate::pool::placement::PlacementKey;
use crate::relay::Context;
use crate::relay::diversions::Diversions;
use crate::relay::names::Names;
use crate::relay::pump::Gear;
use crate::relay::recognition::Recognition;
use crate::relay::report::Reports;
use crate::relay::session::{Concerned, EndpointNumber, Interrupt, Session, Sessions, Survey};
use crate::relay::udp::diverted::Diverted;
use crate::relay::wheel::TICK;
use crate::snapshot::{Capacity, Snapshot};
use crate::sys;
use crate::telemetry::log::Limiter;

mod door;
mod naming;
mod policies;

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Accept on this socket, for the listener with this number.
    Listen {
        /// The listener.
        listener: u32,
        /// The address, by which later orders name the socket.
        local: Local,
        /// Bound.
        socket: Listening,
    },
    /// The socket at this address belongs to another listener from here on.
    Reassign {
        /// The address.
        local: Local,
        /// The new listener.
        listener: u32,
    },
    /// The socket at this address has other options from here on.
    Adjust {
        /// The address.
        local: Local,
        /// The options.
        options: ListenOptions,
    },
    /// Let nobody new in by this socket, over which flows come to their end, until it is reassigned or retired.
    Suspend {
        /// The address.
        local: Local,
    },
    /// Empty the queue of this socket and close it.
    Retire {
        /// The address.
        local: Local,
    },
    /// Interrupt sessions, partners first.
    Interrupt {
        /// Whose.
        of: Whose,
        /// With what.
        with: Interrupt,
    },
    /// Count a partner's sessions that are not where it is pinned, and perhaps interrupt them.
    Gather {
        /// Whose, and where they belong.
        strays: Arc<Strays>,
        /// Where the number goes.
        answer: mpsc::Sender<Concerned>,
    },
    /// Interrupt a few of the sessions of some endpoints, with [`Interrupt::Drained`], partners first.
    Thin {
        /// The endpoints.
        endpoints: Arc<[EndpointNumber]>,
        /// At most so many.
        most: usize,
        /// Where their number goes.
        answer: mpsc::Sender<Concerned>,
    },
    /// Tell what sessions are doing.
    Survey {
        /// Which.
        of: Surveyed,
        /// Where the answer goes.
        answer: mpsc::Sender<Survey>,
    },
    /// Tell how many sessions each partner has with some endpoints.
    Census {
        /// The endpoints.
        endpoints: Arc<[EndpointNumber]>,
        /// Where the answer goes.
        answer: mpsc::Sender<HashMap<Arc<str>, usize>>,
    },
    /// Tell where a partner's sessions are, and what they are doing.
    Locate {
        /// The partner's name.
        partner: Arc<str>,
        /// Where the answer goes.
        answer: mpsc::Sender<HashMap<EndpointNumber, Survey>>,
    },
    /// A snapshot was published: let the old one go, and look whose the sessions are by it.
    Refresh,
    /// A certificate has told whose an address is: look whose the sessions are.
    Recognise,
    /// End, once the sessions have ended.
    Finish,
}

/// Which sessions are asked about.
#[derive(Clone, Debug)]
pub enum Surveyed {
    /// Those of an endpoint.
    Endpoint(EndpointNumber),
    /// Those of a partner.
    Partner(Arc<str>),
}

/// Sessions of a partner that are elsewhere than it is pinned.
#[derive(Debug)]
pub struct Strays {
    /// The partner's name.
    pub partner: Arc<str>,
    /// The listeners whose pin it is.
    pub listeners: Vec<u32>,
    /// Where they are.
    pub at: Astray,
    /// Whether they are interrupted, with [`Interrupt::Moved`].
    pub are_ended: bool,
}

/// Where sessions are that do not belong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Astray {
    /// Elsewhere than here.
    OutOf(Vec<EndpointNumber>),
    /// Here.
    On(Vec<EndpointNumber>),
}

impl Astray {
    fn is_at(&self, endpoint: EndpointNumber) -> bool {
        match self {
            Self::OutOf(home) => endpoint != 0 && !home.contains(&endpoint),
            Self::On(left) => left.contains(&endpoint),
        }
    }
}

impl Strays {
    /// Those of a partner whose pin `key` is and names `node`.
    #[must_use]
    pub fn of(snapshot: &Snapshot, key: &PinKey, node: &str, are_ended: bool) -> Self {
        let scope = snapshot.scope(&key.scope);
        let listeners = scope.into_iter().flat_map(|scope| &scope.listeners);
        let seats = listeners.flat_map(|listener| &listener.nodes);
        let home = seats.filter(|seat| *seat.endpoint.node == *node);
        let home = home.map(|seat| seat.endpoint.number).collect();
        Self::at(Astray::OutOf(home), snapshot, key, are_ended)
    }

    /// Those of a partner that are on `node`, which it is to leave, also where that was before it moved. What it
    /// has on a node that the file has removed is not meant.
    #[must_use]
    pub fn leaving(snapshot: &Snapshot, key: &PinKey, node: &str, are_ended: bool) -> Self {
        let members = snapshot.groups.iter().flat_map(|group| &group.members);
        let endpoints = members.map(|member| &member.endpoint);
        let left = endpoints.filter(|each| *each.node == *node && each.pool == key.scope.pool);
        let left = left.map(|endpoint| endpoint.number).collect();
        Self::at(Astray::On(left), snapshot, key, are_ended)
    }

    fn at(at: Astray, snapshot: &Snapshot, key: &PinKey, are_ended: bool) -> Self {
        let scope = snapshot.scope(&key.scope);
        let listeners = scope.into_iter().flat_map(|scope| &scope.listeners);
        Self {
            partner: key.subject.to_string().into(),
            listeners: listeners.map(|each| each.state.number).collect(),
            at,
            are_ended,
        }
    }
}

/// Which sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of an endpoint.
    Endpoint(EndpointNumber),
    /// Those of a listener.
    Listener(u32),
    /// All.
    All,
}

/// What a worker is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The published snapshot.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The pins of the process.
    pub pins: Arc<PinTable>,
    /// Key of placement.
    pub key: Arc<PlacementKey>,
    /// Room for sessions in the process.
    pub capacity: Arc<Capacity>,
    /// Whether workers can speak in the names of clients.
    pub diversions: Arc<Diversions>,
    /// To the governor.
    pub reports: Reports,
    /// What is learned of clients.
    pub recognition: Arc<Recognition>,
    /// How many workers there are.
    pub workers: usize,
    /// Pipes that this worker may lend.
    pub pipes: usize,
}

/// A running worker, as others see it.
#[derive(Debug)]
pub struct Worker {
    orders: mpsc::Sender<Order>,
    pulse: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts worker `number`.
    ///
    /// # Errors
    ///
    /// No thread, or no descriptors for its runtime.
    pub fn start(number: usize, setup: Setup) -> io::Result<Self> {
        let (orders, mailbox) = mpsc::channel(ORDERS_MAX);
        let pulse = Arc::new(AtomicU64::new(Moment::now().as_micros()));
        let beat = Arc::clone(&pulse);
        let name = format!("worker-{number}");
        let thread = sys::thread::spawn(&name, move || run(number, setup, mailbox, beat))?;
        Ok(Self {
            orders,
            pulse,
            thread,
        })
    }

    /// Where its orders go.
    #[must_use]
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// When it last ticked.
    #[must_use]
    pub fn pulse(&self) -> Moment {
        Moment::from_micros(self.pulse.load(Relaxed))
    }

    /// Whether its thread has ended, by itself or by a panic.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// A failover of every node, reloads of every listener: far fewer orders than this wait at once.
const ORDERS_MAX: usize = 4096;
/// How often a worker gives back the memory that it does not use.
const TIDY: Duration = Duration::from_secs(1);

async fn run(
    number: usize,
    setup: Setup,
    mut mailbox: mpsc::Receiver<Order>,
    pulse: Arc<AtomicU64>,
) {
    let sessions = Rc::new(Sessions::new(Moment::now()));
    let context = Rc::new(Context {
        worker: number,
        workers: setup.workers,
        gear: Gear::new(0, setup.pipes),
        sessions: Rc::clone(&sessions),
        names: Names::default(),
        pins: setup.pins,
        key: setup.key,
        source_turn: Cell::new(number),
        diverted: Diverted::new(u8::try_from(number).unwrap_or(u8::MAX), setup.diversions),
        capacity: setup.capacity,
        reports: setup.reports,
        recognition: setup.recognition,
        log_sessions: Cell::new(LogSessions::Off),
        refusals: Limiter::default(),
        moves: Limiter::default(),
        disagreements: Limiter::default(),
        suspicions: Limiter::default(),
        handshakes: Limiter::default(),
    });
    let policies = Rc::new(Policies::new(setup.snapshot, &context));
    let mut floor = Floor {
        naming: Rc::new(Naming::new(&context)),
        context,
        policies,
        doors: RefCell::default(),
        is_finishing: false,
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidied = Moment::now();
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {
                let now = Moment::now();
                pulse.store(now.as_micros(), Relaxed);
                sessions.tick(now);
                if now.since(tidied) >= TIDY {
                    tidied = now;
                    sys::memory::give_back();
                }
            }
            order = mailbox.recv() => match order {
                Some(order) => floor.obey(order),
                None => return,
            },
        }
        if floor.is_finishing && sessions.is_empty() {
            return;
        }
    }
}

fn opened_or_told(opened: io::Result<Door>, local: Local) -> Option<(Local, Door)> {
    if let Err(error) = &opened {
        tracing::error!(address = %local.address, %error, "cannot accept");
    }
    Some((local, opened.ok()?))
}

/// Does something at the door of an address, where there is one.
fn at(doors: &HashMap<Local, Door>, local: Local, act: impl FnOnce(&Door)) {
    if let Some(door) = doors.get(&local) {
        act(door);
    }
}

/// Where a worker's clients come in.
struct Floor {
    context: Rc<Context>,
    policies: Rc<Policies>,
    naming: Rc<Naming>,
    doors: RefCell<HashMap<Local, Door>>,
    is_finishing: bool,
}

impl Floor {
    fn obey(&mut self, order: Order) {
        let mut doors = self.doors.borrow_mut();
        match order {
            Order::Listen {
                listener,
                local,
                socket,
            } => {
                let opened = Door::open(&self.context, &self.policies, listener, socket);
                doors.extend(opened_or_told(opened, local));
            }
            Order::Reassign { local, listener } => {
                at(&doors, local, |door| door.reassign(listener));
            }
            Order::Adjust { local, options } => {
                at(&doors, local, |door| door.adjust(&options));
            }
            Order::Suspend { local } => at(&doors, local, Door::suspend),
            Order::Retire { local } => {
                if let Some(door) = doors.remove(&local) {
                    door.close();
                }
            }
            Order::Interrupt { of, with } => self.interrupt(of, with),
            Order::Gather { strays, answer } => {
                // It has room for an answer of each worker; whoever asked may have gone.
                let _ = answer.try_send(self.gather(&strays));
            }
            Order::Thin {
                endpoints,
                most,
                answer,
            } => {
                let is_there = |session: &Session| endpoints.contains(&session.endpoint());
                let sessions = &self.context.sessions;
                let _ = answer.try_send(sessions.thin(Interrupt::Drained, most, is_there));
            }
            Order::Survey { of, answer } => {
                let _ = answer.try_send(self.context.sessions.survey(|session| match &of {
                    Surveyed::Endpoint(number) => session.endpoint() == *number,
                    Surveyed::Partner(name) => session.is_of(name),
                }));
            }
            Order::Census { endpoints, answer } => {
                let is_there = |session: &Session| endpoints.contains(&session.endpoint());
                let _ = answer.try_send(self.context.sessions.census(is_there));
            }
            Order::Locate { partner, answer } => {
                let is_its = |session: &Session| session.is_of(&partner);
                let _ = answer.try_send(self.context.sessions.survey_by_endpoint(is_its));
            }
            Order::Refresh => {
                self.policies.refresh();
                self.naming.look();
            }
            Order::Recognise => {
                self.context.names.renew();
                self.naming.look();
            }
            Order::Finish => {
                for (_, door) in doors.drain() {
                    door.close();
                }
                self.is_finishing = true;
            }
        }
    }

    fn gather(&self, strays: &Strays) -> Concerned {
        let is_stray = |session: &Session| {
            session.is_of(&strays.partner)
                && strays.listeners.contains(&session.listener)
                && strays.at.is_at(session.endpoint())
        };
        let sessions = &self.context.sessions;
        if strays.are_ended {
            sessions.interrupt(Interrupt::Moved, is_stray)
        } else {
            sessions.count(is_stray)
        }
    }

    fn interrupt(&self, of: Whose, with: Interrupt) {
        self.context.sessions.interrupt(with, |session| match of {
            Whose::Endpoint(number) => session.endpoint() == number,
            Whose::Listener(number) => session.listener == number,
            Whose::All => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::pool::placement::Subject;
    use crate::snapshot::Registry;

    fn config(nodes: &[u8]) -> Arc<crate::config::model::Config> {
        let mut text = "version = 1\n[[pool]]\nname = \"edge\"\n".to_owned();
        for node in nodes {
            text +=
                &format!("[[pool.node]]\nname = \"edge{node}\"\naddress = \"198.51.100.{node}\"\n");
        }
        text += "[[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\n\
                 pool = \"edge\"\n";
        Arc::new(parse("a", &text).unwrap().config)
    }

    #[test]
    fn who_leaves_a_node_is_not_ended_on_one_that_was_removed() {
        let mut registry = Registry::new(1);
        let before = registry.build(&config(&[1, 2, 3]));
        let place = |snapshot: &Snapshot, node: &str| {
            let seat = snapshot.listeners[0].seat(node).unwrap();
            seat.endpoint.number
        };
        // A session keeps the third, which the file has no more.
        let removed = Arc::clone(&before.listeners[0].seat("edge3").unwrap().endpoint);
        removed.slot(0).sessions.add(1);
        let after = registry.build(&config(&[1, 2]));
        let key = PinKey::new(
            &after.listeners[0].pin_scope,
            Subject::Partner("fabrikam".into()),
        );
        let leaving = Strays::leaving(&after, &key, "edge1", true);
        let is_ended = |number| leaving.at.is_at(number);
        assert!(is_ended(place(&after, "edge1")));
        assert!(!is_ended(place(&after, "edge2")));
        assert!(!is_ended(removed.number) && !is_ended(0));

        // Whoever is pinned elsewhere is a stray on it.
        let strays = Strays::of(&after, &key, "edge2", true);
        let numbers = [place(&after, "edge1"), removed.number, 0];
        assert_eq!(
            numbers.map(|number| strays.at.is_at(number)),
            [true, true, false]
        );
        drop(before);
    }
}
