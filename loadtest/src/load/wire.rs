//! A client's connection with what lies between its bytes and the network: nothing, or TLS.
//!
//! Owns speaking TLS to a balancer that ends it, so that no load has to know. What is negotiated is
//! the scenario's matter: a client offers one suite and one group (see `tls`), or there is no connection.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::server_name;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    tls: Option<RefCell<Box<ClientConnection>>>,
}

impl Wire {
    /// In clear.
    pub(super) const fn plain(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// In TLS, once both sides have agreed.
    ///
    /// # Errors
    /// They have not.
    pub(super) async fn secure(stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let connector = TlsConnector::from(Arc::clone(config));
        let secured = connector.connect(server_name()?, stream).await?;
        let (stream, connection) = secured.into_inner();
        Ok(Self {
            stream,
            tls: Some(RefCell::new(Box::new(connection))),
        })
    }

    /// The socket below. What crosses it is the session's own only in clear.
    pub(super) const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the handshake was whole, or took up an earlier session; in clear there was none.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.as_ref()?.borrow().handshake_kind()
    }

    /// Takes as many of `bytes` as there is room for. Of what TLS took and the socket did not, the rest
    /// goes before the next.
    ///
    /// # Errors
    /// There is no room, or the connection has failed.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return self.stream.try_write(bytes);
        };
        let mut tls = tls.borrow_mut();
        send(&mut tls, &self.stream)?;
        let count = tls.writer().write(bytes)?;
        match send(&mut tls, &self.stream) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Reads what has come; 0 at the other side's end.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(tls) = &self.tls {
                match tls.borrow_mut().reader().read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            }
            ready!(self.stream.poll_read_ready(context))?;
            let read = match &self.tls {
                None => read(&self.stream, buffer).map(Some),
                Some(tls) => receive(&mut tls.borrow_mut(), &self.stream).map(|()| None),
            };
            match read {
                Ok(None) => {}
                Ok(Some(count)) => return Poll::Ready(Ok(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Reads what there is, and spares the call that would say there is no more.
fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let count = stream.try_read(buffer)?;
    if (1..buffer.len()).contains(&count) {
        // epoll(7): after a short read the next byte is a new event.
        let empty = || Err::<(), _>(ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::READABLE, empty);
    }
    Ok(count)
}

fn receive(tls: &mut ClientConnection, stream: &TcpStream) -> io::Result<()> {
    // A peer that ends without a farewell is told by the reader.
    let _ = tls.read_tls(&mut Socket(stream))?;
    let state = tls.process_new_packets();
    state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(())
}

fn send(tls: &mut ClientConnection, stream: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        let _ = tls.write_tls(&mut Socket(stream))?;
    }
    Ok(())
}

/// A socket as rustls wants it.
struct Socket<'s>(&'s TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
