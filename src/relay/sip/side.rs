//! What has come from a peer and is not done with, and what a peer is still owed.
//!
//! Whole messages go from the worker's shared buffer to the other side without being kept. What is kept is the
//! beginning of a head, and what a slow reader has not taken; both count in the worker's memory. Invariant: whoever is
//! owed anything, its source is not read.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use crate::inspect::sip::Framer;
use crate::net::wire::Waiting;
use crate::relay::memory::Hold;
use crate::relay::pump::{Gear, Leg};

/// What is read at once where there is no memory for more, and what may be kept without asking for any.
const SMALL: usize = 4 * 1024;

/// What has come from a peer.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) framer: Framer,
    /// What was not done with: it begins where the framer looks next.
    kept: Vec<u8>,
    hold: Option<Hold>,
    waiting: Waiting,
    /// The peer sends no more.
    pub(super) has_finished: bool,
}

impl Inbound {
    pub(super) fn new(body_max: u64) -> Self {
        Self {
            framer: Framer::new(body_max),
            kept: Vec::new(),
            hold: None,
            waiting: Waiting::No,
            has_finished: false,
        }
    }

    /// Whether a message has been passed on in part.
    pub(super) const fn is_within_body(&self) -> bool {
        self.framer.rest_of_body() > 0
    }

    /// Whether something is kept.
    pub(super) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// What was not done with, for whoever goes on without framing.
    pub(super) fn into_kept(self) -> Vec<u8> {
        self.kept
    }

    /// Reads once, and lets `take` do what it can with all that is there: it says with how much it is done. How many
    /// bytes were read; 0 once the peer has finished.
    ///
    /// # Errors
    ///
    /// The connection has failed, or there is no memory for what must be kept ([`ErrorKind::OutOfMemory`]).
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        leg: &mut impl Leg,
        take: impl FnOnce(&mut Context<'_>, &mut Framer, &[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        gear.with_buffer(|buffer| {
            let room = match gear.memory().has_room(buffer.len()) {
                true => buffer,
                false => buffer.get_mut(..SMALL).unwrap_or_default(),
            };
            let count = ready!(leg.poll_read(context, room, &mut self.waiting))?;
            let read = room.get(..count).unwrap_or_default();
            if count == 0 {
                self.has_finished = true;
                return Poll::Ready(Ok(0));
            }
            if self.kept.is_empty() {
                let done = take(context, &mut self.framer, read);
                self.kept.extend(read.get(done..).unwrap_or_default());
            } else {
                self.kept.extend(read);
                self.take_kept(context, take);
            }
            self.count(gear)?;
            Poll::Ready(Ok(count))
        })
    }

    /// Lets `take` do what it can with what is kept.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub(super) fn go_on(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        take: impl FnOnce(&mut Context<'_>, &mut Framer, &[u8]) -> usize,
    ) -> io::Result<()> {
        self.take_kept(context, take);
        self.count(gear)
    }

    fn take_kept(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Context<'_>, &mut Framer, &[u8]) -> usize,
    ) {
        let done = take(context, &mut self.framer, &self.kept);
        self.kept.drain(..done.min(self.kept.len()));
    }

    fn count(&mut self, gear: &Gear) -> io::Result<()> {
        self.hold = None;
        if self.kept.is_empty() {
            self.kept = Vec::new();
            return Ok(());
        }
        self.hold = gear.hold(self.kept.capacity());
        if self.hold.is_none() && self.kept.len() > SMALL {
            return Err(ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }
}

/// What a peer is owed.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    unsent: Vec<u8>,
    sent: usize,
    hold: Option<Hold>,
    /// Something was written that may not be with the system yet.
    must_flush: bool,
}

impl Outbound {
    /// Bytes owed.
    pub(super) fn owed(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Sends `bytes`; what `leg` does not take at once is owed.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    pub(super) fn give(
        &mut self,
        context: &mut Context<'_>,
        gear: &Gear,
        leg: &mut impl Leg,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while self.owed() == 0 && !bytes.is_empty() {
            match leg.poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.must_flush = true;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if !bytes.is_empty() {
            self.add(gear, |unsent| unsent.extend(bytes));
        }
        Ok(())
    }

    /// What `write` appends is owed.
    pub(super) fn add<A>(&mut self, gear: &Gear, write: impl FnOnce(&mut Vec<u8>) -> A) -> A {
        // A reader that takes a little each time must not have all kept that it was ever owed.
        self.unsent.drain(..self.sent.min(self.unsent.len()));
        self.sent = 0;
        let answer = write(&mut self.unsent);
        self.hold = None;
        self.hold = Some(gear.count(self.unsent.capacity()));
        answer
    }

    /// Ready once nothing is owed any more.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    pub(super) fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        leg: &mut impl Leg,
    ) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.unsent.get(self.sent..) {
            match ready!(leg.poll_write(context, rest))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
            self.must_flush = true;
        }
        if self.sent > 0 {
            (self.unsent, self.sent, self.hold) = (Vec::new(), 0, None);
        }
        if self.must_flush {
            ready!(leg.poll_flush(context))?;
            self.must_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What is owed, for whoever goes on otherwise.
    pub(super) fn into_unsent(mut self) -> Vec<u8> {
        self.unsent.drain(..self.sent.min(self.unsent.len()));
        self.unsent
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::TcpStream;

    use super::*;

    /// A reader that takes only so much.
    #[derive(Default)]
    struct Reader {
        room: usize,
        taken: Vec<u8>,
    }

    impl Leg for Reader {
        fn socket(&self) -> &TcpStream {
            unreachable!("there is none")
        }

        fn is_plain(&self) -> bool {
            true
        }

        fn poll_read(
            &mut self,
            _: &mut Context<'_>,
            _: &mut [u8],
            _: &mut Waiting,
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.taken.extend(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn who_takes_a_little_each_time_has_no_more_kept_than_it_is_owed() {
        let (gear, mut context) = (Gear::new(1 << 20, 0), Context::from_waker(Waker::noop()));
        let (mut owed, mut reader) = (Outbound::default(), Reader::default());
        let mut all: Vec<u8> = Vec::new();
        for round in 0..1000_u32 {
            let piece = round.to_be_bytes().repeat(100);
            owed.add(&gear, |text| text.extend(&piece));
            all.extend(&piece);
            // Never all of it: 4,000 bytes are left.
            reader.room = 400 * usize::from(round >= 10);
            assert!(owed.poll_drain(&mut context, &mut reader).is_pending());
            assert!(owed.owed() <= 4_000);
            assert!(owed.unsent.capacity() < 16_000, "round {round}");
        }
        reader.room = usize::MAX;
        assert!(owed.poll_drain(&mut context, &mut reader).is_ready());
        assert!(reader.taken == all, "each byte once, in order");
    }

    #[test]
    fn what_is_owed_is_counted_also_beyond_what_there_is_room_for() {
        let gear = Gear::new(1000, 0);
        let mut owed = Outbound::default();
        owed.add(&gear, |text| text.extend([0; 2000]));
        assert!(!gear.memory().has_room(0));
        drop(owed);
        assert!(gear.memory().has_room(1000));
    }
}
