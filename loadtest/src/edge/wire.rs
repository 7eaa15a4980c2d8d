//! One accepted connection of a simulated node, and how it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::state::{Phase, State};

/// A connection that is counted while it is open, and reset when the node dies around it.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    state: Arc<State>,
    reset: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, state: Arc<State>) -> Self {
        state.open.fetch_add(1, Relaxed);
        Self {
            stream,
            state,
            reset: false,
        }
    }

    /// The bytes that wait, without taking them.
    pub(super) async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(bytes).await
    }

    /// From here on the end is a reset.
    pub(super) fn end_by_reset(&mut self) {
        self.reset = true;
    }
}

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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
