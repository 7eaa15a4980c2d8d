//! One accepted connection of a simulated node: how it opens, and how it ends.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::state::{Phase, State};
use crate::tls::shape;

/// What is taken from a socket at once.
pub(super) const READ: usize = 16 * 1024;

/// First byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Its end.
    Nothing,
    Lines,
    /// A hello of TLS 1.0, as OCS 2007 sends it.
    Shape,
    Tls,
}

/// A connection that is counted while it is open, and reset when the node dies around it.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    state: Arc<State>,
    /// Bytes of the opening that nobody has read yet.
    early: Vec<u8>,
    sent: u64,
    reset: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, state: Arc<State>) -> Self {
        state.open.fetch_add(1, Relaxed);
        Self {
            stream,
            state,
            early: Vec::new(),
            sent: 0,
            reset: false,
        }
    }

    /// Reads as much as tells what this is; what is read next begins with it all the same.
    pub(super) async fn opening(&mut self) -> io::Result<Opening> {
        loop {
            match self.early.as_slice() {
                [] => {}
                [TLS_HANDSHAKE, ..] => match shape::version_of_hello(&self.early) {
                    Some(shape::VERSION) => return Ok(Opening::Shape),
                    Some(_) => return Ok(Opening::Tls),
                    None => {}
                },
                _ => return Ok(Opening::Lines),
            }
            let mut early = std::mem::take(&mut self.early);
            let count = take(self, |bytes| early.extend_from_slice(bytes)).await?;
            self.early = early;
            if count == 0 {
                return Ok(Opening::Nothing);
            }
        }
    }

    /// From here on the end is a reset.
    pub(super) fn end_by_reset(&mut self) {
        self.reset = true;
    }
}

/// Waits for bytes, hands them over and tells how many; the buffer lives only meanwhile.
pub(super) async fn take<S>(stream: &mut S, mut give: impl FnMut(&[u8])) -> io::Result<usize>
where
    S: AsyncRead + Unpin,
{
    poll_fn(|cx| {
        let mut buffer = [MaybeUninit::uninit(); READ];
        let mut bytes = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut bytes))?;
        give(bytes.filled());
        Poll::Ready(Ok(bytes.filled().len()))
    })
    .await
}

/// What a node's conversation goes over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Takes bytes to throw them away and tells how many, zero at the end; `nowhere` may be
    /// written to.
    fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        nowhere: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = ReadBuf::new(nowhere);
        ready!(Pin::new(self).poll_read(cx, &mut bytes))?;
        Poll::Ready(Ok(bytes.filled().len()))
    }
}

impl Stream for Wire {
    fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        nowhere: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.early).len()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let discarded = self.stream.try_io(Interest::READABLE, || {
                // tcp(7): with MSG_TRUNC the bytes are discarded and not copied.
                Ok(recv(&self.stream, &mut *nowhere, RecvFlags::TRUNC)?.1)
            });
            match discarded {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                discarded => return Poll::Ready(discarded),
            }
        }
    }
}

impl Stream for tokio_rustls::server::TlsStream<Wire> {}

impl Stream for shape::Shaped<Wire> {}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset || *self.state.phase.borrow() == Phase::Dead {
            let _ = self.stream.set_zero_linger();
        }
        self.state.open.fetch_sub(1, Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(self.early.get(..count).unwrap_or_default());
        self.early.drain(..count);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let limit = self.state.reset_after.load(Relaxed);
        let left = usize::try_from(limit.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        if left == 0 {
            self.reset = true;
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let bytes = bytes.get(..left).unwrap_or(bytes);
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.sent += count as u64;
        // The flush that follows every answer ends it.
        self.reset |= self.sent >= limit;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(if self.reset {
            Err(ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
