//! A client that speaks bytes rather than lines, and sees how it is ended.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::world::SOON;

/// How the far side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
}

/// A raw connection; every wait has a limit.
#[derive(Debug)]
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn connect(address: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        Self::connect_with(address, source, |_| Ok(()))
    }

    /// As [`connect`](Self::connect), with a socket that differs.
    pub(crate) fn connect_with(
        address: SocketAddr,
        source: Ipv4Addr,
        differ: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Or the ports of this source, once used, would be missing for a minute.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        differ(&socket)?;
        socket.connect_timeout(&address.into(), SOON)?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Self(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Exactly `count` bytes.
    pub(crate) fn receive(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends `bytes` and hears the same again.
    pub(crate) fn echoes(&mut self, bytes: &[u8]) -> bool {
        let heard = self.send(bytes).and_then(|()| self.receive(bytes.len()));
        heard.is_ok_and(|heard| heard == bytes)
    }

    pub(crate) fn finish(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// All that comes until the far side ends the connection; `None` if it does not within `limit`.
    pub(crate) fn until_ended(&mut self, limit: Duration) -> Option<(Vec<u8>, Ended)> {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = Vec::new();
        let mut block = [0; 4096];
        loop {
            match self.0.read(&mut block) {
                Ok(0) => return Some((bytes, Ended::Closed)),
                Ok(count) => bytes.extend_from_slice(&block[..count]),
                Err(error) if is_timeout(&error) => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some((bytes, Ended::Reset)),
            }
        }
    }

    /// How the far side ends the connection, whatever it says before.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        self.until_ended(SOON).map(|(_, ended)| ended)
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
