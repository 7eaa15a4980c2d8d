//! A simulated Edge Server on loopback, with faults on command.
//!
//! One TCP port: connections that open with a TLS record are served by real TLS, all others in
//! plain lines, and both speak the protocol of [`crate::lines`]. Every answer starts with the
//! node's name, so that a client sees who serves it. Owns no health and no policy.
//!
//! ```text
//! start ──► running ──freeze──► frozen ──thaw──► running
//!              └──────kill───────┴──► dead ──revive──► running
//! ```

mod serve;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use self::state::{Phase, State};
use self::wire::Wire;
use crate::tls;

/// More connections than this wait in the kernel.
const CONNECTIONS_MAX: usize = 50_000;

const BACKLOG: i32 = 4096;

/// What a node has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted since the start, over all lives.
    pub accepted: u64,
    /// Connections open at present.
    pub open: u64,
    /// Lines answered since the start.
    pub lines: u64,
}

/// A node; dropping it kills it.
#[derive(Debug)]
pub struct SimulatedEdge {
    state: Arc<State>,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    life: Mutex<Life>,
}

/// A listener at work, or its port kept for the next life.
#[derive(Debug)]
enum Life {
    Serving(JoinHandle<()>),
    /// Bound but not listening: connects are refused, and nobody else gets the port.
    Reserved(Option<Socket>),
}

impl SimulatedEdge {
    /// Starts a node at `listen`; port 0 picks one.
    ///
    /// # Errors
    /// The address cannot be bound, or no certificate could be made.
    pub async fn start(name: &str, listen: SocketAddr) -> io::Result<Self> {
        let socket = reserve(listen)?;
        let address = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a listening socket without an IP address"))?;
        let edge = Self {
            state: Arc::new(State::new(name.to_owned())),
            address,
            tls: tls::server_config()?,
            life: Mutex::new(Life::Reserved(Some(socket))),
        };
        edge.revive().await?;
        Ok(edge)
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Where it listens; the same through all its lives.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Dies like a killed process: all connections are reset, and the port refuses when this
    /// returns.
    pub async fn kill(&self) {
        let mut life = self.life.lock().await;
        if let Life::Serving(task) = &mut *life {
            self.state.phase.send_replace(Phase::Dead);
            let _ = task.await;
            *life = Life::Reserved(reserve(self.address).ok());
        }
    }

    /// Listens again after [`kill`](Self::kill), on the same port.
    ///
    /// # Errors
    /// The port was taken by somebody else in the meantime.
    pub async fn revive(&self) -> io::Result<()> {
        let mut life = self.life.lock().await;
        let Life::Reserved(socket) = &mut *life else {
            return Ok(());
        };
        let socket = match socket.take() {
            Some(socket) => socket,
            None => reserve(self.address)?,
        };
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        self.state.phase.send_replace(Phase::Running);
        let (state, tls) = (
            Arc::clone(&self.state),
            TlsAcceptor::from(Arc::clone(&self.tls)),
        );
        *life = Life::Serving(tokio::spawn(live(listener, state, tls)));
        Ok(())
    }

    /// Falls silent like a stopped process: the kernel still completes handshakes.
    pub fn freeze(&self) {
        self.turn(Phase::Running, Phase::Frozen);
    }

    /// Wakes from [`freeze`](Self::freeze) and goes on where it was.
    pub fn thaw(&self) {
        self.turn(Phase::Frozen, Phase::Running);
    }

    /// The next `count` connections are accepted, read once and reset before a byte is sent.
    pub fn die_before_first_byte(&self, count: u32) {
        self.state.doomed.store(count, Relaxed);
    }

    /// Whether connections that open with TLS are reset at their first byte.
    pub fn refuse_tls(&self, refuse: bool) {
        self.state.refuse_tls.store(refuse, Relaxed);
    }

    /// Waits this long before each answer to a line; zero to stop.
    pub fn slow(&self, pause: Duration) {
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.state.slow_micros.store(micros, Relaxed);
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            accepted: self.state.accepted.load(Relaxed),
            open: self.state.open.load(Relaxed),
            lines: self.state.lines.load(Relaxed),
        }
    }

    fn turn(&self, from: Phase, to: Phase) {
        self.state.phase.send_if_modified(|phase| {
            let turns = *phase == from;
            if turns {
                *phase = to;
            }
            turns
        });
    }
}

impl Drop for SimulatedEdge {
    fn drop(&mut self) {
        self.state.phase.send_replace(Phase::Dead);
    }
}

fn reserve(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of an earlier life may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// One life: accepts until it dies, then takes all its connections with it.
async fn live(listener: TcpListener, state: Arc<State>, tls: TlsAcceptor) {
    let mut phase = state.phase.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let now = *phase.borrow_and_update();
        tokio::select! {
            biased;
            turned = phase.changed() => if turned.is_err() { break },
            () = std::future::ready(()), if now == Phase::Dead => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            stream = admit(&listener), if now == Phase::Running
                && connections.len() < CONNECTIONS_MAX =>
            {
                state.accepted.fetch_add(1, Relaxed);
                let wire = Wire::new(stream, Arc::clone(&state));
                connections.spawn(serve::attend(wire, Arc::clone(&state), tls.clone()));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn admit(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or a client that left: the queue is still there afterwards.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
