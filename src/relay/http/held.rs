//! What of a response waits for its reader: counted in the worker's memory, and little where that is used up.
//!
//! Counted is what was read of a node and not taken from there ([`Reading`]), each part of a body from then until it is
//! written out ([`Part`]), and what is encrypted and not with the system yet. Where memory is used up, nodes are read a
//! little at a time, and the next part of a response is taken only once those before it are written.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lines::BUFFER_MAX;
use crate::relay::memory::Hold;
use crate::relay::pump::Gear;
use crate::relay::terminated::NodeStream;

/// A part of a body on its way to its reader.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Bytes,
    queue: Rc<Queue>,
    _hold: Hold,
}

/// The parts of one response that its reader has not got.
#[derive(Debug, Default)]
pub(super) struct Queue {
    parts: Cell<usize>,
    /// Who takes the next part once there are none.
    taker: RefCell<Option<Waker>>,
}

impl Queue {
    /// Ready once nothing is on its way.
    pub(super) fn poll_empty(&self, context: &Context<'_>) -> Poll<()> {
        if self.parts.get() == 0 {
            return Poll::Ready(());
        }
        *self.taker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Part {
    /// Where memory `is_scarce` it is kept in no more than it needs: what was read in one piece is freed as one.
    pub(super) fn new(bytes: Bytes, is_scarce: bool, gear: &Gear, queue: &Rc<Queue>) -> Self {
        let bytes = match is_scarce {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        };
        queue.parts.set(queue.parts.get() + 1);
        Self {
            _hold: gear.count(bytes.len()),
            bytes,
            queue: Rc::clone(queue),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let left = self.queue.parts.get().saturating_sub(1);
        self.queue.parts.set(left);
        if left == 0
            && let Some(taker) = self.queue.taker.take()
        {
            taker.wake();
        }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

/// How many bytes wait somewhere, counted as held.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: usize,
    hold: Option<Hold>,
}

impl Waiting {
    /// They are this many by now.
    pub(super) fn are(&mut self, bytes: usize, gear: &Gear) {
        if bytes != self.bytes {
            self.hold = None;
            (self.bytes, self.hold) = (bytes, (bytes > 0).then(|| gear.count(bytes)));
        }
    }
}

/// What a node has said, as far as it was read and not taken; counted as held.
#[derive(Debug, Default)]
pub(super) struct Reading {
    ahead: Arc<Ahead>,
    waiting: RefCell<Waiting>,
}

impl Reading {
    /// What is read of `leg` is read ahead.
    pub(super) fn of(&self, leg: NodeStream) -> Frugal {
        let ahead = Arc::clone(&self.ahead);
        Frugal { leg, ahead }
    }

    /// Before more is read: little at a time where memory is used up.
    pub(super) fn look_at_memory(&self, gear: &Gear) {
        let is_scarce = !gear.memory().has_room(BUFFER_MAX);
        self.ahead.is_scarce.store(is_scarce, Relaxed);
    }

    /// After more was read.
    pub(super) fn count(&self, gear: &Gear) {
        let bytes = self.ahead.bytes.load(Relaxed).min(2 * BUFFER_MAX);
        self.waiting.borrow_mut().are(bytes, gear);
    }

    /// So many bytes of a body were taken.
    pub(super) fn take(&self, count: usize, gear: &Gear) {
        let bytes = self.ahead.bytes.load(Relaxed).saturating_sub(count);
        self.ahead.bytes.store(bytes, Relaxed);
        self.count(gear);
    }

    /// All that there is was taken: lines and heads, which are no part of a body, with it.
    pub(super) fn take_all(&self, gear: &Gear) {
        self.take(usize::MAX, gear);
    }
}

/// Bytes that were read of a node and not taken. Atomic only because hyper hands a connection that is upgraded from hand
/// to hand as `Send`; one thread has it.
#[derive(Debug, Default)]
struct Ahead {
    bytes: AtomicUsize,
    is_scarce: AtomicBool,
}

/// A connection with a node of which little is read at a time where memory is used up.
#[derive(Debug)]
pub(super) struct Frugal {
    leg: NodeStream,
    ahead: Arc<Ahead>,
}

impl AsyncRead for Frugal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let leg = Pin::new(&mut this.leg);
        let before = buffer.filled().len();
        if this.ahead.is_scarce.load(Relaxed) {
            let mut room = [0; SCARCE];
            let room = room.get_mut(..buffer.remaining().min(SCARCE));
            let mut little = ReadBuf::new(room.unwrap_or_default());
            ready!(leg.poll_read(context, &mut little))?;
            buffer.put_slice(little.filled());
        } else {
            ready!(leg.poll_read(context, buffer))?;
        }
        let count = buffer.filled().len() - before;
        let bytes = this.ahead.bytes.load(Relaxed).saturating_add(count);
        this.ahead.bytes.store(bytes, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Frugal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().leg).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().leg).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().leg).poll_shutdown(context)
    }
}

/// What is taken at a time where memory is used up.
pub(super) const SCARCE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::task::Wake;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_part_counts_until_it_is_written_and_whoever_waits_for_that_is_woken() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        let (gear, queue) = (Gear::new(1000, 0), Rc::<Queue>::default());
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        assert!(queue.poll_empty(&context).is_ready());
        let parts = [300, 400].map(|length| vec![b'x'; length].into());
        let [mut first, second] = parts.map(|bytes| Part::new(bytes, false, &gear, &queue));
        assert!(gear.memory().has_room(300) && !gear.memory().has_room(301));
        assert!(queue.poll_empty(&context).is_pending());
        first.advance(299);
        assert_eq!((first.remaining(), first.chunk()), (1, &b"x"[..]));
        drop(second);
        assert!(!woken.0.load(Relaxed), "one is on its way still");
        drop(first);
        assert!(woken.0.load(Relaxed));
        assert!(queue.poll_empty(&context).is_ready());
        assert!(gear.memory().has_room(1000));
    }

    #[test]
    fn where_memory_is_scarce_a_part_holds_nothing_beside_itself() {
        let (gear, queue) = (Gear::new(1000, 0), Rc::<Queue>::default());
        let read = Bytes::from(vec![b'x'; 100]);
        let part = |is_scarce| Part::new(read.slice(10..20), is_scarce, &gear, &queue);
        assert!(part(true).bytes.is_unique());
        assert!(!part(false).bytes.is_unique());
    }

    #[tokio::test]
    async fn a_node_is_read_a_little_at_a_time_where_memory_is_scarce() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let leg = TcpStream::connect(listener.local_addr().unwrap());
        let leg = NodeStream::Plain(leg.await.unwrap());
        listener
            .accept()
            .unwrap()
            .0
            .write_all(&[b'x'; 20_000])
            .unwrap();
        let (gear, reading) = (Gear::new(1 << 20, 0), Reading::default());
        let has = |bytes: usize| {
            let memory = gear.memory();
            memory.has_room((1 << 20) - bytes) && !memory.has_room((1 << 20) - bytes + 1)
        };
        let mut frugal = reading.of(leg);
        let all = gear.count(1 << 20);
        reading.look_at_memory(&gear);
        drop(all);
        let mut said = Vec::with_capacity(1 << 16);
        assert_eq!(frugal.read_buf(&mut said).await.unwrap(), SCARCE);
        reading.count(&gear);
        assert!(has(SCARCE));
        reading.take(1000, &gear);
        assert!(has(SCARCE - 1000));
        reading.look_at_memory(&gear);
        while said.len() < 20_000 {
            assert!(frugal.read_buf(&mut said).await.unwrap() > 0);
        }
        assert!(said == [b'x'; 20_000]);
        reading.count(&gear);
        assert!(has(19_000));
        reading.take_all(&gear);
        assert!(has(0), "a line that waits for a request holds nothing");
    }

    #[test]
    fn what_waits_is_counted_as_it_is_by_now() {
        let gear = Gear::new(1000, 0);
        let mut waiting = Waiting::default();
        for (bytes, room) in [(0, 1000), (700, 300), (200, 800), (0, 1000)] {
            waiting.are(bytes, &gear);
            assert!(gear.memory().has_room(room) && !gear.memory().has_room(room + 1));
        }
    }
}
