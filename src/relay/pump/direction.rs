//! One direction of a session: from a source to a sink.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{Interest, ReadBuf};

use super::super::memory::{Hold, LentPipe, Unsent};
use super::{BUFFER_SIZE, FirstBytes, Gear, Leg};
use crate::net::wire::Waiting;
use crate::sys::pipe::Spliced;

/// Which end of a direction failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Reading.
    Source(io::Error),
    /// Writing.
    Sink(io::Error),
}

#[derive(Debug)]
pub(super) struct Direction {
    held: Held,
    way: Way,
    state: State,
    /// An end without a single byte is a failure, which the sink is not told of.
    must_speak: bool,
    /// The sink gets nothing of what the source says first, nor of what follows, until this is over.
    is_held_back: bool,
    /// Its bytes are looked at on their way, and so not spliced.
    is_inspected: bool,
    waiting: Waiting,
    has_spoken: bool,
    // A session has room for few bytes, and is only asked what passed in one turn.
    taken: u32,
    given: u32,
}

/// Two counters, modulo 2³². A turn moves a MiB and what is held, so differences within one are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    taken: u32,
    given: u32,
}

impl Passed {
    /// Bytes taken since `before`.
    pub(super) fn taken_since(self, before: Self) -> u64 {
        self.taken.wrapping_sub(before.taken).into()
    }

    /// Bytes given since `before`.
    pub(super) fn given_since(self, before: Self) -> u64 {
        self.given.wrapping_sub(before.given).into()
    }
}

/// The half-close story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The source may send more.
    Open,
    /// The source has finished; the sink does not know yet.
    Finishing,
    /// The sink knows.
    Done,
}

/// Bytes taken from the source that the sink has not.
#[derive(Debug)]
enum Held {
    Nothing,
    // In a box, because a session has them for a moment and room for them for ever.
    First(Box<First>),
    Unsent(Box<Unsent>),
    Pipe(LentPipe),
    /// With the sink, which has it encrypted and not sent: counted here.
    Below {
        _hold: Box<Hold>,
    },
}

/// What a client said first.
#[derive(Debug)]
struct First {
    bytes: Vec<u8>,
    sent: usize,
    keep: usize,
    hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copy,
    /// With the number of small reads in a row.
    Splice(u8),
}

impl Direction {
    fn empty() -> Self {
        Self {
            held: Held::Nothing,
            way: Way::Copy,
            state: State::Open,
            must_speak: false,
            is_held_back: false,
            is_inspected: false,
            waiting: Waiting::No,
            has_spoken: false,
            taken: 0,
            given: 0,
        }
    }

    /// Begins with `first`, of which up to `keep` bytes are kept while there is memory for them.
    pub(super) fn beginning_with(first: FirstBytes, keep: usize, gear: &Gear) -> Self {
        let length = first.bytes.len();
        let keep = if gear.memory.has_room(length) {
            keep
        } else {
            0
        };
        let held = Held::First(Box::new(First {
            bytes: first.bytes,
            sent: 0,
            keep,
            hold: gear.memory.hold(length),
        }));
        let state = if first.finished {
            State::Finishing
        } else {
            State::Open
        };
        Self {
            held,
            state,
            ..Self::empty()
        }
    }

    /// Takes once what the source says, and no more until it is [let go](Self::let_go); if it `must_speak`, an
    /// end without a byte is a failure.
    pub(super) fn held_back(must_speak: bool) -> Self {
        Self {
            must_speak,
            is_held_back: true,
            ..Self::empty()
        }
    }

    /// The sink may have what the source says.
    pub(super) fn let_go(&mut self) {
        self.is_held_back = false;
    }

    pub(super) fn inspected(self, is_inspected: bool) -> Self {
        Self {
            is_inspected,
            ..self
        }
    }

    /// Whether the source has finished and the sink has been told.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the source has sent a byte.
    pub(super) fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    /// Bytes taken from the source, and given to the sink; what passes in one turn is the difference.
    pub(super) fn passed(&self) -> Passed {
        Passed {
            taken: self.taken,
            given: self.given,
        }
    }

    /// Whatever was kept of the first bytes is not needed any more.
    pub(super) fn forget_first_bytes(&mut self) {
        if let Held::First(first) = &mut self.held {
            first.keep = 0;
        }
    }

    /// The first bytes, where all of them were kept.
    pub(super) fn into_first_bytes(self) -> Option<FirstBytes> {
        match self.held {
            Held::First(first) if first.keep > 0 => Some(FirstBytes {
                bytes: first.bytes,
                finished: self.state != State::Open,
            }),
            Held::First(_)
            | Held::Nothing
            | Held::Unsent(_)
            | Held::Pipe(_)
            | Held::Below { .. } => None,
        }
    }

    /// Moves bytes until either end would block; ready once the source has finished and the sink has
    /// been told. `forewarn` is called before it is.
    ///
    /// When `is_last`, the other direction is done already: both connections close as soon as this one is,
    /// and a close tells the sink as well as a shutdown before it would. While the direction is inspected,
    /// `look` sees its bytes and says whether it still is.
    pub(super) fn poll<S: Leg, D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        (source, sink): (&mut S, &mut D),
        is_last: bool,
        look: &impl Fn(&[u8]) -> bool,
        forewarn: impl Fn(),
    ) -> Poll<Result<(), Fault>> {
        let turn = self.passed();
        let mut flushed = turn;
        loop {
            if self.is_held_back && self.has_spoken {
                return Poll::Pending;
            }
            ready!(self.poll_flush(context, gear, sink, flushed)).map_err(Fault::Sink)?;
            flushed = self.passed();
            match self.state {
                State::Open => {}
                State::Finishing if self.must_speak && !self.has_spoken => {
                    return Poll::Ready(Err(Fault::Source(ErrorKind::UnexpectedEof.into())));
                }
                State::Finishing => {
                    if !is_last {
                        forewarn();
                    }
                    // In TLS a close alone is no farewell.
                    if !is_last || !sink.is_plain() {
                        ready!(sink.poll_finish(context)).map_err(Fault::Sink)?;
                    }
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Done => return Poll::Ready(Ok(())),
            }
            if self.passed().taken_since(turn) >= TURN_BYTES {
                give_way(context);
                return Poll::Pending;
            }
            let ends = (&mut *source, &mut *sink);
            ready!(self.poll_take(context, gear, ends, turn, look))?;
        }
    }

    fn count_given(&mut self, count: usize) {
        self.given = self.given.wrapping_add(low(count));
    }

    /// Gives the sink what is held, and waits until it is with the system. When it was so last, this had `flushed`.
    fn poll_flush<D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        sink: &mut D,
        flushed: Passed,
    ) -> Poll<io::Result<()>> {
        loop {
            let count = match &mut self.held {
                Held::Nothing => {
                    let result = sink.poll_flush(context);
                    let below = self.passed().given_since(flushed);
                    if result.is_pending() && below > 0 {
                        let below = usize::try_from(below).unwrap_or(BUFFER_SIZE);
                        self.held = Held::Below {
                            _hold: Box::new(gear.memory.hold(below)),
                        };
                    }
                    return result;
                }
                Held::Below { .. } => {
                    ready!(sink.poll_flush(context))?;
                    0
                }
                Held::First(first) => match first.bytes.get(first.sent..).unwrap_or_default() {
                    [] if first.keep > 0 => return sink.poll_flush(context),
                    [] => 0,
                    rest => {
                        let count = ready!(sink.poll_write(context, rest))?;
                        first.sent += count;
                        count
                    }
                },
                Held::Unsent(unsent) => match unsent.rest() {
                    [] => 0,
                    rest => {
                        let count = ready!(sink.poll_write(context, rest))?;
                        unsent.take(count);
                        count
                    }
                },
                Held::Pipe(pipe) if pipe.filled() == 0 => 0,
                Held::Pipe(pipe) => ready!(sink.poll_drain(context, pipe))?,
            };
            self.count_given(count);
            if count == 0 {
                self.held = Held::Nothing;
            }
        }
    }

    /// Takes from the source once; pending when it has nothing.
    fn poll_take<S: Leg, D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        (source, sink): (&mut S, &mut D),
        turn: Passed,
        look: &impl Fn(&[u8]) -> bool,
    ) -> Poll<Result<(), Fault>> {
        let was_inspected = self.is_inspected;
        let count = match self.way {
            Way::Splice(small_reads) => {
                ready!(self.poll_splice(context, gear, source, small_reads))
                    .map_err(Fault::Source)?
            }
            Way::Copy if gear.memory.has_room(BUFFER_SIZE) => {
                let ends = (&mut *source, &mut *sink);
                let copied = self.poll_copy(context, gear, ends, BUFFER_SIZE, look);
                let count = ready!(copied)?;
                self.promote_after(count, turn, was_inspected, (source, sink));
                Some(count)
            }
            Way::Copy if source.is_plain() && sink.is_plain() => {
                Some(ready!(self.poll_peek(context, gear, (source, sink), look))?)
            }
            // What was decrypted cannot be put back, and what is encrypted must be kept: little is taken, once the
            // sink has room for some of it.
            Way::Copy => {
                ready!(sink.socket().poll_write_ready(context)).map_err(Fault::Sink)?;
                let copied = self.poll_copy(context, gear, (source, sink), SCARCE_READ, look);
                Some(ready!(copied)?)
            }
        };
        match count {
            Some(0) => self.state = State::Finishing,
            Some(count) => {
                self.taken = self.taken.wrapping_add(low(count));
                self.has_spoken = true;
            }
            None => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Reads up to `most` bytes into the shared buffer and writes them out; what the sink does not take is kept.
    fn poll_copy<S: Leg, D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        (source, sink): (&mut S, &mut D),
        most: usize,
        look: &impl Fn(&[u8]) -> bool,
    ) -> Poll<Result<usize, Fault>> {
        let mut buffer = gear.buffer();
        let room = most.min(buffer.len());
        let target = buffer.get_mut(..room).unwrap_or_default();
        let count =
            ready!(source.poll_read(context, target, &mut self.waiting)).map_err(Fault::Source)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if self.is_inspected {
            self.is_inspected = look(bytes);
        }
        if self.is_held_back && count > 0 {
            self.held = Held::Unsent(Box::new(Unsent::keep(bytes, &gear.memory)));
        } else if !self.keep_first(bytes, gear) {
            self.give(context, gear, bytes, sink).map_err(Fault::Sink)?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Splices from here on where bulk comes and both ends can: `count` bytes came just now.
    fn promote_after<S: Leg, D: Leg>(
        &mut self,
        count: usize,
        turn: Passed,
        was_inspected: bool,
        (source, sink): (&mut S, &mut D),
    ) {
        // TLS gives no more than a record at a time.
        let in_a_row = match source.is_plain() {
            true => 0,
            false => self.passed().taken_since(turn),
        };
        let is_bulk = count > 0 && in_a_row + u64::from(low(count)) >= BUFFER_SIZE as u64;
        let may_splice =
            is_bulk && !was_inspected && source.may_take_splices() && sink.may_take_splices();
        if may_splice && source.takes_splices() && sink.takes_splices() {
            self.way = Way::Splice(0);
        }
    }

    /// Adds `bytes` to the first bytes, where those are still kept and there is room.
    fn keep_first(&mut self, more: &[u8], gear: &Gear) -> bool {
        if let Held::First(first) = &mut self.held {
            if first.bytes.len() + more.len() <= first.keep && gear.memory.has_room(more.len()) {
                first.bytes.extend_from_slice(more);
                first.hold.grow(more.len());
                return true;
            }
            // Everything kept so far has been sent, or nothing would have been read.
            self.held = Held::Nothing;
        }
        false
    }

    fn give<D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        bytes: &[u8],
        sink: &mut D,
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Poll::Ready(count) = sink.poll_write(context, rest)? else {
                self.held = Held::Unsent(Box::new(Unsent::keep(rest, &gear.memory)));
                return Ok(());
            };
            self.count_given(count);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Without memory to keep anything: looks at what the source has, gives it to the sink, and only
    /// then takes from the source what the sink took.
    fn poll_peek<S: Leg, D: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        (source, sink): (&mut S, &mut D),
        look: &impl Fn(&[u8]) -> bool,
    ) -> Poll<Result<usize, Fault>> {
        self.held = Held::Nothing;
        // The runtime is asked here without `poll_read`, which then must not think that it waits.
        self.waiting = Waiting::No;
        let source = source.socket();
        let mut buffer = gear.buffer();
        let mut seen = ReadBuf::new(&mut buffer);
        if ready!(source.poll_peek(context, &mut seen)).map_err(Fault::Source)? == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.is_held_back {
            self.has_spoken = true;
            return Poll::Pending;
        }
        let count = ready!(sink.poll_write(context, seen.filled())).map_err(Fault::Sink)?;
        self.count_given(count);
        if self.is_inspected {
            self.is_inspected = look(seen.filled().get(..count).unwrap_or_default());
        }
        let taken = source.try_io(Interest::READABLE, || {
            // tcp(7), MSG_TRUNC: the bytes are discarded, not copied.
            let target = buffer.get_mut(..count).unwrap_or_default();
            Ok(rustix::net::recv(source, target, RecvFlags::TRUNC)?.1)
        });
        match taken {
            Ok(taken) if taken == count => Poll::Ready(Ok(count)),
            Ok(_) => Poll::Ready(Err(Fault::Source(ErrorKind::UnexpectedEof.into()))),
            Err(error) => Poll::Ready(Err(Fault::Source(error))),
        }
    }

    /// Fills a pipe from the source. `None`: the direction copies from here on.
    fn poll_splice<S: Leg>(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        source: &mut S,
        small_reads: u8,
    ) -> Poll<io::Result<Option<usize>>> {
        // As in `poll_peek`.
        self.waiting = Waiting::No;
        loop {
            ready!(source.poll_fill_ready(context))?;
            let Some(pipe) = gear.pipes.lend() else {
                self.way = Way::Copy;
                return Poll::Ready(Ok(None));
            };
            match source.try_fill(&pipe) {
                Ok(Spliced::Finished) => return Poll::Ready(Ok(Some(0))),
                Ok(Spliced::Moved(count)) => {
                    self.way = match small_reads {
                        _ if count >= SMALL_READ => Way::Splice(0),
                        SMALL_READS_MAX => Way::Copy,
                        fewer => Way::Splice(fewer + 1),
                    };
                    self.held = Held::Pipe(pipe);
                    return Poll::Ready(Ok(Some(count)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // This kind of socket cannot be spliced, or not what has come: TLS has more to say than data.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.way = Way::Copy;
                    return Poll::Ready(Ok(None));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Goes on once the runtime has looked at all sockets. To wake itself at once would keep the run queue
/// from being empty, and then the runtime looks only after every 61 turns.
pub(in crate::relay) fn give_way(context: &mut Context<'_>) {
    let turn = pin!(tokio::task::yield_now());
    // Pending: it has told the runtime whom to wake.
    let _ = turn.poll(context);
}

/// What one direction moves before the other sessions of the worker get their turn.
const TURN_BYTES: u64 = 1 << 20;

/// What is read where there is no memory and TLS lies on the way.
const SCARCE_READ: usize = 4 * 1024;

/// The low bits of a count.
fn low(count: usize) -> u32 {
    let [a, b, c, d, ..] = count.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A read below this would have been cheaper to copy.
const SMALL_READ: usize = 16 * 1024;
/// So many small reads in a row end the splicing; a bulk stream has one now and then.
const SMALL_READS_MAX: u8 = 8;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn whoever_gives_way_is_not_looked_at_again_before_the_sockets_are() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let near = near.await.unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"x").unwrap();
        let turns = Arc::new(AtomicU32::new(0));
        let taken = Arc::clone(&turns);
        // Tasks of their own, as sessions are: the runtime treats its outermost future otherwise.
        let bulk = tokio::spawn(poll_fn(move |context| {
            taken.fetch_add(1, Relaxed);
            give_way(context);
            Poll::<()>::Pending
        }));
        let small = tokio::spawn(async move { near.readable().await });
        small.await.unwrap().unwrap();
        bulk.abort();
        let turns = turns.load(Relaxed);
        assert!(turns < 10, "{turns} turns");
    }
}
