//! Moving bytes both ways until a session ends.
//!
//! Adaptive, because measured: small messages are cheapest read into one buffer that the whole worker
//! shares and written out at once; bulk is cheapest through a pipe. A read that fills the buffer
//! promotes its direction to splicing, once its bytes need not be looked at any more; a run of small
//! ones brings it back. Invariants: a direction that waits for its source holds neither memory nor pipe;
//! what a slow reader leaves unsent, or unsent and encrypted, is counted, and its direction reads no
//! more; with neither memory nor pipe to be had, bytes are only taken from the source once the sink has
//! taken them, or where one of them speaks TLS a few, once the sink has room.
//!
//! Does not decide what an end means: see `tcp`.

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

pub(super) use self::direction::give_way;
use self::direction::{Direction, Fault};
pub use self::leg::{Leg, NodeLeg};
pub use self::secured::Secured;
use super::memory::{Budget, Hold, Pipes};
use super::session::{Interrupt, Seat};

mod direction;
mod kernel;
mod leg;
mod secured;

/// What the sessions of a worker share to move bytes.
#[derive(Debug)]
pub struct Gear {
    room: RefCell<Box<[u8]>>,
    /// Where the buffer begins in its memory.
    lead: usize,
    memory: Rc<Budget>,
    pipes: Rc<Pipes>,
}

impl Gear {
    /// Gear for one worker: `memory` bytes for slow readers, at most `pipes` pipes.
    #[must_use]
    pub fn new(memory: usize, pipes: usize) -> Self {
        let room: Box<[u8]> = vec![0; BUFFER_SIZE + PAGE + LEAD].into();
        Self {
            lead: room.as_ptr().align_offset(PAGE) + LEAD,
            room: RefCell::new(room),
            memory: Rc::new(Budget::new(memory)),
            pipes: Rc::new(Pipes::new(pipes, PIPE_SIZE)),
        }
    }

    /// The budget of slow readers.
    #[must_use]
    pub fn memory(&self) -> &Budget {
        &self.memory
    }

    /// Counts so many bytes as held, where there is room for them.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Option<Hold> {
        self.memory.has_room(bytes).then(|| self.memory.hold(bytes))
    }

    /// Counts so many bytes as held, which are there, whether there is room for them or not.
    #[must_use]
    pub fn count(&self, bytes: usize) -> Hold {
        self.memory.hold(bytes)
    }

    /// Lends the shared buffer to `work`, which must not await.
    pub fn with_buffer<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        work(&mut self.buffer())
    }

    fn buffer(&self) -> RefMut<'_, [u8]> {
        let within = self.lead..self.lead + BUFFER_SIZE;
        RefMut::map(self.room.borrow_mut(), |room| {
            room.get_mut(within).unwrap_or_default()
        })
    }
}

/// Large enough that one read takes all that a busy small-message connection has waiting.
const BUFFER_SIZE: usize = 64 * 1024;
/// Into a page, because measured: records of TLS begin five bytes into one, and a copy of 16 KiB to just after where
/// its source lies in a page takes fifteen times as long on some processors (Zen 4, glibc 2.36).
const LEAD: usize = 1024;
const PAGE: usize = 4096;
/// The most that an unprivileged user may ask for (pipe(7), `pipe-max-size`), because measured: beside it a
/// gigabyte costs half as much again with 512 KiB, and several times with 64 KiB, the system's default.
const PIPE_SIZE: usize = 1024 * 1024;

/// Told of every byte that passes, and once that the session has lasted.
pub trait Meter {
    /// Bytes were sent to the node.
    fn sent_up(&self, bytes: u64);
    /// Bytes came from the node.
    fn came_down(&self, bytes: u64);
    /// Whether the session's first bytes are looked at on their way.
    fn is_inspected(&self) -> bool {
        false
    }
    /// `side` of the session at `seat` has sent `bytes`, while they are looked at; whether they still are.
    fn inspect(&self, _seat: &Seat, _side: Side, _bytes: &[u8]) -> bool {
        false
    }
    /// The node of the session at `seat` has finished in order, and its client is told now.
    fn node_finishes(&self, _seat: &Seat) {}
    /// The session has lasted: the connection to the node may be given what it now needs.
    fn lasted(&self, node: &TcpStream);
}

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's connection.
    Client,
    /// The node's connection.
    Node,
}

/// How the moving of bytes ended.
#[derive(Debug)]
pub enum End {
    /// Both sides finished; this one did so first.
    Closed(Side),
    /// This side's connection failed.
    Failed(Side, io::Error),
    /// The session was interrupted; the side that had finished by then, if any.
    Interrupted(Interrupt, Option<Side>),
}

/// Two connections and the bytes between them.
#[derive(Debug)]
pub struct Pump<'a, M, C = TcpStream, N = TcpStream> {
    gear: &'a Gear,
    seat: &'a Seat,
    meter: M,
    client: C,
    node: N,
    up: Direction,
    down: Direction,
    first_finished: Option<Side>,
    /// Where it stands in the configuration: a session has room for few bytes.
    fin_timeout: &'a Duration,
}

/// What a client has sent while its node has said nothing: enough to begin again with another node.
#[derive(Debug)]
pub struct FirstBytes {
    /// All that the client sent.
    pub bytes: Vec<u8>,
    /// Whether it has finished sending.
    pub finished: bool,
}

impl<'a, M: Meter, C: Leg, N: Leg> Pump<'a, M, C, N> {
    /// A pump that begins with the client's `first` bytes. While the node has said nothing they are
    /// kept, up to `keep` bytes in all and while there is memory, for [`Pump::into_parts`], and a node that finishes without a
    /// byte has failed ([`ErrorKind::UnexpectedEof`](io::ErrorKind)); 0 keeps none.
    pub fn new(
        gear: &'a Gear,
        seat: &'a Seat,
        meter: M,
        (client, node): (C, N),
        first: FirstBytes,
        keep: usize,
        fin_timeout: &'a Duration,
    ) -> Self {
        let is_inspected = meter.is_inspected();
        Self {
            gear,
            seat,
            meter,
            client,
            node,
            up: Direction::beginning_with(first, keep, gear).inspected(is_inspected),
            down: Direction::held_back(keep > 0).inspected(is_inspected),
            first_finished: None,
            fin_timeout,
        }
    }

    /// Moves bytes until the node has sent its first; `None` then. The client has not got them yet, so that
    /// whatever is to stand by the time it does can be done first.
    pub async fn until_answered(&mut self) -> Option<End> {
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if self.down.has_spoken() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Moves bytes until both sides have finished, one has failed, or the session is interrupted. Of a
    /// side that finished last the other one has not been told: closing its connection does that.
    pub async fn until_ended(&mut self) -> End {
        self.down.let_go();
        poll_fn(|context| self.poll(context)).await
    }

    /// The two connections, client first, and the client's first bytes where all of them were kept.
    pub fn into_parts(self) -> (C, N, Option<FirstBytes>) {
        (self.client, self.node, self.up.into_first_bytes())
    }

    fn poll(&mut self, context: &mut TaskContext<'_>) -> Poll<End> {
        if let Poll::Ready(interrupt) = self.seat.poll_interrupt(context) {
            return Poll::Ready(End::Interrupted(interrupt, self.first_finished));
        }
        if self.seat.has_just_lasted() {
            self.meter.lasted(self.node.socket());
        }
        let (up, down) = (self.up.passed(), self.down.passed());
        let result = self.poll_directions(context);
        let (up_now, down_now) = (self.up.passed(), self.down.passed());
        if down_now.taken_since(down) > 0 {
            self.seat.mark_heard();
        } else if up_now != up {
            self.seat.mark_asked();
        } else if down_now != down {
            // What the node has said before reaches the client only now: that is no question.
            self.seat.mark_active();
        }
        result
    }

    fn poll_directions(&mut self, context: &mut TaskContext<'_>) -> Poll<End> {
        let up = self.poll_up(context);
        if let Poll::Ready(Err(fault)) = up {
            return Poll::Ready(self.end(fault, Side::Client, Side::Node));
        }
        let down = self.poll_down(context);
        if let Poll::Ready(Err(fault)) = down {
            return Poll::Ready(self.end(fault, Side::Node, Side::Client));
        }
        let finished = match (up.is_ready(), down.is_ready()) {
            (false, false) => return Poll::Pending,
            (true, false) => Side::Client,
            (false, true) => Side::Node,
            (true, true) => {
                let first = self.first_finished.unwrap_or(Side::Node);
                return Poll::Ready(End::Closed(first));
            }
        };
        if self.first_finished.is_none() {
            self.first_finished = Some(finished);
            self.seat.arm(Some(*self.fin_timeout));
        }
        Poll::Pending
    }

    fn poll_up(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Fault>> {
        let before = self.up.passed();
        let is_last = self.down.is_done();
        let (client, node) = (&mut self.client, &mut self.node);
        let look = |bytes: &[u8]| self.meter.inspect(self.seat, Side::Client, bytes);
        let result = self
            .up
            .poll(context, self.gear, (client, node), is_last, &look, || {});
        let moved = self.up.passed().given_since(before);
        if moved > 0 {
            self.meter.sent_up(moved);
        }
        result
    }

    fn poll_down(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Fault>> {
        let before = self.down.passed();
        let is_last = self.up.is_done();
        let (client, node) = (&mut self.client, &mut self.node);
        let look = |bytes: &[u8]| self.meter.inspect(self.seat, Side::Node, bytes);
        let result = self
            .down
            .poll(context, self.gear, (node, client), is_last, &look, || {
                self.meter.node_finishes(self.seat);
            });
        let moved = self.down.passed().taken_since(before);
        if moved > 0 {
            self.up.forget_first_bytes();
            self.meter.came_down(moved);
        }
        result
    }

    fn end(&self, fault: Fault, source: Side, sink: Side) -> End {
        match fault {
            Fault::Source(error) => End::Failed(source, error),
            // A side that has finished in order and then refuses more has simply closed.
            Fault::Sink(_) if self.first_finished == Some(sink) => End::Closed(sink),
            Fault::Sink(error) => End::Failed(sink, error),
        }
    }
}

/// A meter that counts nothing, for pumps whose bytes nobody asks for.
impl Meter for () {
    fn sent_up(&self, _: u64) {}
    fn came_down(&self, _: u64) {}
    fn lasted(&self, _: &TcpStream) {}
}

#[cfg(test)]
mod tests;
