//! A connection in TLS: the library's until bulk comes, the kernel's from there on, where it takes it.
//!
//! Late, because measured is what a handshake and small messages cost in the library, and a connection that the kernel has
//! never comes back. Invariant: the kernel begins between two records, with nothing left behind in the library.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{Connection, ConnectionCommon, SideData};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::super::memory::LentPipe;
use super::kernel::Kernel;
use super::leg::Leg;
use crate::net::records::Records;
use crate::net::wire::Waiting;
use crate::sys::kernel_tls;
use crate::sys::pipe::Spliced;
use crate::tls::Terms;
use crate::tls::kernel::Handover;

/// A connection in TLS as its handshake leaves it.
type Library = Box<TlsStream<Records>>;

/// A connection in TLS that the kernel may go on with.
#[derive(Debug)]
pub struct Secured {
    socket: Arc<TcpStream>,
    /// `None`: the kernel has refused what the library had given away by then.
    by: Option<By>,
}

#[derive(Debug)]
enum By {
    Library(Library, Terms),
    // In a box, as the library's is.
    Kernel(Box<Kernel>),
}

impl Secured {
    /// The library's, for the time being.
    #[must_use]
    pub fn new(library: Library, terms: Terms) -> Self {
        Self {
            socket: Arc::clone(library.get_ref().0.socket()),
            by: Some(By::Library(library, terms)),
        }
    }

    /// Whether the kernel goes on with it.
    #[must_use]
    pub const fn is_kernels(&self) -> bool {
        matches!(self.by, Some(By::Kernel(_)))
    }

    /// Gives the connection to the kernel, unless something of it still lies in the library, or the kernel does not
    /// take it.
    fn hand_over(&mut self) {
        let Some(By::Library(library, terms)) = &mut self.by else {
            return;
        };
        if !terms.allow(library.get_ref().1) {
            return;
        }
        if !is_at_rest(library) {
            library.get_mut().0.stop_between(true);
            return;
        }
        if let Err(error) = kernel_tls::attach(&self.socket) {
            terms.withdraw();
            tracing::debug!(%error, "the kernel takes no connection");
            return;
        }
        if let Some(By::Library(library, terms)) = self.by.take() {
            let kernel = take_over(*library, &terms);
            match kernel {
                Ok(kernel) => self.by = Some(By::Kernel(Box::new(kernel))),
                // Its session ends as a shortage, which is told.
                Err(error) => tracing::debug!(%error, "the kernel refuses a connection in TLS"),
            }
        }
    }
}

/// Whether nothing lies in the library: of what came, all was read, and all that is to be sent has been.
fn is_at_rest(library: &mut TlsStream<Records>) -> bool {
    fn is_empty<D: SideData>(connection: &mut ConnectionCommon<D>) -> bool {
        // The answer to a peer that has renewed its keys waits for the next data, and is shown with them only.
        let is_well = connection.writer().write(&[]).is_ok();
        let state = connection.process_new_packets();
        is_well
            && state.is_ok_and(|state| {
                state.plaintext_bytes_to_read() == 0 && state.tls_bytes_to_write() == 0
            })
    }
    let is_empty = match library {
        TlsStream::Client(client) => is_empty(client.get_mut().1),
        TlsStream::Server(server) => is_empty(server.get_mut().1),
    };
    is_empty && library.get_ref().0.is_between()
}

fn take_over(library: TlsStream<Records>, terms: &Terms) -> io::Result<Kernel> {
    let (records, mut connection) = match library {
        TlsStream::Client(client) => {
            let (records, connection) = client.into_inner();
            (records, Connection::from(connection))
        }
        TlsStream::Server(server) => {
            let (records, connection) = server.into_inner();
            (records, Connection::from(connection))
        }
    };
    let is_client = matches!(connection, Connection::Client(_));
    let state = connection.process_new_packets();
    let has_peer_closed = state.is_ok_and(|state| state.peer_has_closed());
    let handover = Handover::new(connection, terms).map_err(io::Error::other)?;
    let socket = Arc::clone(records.socket());
    Kernel::take_over(socket, is_client, has_peer_closed, handover)
}

fn lost() -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, "the kernel has refused it")
}

impl Leg for Secured {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn may_take_splices(&self) -> bool {
        match &self.by {
            Some(By::Library(library, terms)) => terms.allow(library.get_ref().1),
            Some(By::Kernel(_)) => true,
            None => false,
        }
    }

    fn takes_splices(&mut self) -> bool {
        self.hand_over();
        self.is_kernels()
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        waiting: &mut Waiting,
    ) -> Poll<io::Result<usize>> {
        loop {
            let library = match &mut self.by {
                Some(By::Library(library, _)) => library,
                Some(By::Kernel(kernel)) => return kernel.poll_read(context, buffer),
                None => return Poll::Ready(Err(lost())),
            };
            let result = Leg::poll_read(library, context, buffer, waiting);
            if result.is_ready() || !library.get_ref().0.has_stopped() {
                return result;
            }
            self.hand_over();
            // Where it does not rest, the library goes on.
            if let Some(By::Library(library, _)) = &mut self.by {
                library.get_mut().0.stop_between(false);
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.by {
            Some(By::Library(library, _)) => Leg::poll_write(library, context, bytes),
            Some(By::Kernel(kernel)) => kernel.poll_write(context, bytes),
            None => Poll::Ready(Err(lost())),
        }
    }

    fn poll_fill_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.by {
            Some(By::Kernel(kernel)) => kernel.poll_ready(context),
            Some(By::Library(..)) | None => Poll::Ready(Err(lost())),
        }
    }

    fn try_fill(&mut self, pipe: &LentPipe) -> io::Result<Spliced> {
        match &mut self.by {
            Some(By::Kernel(kernel)) => kernel.try_fill(pipe),
            Some(By::Library(..)) | None => Err(lost()),
        }
    }

    fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        pipe: &LentPipe,
    ) -> Poll<io::Result<usize>> {
        match &mut self.by {
            Some(By::Kernel(kernel)) => kernel.poll_drain(context, pipe),
            Some(By::Library(..)) | None => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.by {
            Some(By::Library(library, _)) => Leg::poll_flush(library, context),
            Some(By::Kernel(kernel)) => kernel.poll_owed(context),
            None => Poll::Ready(Err(lost())),
        }
    }

    fn is_taking_leave(&self) -> bool {
        matches!(&self.by, Some(By::Kernel(kernel)) if kernel.has_taken_leave())
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.by {
            Some(By::Library(library, _)) => Leg::poll_finish(library, context),
            Some(By::Kernel(kernel)) => kernel.poll_finish(context),
            None => Poll::Ready(Err(lost())),
        }
    }
}

#[cfg(test)]
mod tests;
