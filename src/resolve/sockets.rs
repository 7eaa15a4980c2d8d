//! Sockets, timers and tasks as hickory wants them, of this thread's runtime.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where sockets come from. A task ends once nobody has a question for its connection.
#[derive(Clone, Default)]
pub(super) struct Sockets(Arc<Mutex<JoinSet<()>>>);

impl Spawn for Sockets {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(future);
        while tasks.try_join_next().is_some() {}
    }
}

impl RuntimeProvider for Sockets {
    type Handle = Self;
    type Timer = Timer;
    type Udp = Datagrams;
    type Tcp = Stream;

    fn create_handle(&self) -> Self {
        self.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Boxed<'static, io::Result<Stream>> {
        Box::pin(async move {
            let socket = match server {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            if let Some(from) = from {
                socket.bind(from)?;
            }
            socket.set_nodelay(true)?;
            let limit = limit.unwrap_or(CONNECT_LIMIT);
            let connected = tokio::time::timeout(limit, socket.connect(server)).await;
            connected
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map(Stream)
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        _server: SocketAddr,
    ) -> Boxed<'static, io::Result<Datagrams>> {
        Box::pin(async move { UdpSocket::bind(local).await.map(Datagrams) })
    }
}

/// A UDP socket.
pub(super) struct Datagrams(UdpSocket);

impl DnsUdpSocket for Datagrams {
    type Time = Timer;

    fn poll_recv_from(
        &self,
        task: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let from = ready!(self.0.poll_recv_from(task, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }

    fn poll_send_to(
        &self,
        task: &mut Context<'_>,
        buffer: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(task, buffer, to)
    }
}

/// A TCP connection.
pub(super) struct Stream(TcpStream);

impl DnsTcpStream for Stream {
    type Time = Timer;
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(task, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_close(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

/// The runtime's timer.
pub(super) struct Timer;

impl Time for Timer {
    fn delay_for<'a>(duration: Duration) -> Boxed<'a, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn timeout<'a, F: 'static + Future + Send + 'a>(
        duration: Duration,
        future: F,
    ) -> Boxed<'a, Result<F::Output, io::Error>> {
        Box::pin(async move {
            let done = tokio::time::timeout(duration, future).await;
            done.map_err(|_| io::ErrorKind::TimedOut.into())
        })
    }
}

/// No longer than any server is waited for.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
