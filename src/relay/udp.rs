//! The life of UDP flows: a datagram arrives, is placed, and goes on; so does every answer.
//!
//! Owns the flows of one socket of one worker. A flow is a session in all that an administrator sees of it (listed,
//! counted, drained, cut, adopted), but no task: one loop moves the datagrams of all of them, a batch at a time, a
//! second one hears what the worker has to say to each, and a third one the clock. Where nodes see the clients' own
//! addresses, flows have no sockets, and what their nodes answer comes by [`diverted`]. A datagram that cannot go on is
//! lost, as datagrams are; nothing is kept for later. Flows are not paced: who is held back here would only send again.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::task::spawn_local;

use self::diverted::Answered;
use self::flow::{Flow, Heard, Leg, Refused, Sent};
use self::gathering::Turns;
use self::hearing::Bell;
use super::placing::Failure;
use super::session::outcome_of;
use super::{Context, Policy};
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::net::crowd::{Crowd, Ear};
use crate::net::dial::Refusal;
use crate::net::divert::Diversion;
use crate::pool::flows::{FlowId, FlowTable, Lives};
use crate::sys::datagram::{Batch, Outbox};
use crate::telemetry::outcome::Outcome;

pub mod diverted;
mod flow;
mod gathering;
mod hearing;

/// Who says by what new flows go.
pub trait Entrance {
    /// The policy in force; `None` once the listener is gone, or takes no new flows.
    fn policy(&self) -> Option<Rc<Policy>>;
}

/// The flows of one socket.
pub struct Flows<E> {
    context: Rc<Context>,
    entrance: E,
    socket: UdpSocket,
    /// Where clients send to.
    here: SocketAddr,
    /// That socket, and those towards the nodes.
    crowd: Crowd,
    /// Until somebody serves them.
    ear: Cell<Option<Ear>>,
    /// What speaks to nodes in the clients' names, once a flow needs it.
    diversion: OnceCell<Rc<Diversion>>,
    table: RefCell<FlowTable<Flow>>,
    /// Rung by whoever interrupts a flow.
    bell: Arc<Bell>,
    /// Rings it.
    waker: Waker,
    /// No flow is new any more.
    is_closing: Cell<bool>,
}

impl<E: Entrance + 'static> Flows<E> {
    /// No flows yet at `socket`.
    ///
    /// # Errors
    ///
    /// No descriptor; not on a worker's thread.
    pub fn open(context: &Rc<Context>, socket: UdpSocket, entrance: E) -> io::Result<Rc<Self>> {
        let (crowd, bell) = (Crowd::new()?, Arc::<Bell>::default());
        crowd.add(&socket, CLIENTS)?;
        Ok(Rc::new(Self {
            context: Rc::clone(context),
            entrance,
            here: socket.local_addr()?,
            socket,
            ear: Cell::new(Some(crowd.ear()?)),
            crowd,
            diversion: OnceCell::new(),
            table: RefCell::new(FlowTable::new(LIVES)),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            is_closing: Cell::new(false),
        }))
    }

    /// Who says by what new flows go.
    pub fn entrance(&self) -> &E {
        &self.entrance
    }

    /// Flows that live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves datagrams until the last flow has ended after [`close`](Self::close). Tasks apart, so that a datagram, an
    /// interrupt and the time each wake only whoever they concern.
    pub async fn serve(self: Rc<Self>) {
        let answered: Rc<dyn Answered> = Rc::clone(&self) as _;
        self.context.diverted.tell(&answered);
        let flows = Rc::clone(&self);
        let sockets = spawn_local(async move { flows.serve_sockets().await });
        let flows = Rc::clone(&self);
        let ageing = spawn_local(async move { flows.age().await });
        self.heed().await;
        for task in [sockets, ageing] {
            task.abort();
        }
    }

    /// From here on no flow is new, and when the last one has ended, so has [`serve`](Self::serve).
    pub fn close(&self) {
        self.is_closing.set(true);
        self.bell.ring();
    }

    async fn serve_sockets(&self) {
        let Some(ear) = self.ear.take() else {
            return;
        };
        let (mut up, mut down, mut told) = (Batch::default(), Batch::default(), Vec::new());
        let mut turns = Turns::new(ear);
        // The runtime's own end is this task's, too.
        while turns.next(&mut told).await.is_ok() {
            up.clear();
            for name in &told {
                match *name {
                    CLIENTS => self.serve_clients(&mut up),
                    bits => self.pass_down(FlowId::from_bits(bits), &mut down),
                }
            }
            let passed = up.len() + down.len();
            // A client that is gone, or whose way is full, has lost what it was sent.
            let _ = down.send(&self.socket);
            turns.end(passed, up.is_full());
        }
    }

    /// Takes a batch of what clients say to their nodes.
    fn serve_clients(&self, batch: &mut Batch) {
        // An error of the socket's own is about a datagram that was sent before.
        let _ = batch.receive(&self.socket);
        let mut outbox = Outbox::default();
        for (bytes, client) in batch.iter() {
            self.pass_up(client, bytes, &mut outbox);
        }
        self.send_for_clients(&mut outbox);
    }

    /// Sends what goes to nodes in the clients' names.
    fn send_for_clients(&self, outbox: &mut Outbox<'_>) {
        let Some(diversion) = self.diversion.get().filter(|_| !outbox.is_empty()) else {
            return;
        };
        let mut cut_off = Vec::new();
        outbox.send_as_senders(&diversion.sender, |client, error| {
            if Refusal::of(&error) == Refusal::Node {
                cut_off.push(client);
            }
        });
        // There is no way to the nodes of these: their next datagrams go elsewhere.
        for client in cut_off {
            self.give_up_node(client, None, Failure::Refused);
        }
    }

    /// A datagram of `client` cannot reach its node, or has not reached the one at `node`, which it was sent to in the
    /// client's name: it gets another one.
    fn give_up_node(&self, client: SocketAddr, node: Option<SocketAddr>, how: Failure) -> bool {
        let is_it = |flow: &&Flow| {
            let is_shared = matches!(flow.leg(), Leg::Shared);
            is_shared && node.is_none_or(|node| flow.node() == node)
        };
        let found = {
            let table = self.table.borrow();
            let id = table.find(client);
            let flow = id.and_then(|id| table.get(id)).filter(is_it);
            flow.inspect(|flow| flow.note_unreachable()).and(id)
        };
        found.map(|id| self.replace(id, how)).is_some()
    }

    /// Takes a datagram to the node of its client's flow.
    fn pass_up<'a>(&self, client: SocketAddr, bytes: &'a [u8], outbox: &mut Outbox<'a>) {
        let known = self.table.borrow().find(client);
        let mut next = known.or_else(|| self.admit(client, Vec::new()));
        // A node that is found gone by this very datagram leaves it to the next.
        while let Some(id) = next {
            let mut table = self.table.borrow_mut();
            let Some(flow) = table.get_mut(id) else {
                return;
            };
            next = match flow.send(bytes, outbox) {
                Sent::Gone => {
                    table.touch(id, self.context.sessions.now());
                    None
                }
                Sent::Lost => None,
                Sent::NodeIsGone => {
                    drop(table);
                    self.replace(id, Failure::Refused)
                }
            };
        }
    }

    /// Nobody is at the node of this flow: its client gets another one, from which on its pin may move.
    fn replace(&self, id: FlowId, how: Failure) -> Option<FlowId> {
        let mut flow = self.table.borrow_mut().remove(id)?;
        let (client, refused) = (flow.client(), flow.refused(how));
        flow.end(match how {
            Failure::Refused => Outcome::NodeReset,
            // It may be well: nobody is missed, and no pin is moved, before its probe agrees.
            Failure::Unanswered => Outcome::NodeLost,
        });
        self.admit(client, refused)
    }

    /// Places a client that has no flow, on none of the `refused` nodes.
    fn admit(&self, client: SocketAddr, refused: Vec<Refused>) -> Option<FlowId> {
        let policy = self.entrance.policy().filter(|_| !self.is_closing.get())?;
        if policy.listener.is_transparent() && !self.may_divert(client) {
            return None;
        }
        let config = &policy.listener.config;
        let lives = Lives {
            unanswered: config.first_bytes_timeout,
            answered: config.idle_timeout,
        };
        let flow = self.place(&policy, client, refused)?;
        let mut table = self.table.borrow_mut();
        table.set_lives(lives);
        let (id, displaced) = table.admit(client, flow, self.context.sessions.now());
        debug_assert!(displaced.is_none(), "whoever has a flow is not admitted");
        let flow = table.get(id)?;
        flow.listen_to(&self.waker);
        let is_heard = match flow.leg() {
            Leg::Own(socket) => self.crowd.add(socket, id.to_bits()).is_ok(),
            Leg::Shared => true,
        };
        if is_heard {
            return Some(id);
        }
        let flow = table.remove(id);
        drop(table);
        if let Some(flow) = flow {
            flow.end(Outcome::Shortage);
        }
        None
    }

    /// Whether there are sockets to speak to nodes in the name of such a client.
    fn may_divert(&self, client: SocketAddr) -> bool {
        if self.diversion.get().is_none()
            && let Some(diversion) = self.context.diverted.get(client.is_ipv6())
        {
            let _ = self.diversion.set(diversion);
        }
        self.diversion.get().is_some()
    }

    /// A flow of `client` with a node. Where there is no room, the oldest one that no node has answered makes some.
    fn place(
        &self,
        policy: &Rc<Policy>,
        client: SocketAddr,
        refused: Vec<Refused>,
    ) -> Option<Flow> {
        let client = ClientAddr::new(client);
        let open = |refused| Flow::open(&self.context, policy, client, refused);
        match open(refused.clone()) {
            Ok(flow) => Some(flow),
            Err(Outcome::RefusedLimit | Outcome::Shortage) => {
                let displaced = self.table.borrow_mut().make_room()?;
                displaced.end(Outcome::RefusedLimit);
                open(refused).ok()
            }
            Err(_) => None,
        }
    }

    /// Puts a datagram of the node into `batch`, for its client.
    fn pass_down(&self, id: FlowId, batch: &mut Batch) {
        let mut table = self.table.borrow_mut();
        let Some(flow) = table.get_mut(id) else {
            return;
        };
        match flow.hear(batch) {
            Heard::Answer => table.answer(id, self.context.sessions.now()),
            Heard::Nothing => {}
            Heard::NodeIsGone => {
                drop(table);
                // At once, so that its next datagram is not sent there again.
                let _ = self.replace(id, Failure::Refused);
            }
        }
    }

    /// Ends flows that are interrupted, until the last one after [`close`](Self::close).
    async fn heed(&self) {
        let is_over = || self.is_closing.get() && self.is_empty();
        self.bell
            .rounds(|place| self.heed_from(place), is_over)
            .await;
    }

    /// Ends flows that have lapsed.
    async fn age(&self) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            self.expire();
            if self.is_closing.get() && self.is_empty() {
                self.bell.ring();
            }
        }
    }

    fn expire(&self) {
        let now = Moment::now();
        loop {
            let lapsed = self.table.borrow_mut().expire(now);
            let Some(lapsed) = lapsed else { return };
            lapsed.end(Outcome::Idle);
        }
    }

    /// Ends flows that are interrupted, among those from one place of the table on; the place to go on from.
    fn heed_from(&self, place: usize) -> Option<usize> {
        let mut ended = Vec::new();
        let mut table = self.table.borrow_mut();
        for id in table.ids(place, AT_ONCE) {
            let interrupt = table.get_mut(id).and_then(|flow| flow.heed(&self.waker));
            if let Some(interrupt) = interrupt {
                ended.extend(table.remove(id).map(|flow| (flow, interrupt)));
            }
        }
        let next = place + AT_ONCE;
        let goes_on = next < table.places();
        drop(table);
        for (flow, interrupt) in ended {
            flow.end(outcome_of(interrupt));
        }
        goes_on.then_some(next)
    }
}

/// Before the first policy is known.
const LIVES: Lives = Lives {
    unanswered: Duration::from_secs(10),
    answered: Some(Duration::from_secs(60)),
};

/// Flows that are looked at before others have their turn: some ten microseconds' work.
const AT_ONCE: usize = 256;

/// The name of the clients' socket; no table has a flow of that name.
const CLIENTS: u64 = u64::MAX;

/// How often flows that have lapsed are looked for.
const LOOK: Duration = Duration::from_millis(250);
