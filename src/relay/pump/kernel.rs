//! A connection in TLS with which the kernel goes on.
//!
//! Owns what the kernel leaves to others: what the peer says beside its data, farewells, and the renewal of keys.
//! Invariants: keys are renewed before more is sent with the old ones than they are good for; a farewell waits until all
//! before it is on its way, because a close takes nothing along that the kernel has encrypted and not yet given to TCP.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::Error;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::super::memory::LentPipe;
use super::direction::give_way;
use super::leg::{drain, fill};
use crate::net::wire;
use crate::sys::kernel_tls::{self, ALERT, DATA, Direction, HANDSHAKE};
use crate::sys::pipe::Spliced;
use crate::tls::control::{
    CLOSE_NOTIFY_ALERT, Control, KEY_UPDATE_MESSAGE, NO_RENEGOTIATION_ALERT, Said,
};
use crate::tls::kernel::{Handover, Renewal};

/// A connection that the kernel encrypts.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: Arc<TcpStream>,
    control: Control,
    renewal: Option<Renewal>,
    /// Records that may be sent before the keys must be renewed, and what that was at first.
    records_left: u64,
    records_max: u64,
    owes_update: bool,
    owes_refusal: bool,
    /// What has come is no data, or no record at all, where the kernel says the same of both.
    is_odd: bool,
    /// How much to read at a time: a peer may put a byte into each record.
    room: usize,
    /// Reads that did not fill it, in a row without a wait.
    short_reads: u8,
    breaking: Breaking,
    /// The peer sends nothing more.
    is_closing: bool,
    has_taken_leave: bool,
}

impl Kernel {
    /// Gives the kernel `socket`, which is attached, and what goes on over it; the peer may have finished.
    pub(super) fn take_over(
        socket: Arc<TcpStream>,
        is_client: bool,
        is_closing: bool,
        handover: Handover,
    ) -> io::Result<Self> {
        let Handover {
            transmit,
            receive,
            renewal,
            records_max,
            records_left,
        } = handover;
        kernel_tls::set_keys(&socket, Direction::Transmit, &transmit)?;
        kernel_tls::set_keys(&socket, Direction::Receive, &receive)?;
        let breaking = Breaking::new(&socket);
        Ok(Self {
            socket,
            control: Control::new(transmit.version, is_client),
            renewal,
            records_left,
            records_max,
            owes_update: false,
            owes_refusal: false,
            is_odd: false,
            room: SMALL_ROOM,
            short_reads: 0,
            breaking,
            is_closing,
            has_taken_leave: false,
        })
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = buffer.len();
        while !self.is_closing {
            if self.short_reads == SHORT_READS_MAX {
                self.short_reads = 0;
                give_way(context);
                return Poll::Pending;
            }
            ready!(self.poll_ready(context))?;
            let room = self.room.min(most);
            let target = buffer.get_mut(..room).unwrap_or_default();
            // A short read tells nothing here: it ends at a record of another type, of which no event comes.
            let receiving = || kernel_tls::receive(&self.socket, &mut *target);
            let result = self.socket.try_io(Interest::READABLE, receiving);
            let was_odd = std::mem::take(&mut self.is_odd);
            match result {
                Ok((None, 0)) => break,
                Ok((Some(DATA), 0)) => self.control.note_empty().map_err(refused)?,
                Ok((None | Some(DATA), count)) => {
                    self.control.note_data();
                    (self.room, self.short_reads) = match count < room {
                        true => (SMALL_ROOM, self.short_reads + 1),
                        false => (usize::MAX, 0),
                    };
                    return Poll::Ready(Ok(count));
                }
                Ok((Some(kind), count)) => {
                    let bytes = target.get(..count).unwrap_or_default();
                    let said = self.control.hear(kind, bytes).map_err(refused)?;
                    self.follow(said)?;
                }
                // A record would be there. The kernel tells of a stream that is broken only once.
                Err(error) if was_odd && is_transient(&error) => {
                    return Poll::Ready(Err(refused(Error::DecryptError)));
                }
                Err(error) if is_transient(&error) => self.short_reads = 0,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(0))
    }

    /// As a read that cannot be spliced where that is to decide: an end looks like a record without a byte.
    pub(super) fn try_fill(&mut self, pipe: &LentPipe) -> io::Result<Spliced> {
        if self.is_closing {
            return Ok(Spliced::Finished);
        }
        match fill(pipe, &self.socket) {
            Ok(Spliced::Finished) => Err(ErrorKind::InvalidInput.into()),
            Ok(moved) => {
                self.control.note_data();
                Ok(moved)
            }
            Err(error) => {
                self.is_odd = error.kind() == ErrorKind::InvalidInput;
                Err(error)
            }
        }
    }

    /// Ready once there is something to be read, or the stream is broken.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = self.socket.poll_read_ready(context) {
            return Poll::Ready(result);
        }
        self.breaking.await_with(context);
        match self.socket.try_io(Interest::ERROR, || Ok(())) {
            Err(error) if is_transient(&error) => Poll::Pending,
            // A write may have heard of the error and told only what it had sent until then.
            _ => {
                let error = self.socket.take_error()?;
                Poll::Ready(Err(error.unwrap_or_else(|| refused(Error::DecryptError))))
            }
        }
    }

    fn follow(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Nothing => {}
            Said::Closing => self.is_closing = true,
            Said::Renegotiation => self.owes_refusal = true,
            Said::Renewed { asks } => {
                self.renew(Direction::Receive)?;
                self.owes_update |= asks;
            }
        }
        Ok(())
    }

    fn renew(&mut self, direction: Direction) -> io::Result<()> {
        let keys = self.renewal.as_mut();
        let keys = keys.and_then(|renewal| renewal.renew(direction));
        let keys = keys.ok_or_else(|| refused(Error::EncryptError))?;
        kernel_tls::set_keys(&self.socket, direction, &keys)
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_owed(context))?;
        let count = ready!(wire::poll_write(context, &self.socket, bytes))?;
        self.count(count);
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        pipe: &LentPipe,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_owed(context))?;
        let count = ready!(drain(context, pipe, &self.socket))?;
        self.count(count);
        Poll::Ready(Ok(count))
    }

    /// Records are as long as may be; the few that are shorter, since a pipe's pages lie so, are within the limit's margin.
    fn count(&mut self, bytes: usize) {
        let records = bytes / RECORD_MAX + 1;
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.records_left = self.records_left.saturating_sub(records);
        self.owes_update |= self.records_left == 0;
    }

    /// Sends what is owed to the peer before any more data.
    pub(super) fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_taken_leave {
            return Poll::Ready(Ok(()));
        }
        if self.owes_refusal {
            ready!(self.poll_send(context, ALERT, &NO_RENEGOTIATION_ALERT))?;
            self.owes_refusal = false;
        }
        if self.owes_update {
            if self.renewal.is_none() {
                return Poll::Ready(Err(refused(Error::EncryptError)));
            }
            ready!(self.poll_send(context, HANDSHAKE, &KEY_UPDATE_MESSAGE))?;
            self.renew(Direction::Transmit)?;
            self.records_left = self.records_max;
            self.owes_update = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the peer is told that nothing more will come.
    pub(super) const fn has_taken_leave(&self) -> bool {
        self.has_taken_leave
    }

    /// Takes leave of the peer, and waits until a close would lose nothing.
    ///
    /// The write side stays open: what TCP had no room for, the kernel would find shut when it has. The farewell says it all,
    /// and the close follows.
    pub(super) fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_owed(context))?;
        if !self.has_taken_leave {
            ready!(self.poll_send(context, ALERT, &CLOSE_NOTIFY_ALERT))?;
            self.has_taken_leave = true;
        }
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            // poll(2) also has the kernel tell once there is room: the runtime hears of it.
            let is_room = self
                .socket
                .try_io(Interest::WRITABLE, || has_room(&self.socket));
            match is_room {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_send(&self, context: &mut Context<'_>, kind: u8, bytes: &[u8]) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            let sending = || kernel_tls::send(&self.socket, kind, bytes);
            match self.socket.try_io(Interest::WRITABLE, sending) {
                Err(error) if is_transient(&error) => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }
}

/// Wakes the task once the stream is broken: newer kernels tell of that by an error, and not as something to be read.
struct Breaking {
    waiting: Pin<Box<dyn Future<Output = ()>>>,
    is_awaited: bool,
}

impl Breaking {
    fn new(socket: &Arc<TcpStream>) -> Self {
        let socket = Arc::clone(socket);
        let waiting = async move {
            let _ = socket.ready(Interest::ERROR).await;
        };
        Self {
            waiting: Box::pin(waiting),
            is_awaited: false,
        }
    }

    /// Once for all, since it takes a lock and a session has one task: whether it has happened, the readiness tells.
    fn await_with(&mut self, context: &mut Context<'_>) {
        if !self.is_awaited {
            self.is_awaited = true;
            let _ = self.waiting.as_mut().poll(context);
        }
    }
}

impl fmt::Debug for Breaking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Breaking").finish_non_exhaustive()
    }
}

/// A third of the send buffer is free (`tcp_poll` of Linux), so that whatever the kernel has encrypted fits.
pub(super) fn has_room(socket: &TcpStream) -> io::Result<()> {
    let mut asked = [PollFd::new(socket, PollFlags::OUT)];
    let at_once = Timespec::try_from(Duration::ZERO).map_err(io::Error::other)?;
    match poll(&mut asked, Some(&at_once))? {
        0 => Err(ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn refused(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// What is read at first, and after less was there: 4,096 records at the most.
const SMALL_ROOM: usize = 4 * 1024;
/// So many short reads in a row are a turn: in each there may be as many records as bytes.
const SHORT_READS_MAX: u8 = 4;

/// The most that a record holds: RFC 8446, section 5.1.
const RECORD_MAX: usize = 1 << 14;
