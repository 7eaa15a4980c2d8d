//! A connection as the pump sees it: bytes in, bytes out, whatever lies between them and the wire.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::super::memory::LentPipe;
use crate::net::records::Records;
use crate::net::wire::{self, Waiting};
use crate::sys::pipe::Spliced;

/// One connection of a session.
pub trait Leg {
    /// The socket below.
    fn socket(&self) -> &TcpStream;

    /// Whether the session's bytes cross the socket as they are, so that they can be looked at there, and spliced.
    fn is_plain(&self) -> bool;

    /// Whether bulk may be spliced from its socket and to it, now or once it was given to the kernel.
    fn may_take_splices(&self) -> bool {
        self.is_plain()
    }

    /// Whether bulk, which has come, can be spliced. One in TLS that [may](Self::may_take_splices) is given to the kernel for
    /// that, perhaps a little later: asked again, it says so then.
    fn takes_splices(&mut self) -> bool {
        self.is_plain()
    }

    /// Reads what has come into `buffer`; 0 once the peer has finished. One task polls, always with the same `waiting`.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        waiting: &mut Waiting,
    ) -> Poll<io::Result<usize>>;

    /// Takes as many of `bytes` as it has room for, at least one.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Ready once it is worth a try to fill a pipe.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_fill_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_read_ready(context)
    }

    /// Fills `pipe`, which is empty, where it [takes splices](Self::takes_splices).
    ///
    /// # Errors
    ///
    /// `WouldBlock`: nothing has come; the runtime knows. `InvalidInput`: what has come must be read (`splice(2)`). Any
    /// other: the connection has failed.
    fn try_fill(&mut self, pipe: &LentPipe) -> io::Result<Spliced> {
        fill(pipe, self.socket())
    }

    /// Takes from `pipe`, which holds something, as much as it has room for, where it [takes splices](Self::takes_splices).
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        pipe: &LentPipe,
    ) -> Poll<io::Result<usize>> {
        drain(context, pipe, self.socket())
    }

    /// Ready once everything that it took is with the system.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer is told so, as far as this side can, while it has yet to read what comes before: a reset would take
    /// that away.
    fn is_taking_leave(&self) -> bool {
        false
    }

    /// Tells the peer that nothing more will come. One that is gone has nothing to be told.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Leg for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        waiting: &mut Waiting,
    ) -> Poll<io::Result<usize>> {
        wire::poll_read(context, self, buffer, waiting)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        wire::poll_write(context, self, bytes)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(wire::finish(self))
    }
}

/// In a box, because what TLS keeps of a connection is large, and a session moves about while it opens.
impl Leg for Box<TlsStream<Records>> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0.socket()
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        _: &mut Waiting,
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buffer);
        match ready!(Pin::new(&mut **self).poll_read(context, &mut read)) {
            Ok(()) => Poll::Ready(Ok(read.filled().len())),
            // Without a farewell: many a stack closes so, and what is spoken inside knows its own ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self).poll_write(context, bytes)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self).poll_flush(context)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut **self).poll_shutdown(context)) {
            Err(error) if is_gone(&error) => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

/// Takes what `source` has into `pipe`, once.
pub(super) fn fill(pipe: &LentPipe, source: &TcpStream) -> io::Result<Spliced> {
    source.try_io(Interest::READABLE, || pipe.fill(source))
}

/// Gives `sink` what is in `pipe`, as much as it takes.
pub(super) fn drain(
    context: &mut Context<'_>,
    pipe: &LentPipe,
    sink: &TcpStream,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(sink.poll_write_ready(context))?;
        match sink.try_io(Interest::WRITABLE, || pipe.drain(sink)) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Whether the peer of a connection is gone already.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe
    )
}

/// The leg towards a node of a listener that terminates TLS.
#[derive(Debug)]
pub enum NodeLeg<T> {
    /// In clear.
    Plain(TcpStream),
    /// In TLS.
    Tls(T),
}

impl<T: Leg> Leg for NodeLeg<T> {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn may_take_splices(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.may_take_splices(),
        }
    }

    fn takes_splices(&mut self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.takes_splices(),
        }
    }

    fn poll_fill_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_fill_ready(context),
            Self::Tls(stream) => stream.poll_fill_ready(context),
        }
    }

    fn try_fill(&mut self, pipe: &LentPipe) -> io::Result<Spliced> {
        match self {
            Self::Plain(stream) => stream.try_fill(pipe),
            Self::Tls(stream) => stream.try_fill(pipe),
        }
    }

    fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        pipe: &LentPipe,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_drain(context, pipe),
            Self::Tls(stream) => stream.poll_drain(context, pipe),
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        waiting: &mut Waiting,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Leg::poll_read(stream, context, buffer, waiting),
            Self::Tls(stream) => Leg::poll_read(stream, context, buffer, waiting),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Leg::poll_write(stream, context, bytes),
            Self::Tls(stream) => Leg::poll_write(stream, context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Leg::poll_flush(stream, context),
            Self::Tls(stream) => Leg::poll_flush(stream, context),
        }
    }

    fn is_taking_leave(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.is_taking_leave(),
        }
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_finish(context),
            Self::Tls(stream) => stream.poll_finish(context),
        }
    }
}

impl AsyncRead for NodeLeg<Box<TlsStream<Records>>> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for NodeLeg<Box<TlsStream<Records>>> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
