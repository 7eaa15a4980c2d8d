//! One life of a simulated node: its port and the connections that came through it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::state::{Phase, State};
use super::wire::Wire;
use super::{datagrams, serve};

/// More connections than this wait in the kernel.
const CONNECTIONS_MAX: usize = 100_000;

const BACKLOG: i32 = 4096;

/// Ports tried until one is free for TCP and UDP alike.
const ATTEMPTS: usize = 20;

/// A port number, with TCP and, while its node is to live, UDP.
#[derive(Debug)]
pub(super) struct Doors {
    address: SocketAddr,
    tcp: Socket,
    udp: Option<Socket>,
}
impl Doors {
    /// Doors at `listen`; port 0 picks one that is free for both.
    pub(super) fn find(listen: SocketAddr) -> io::Result<Self> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let mut doors = Self::at(listen)?;
            match datagrams::bind(doors.address) {
                Ok(udp) => {
                    doors.udp = Some(udp);
                    return Ok(doors);
                }
                Err(error) if listen.port() != 0 || attempts.next().is_none() => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Keeps a port for TCP, which is enough while its node is dead.
    pub(super) fn at(listen: SocketAddr) -> io::Result<Self> {
        let tcp = reserve(listen)?;
        let address = tcp.local_addr()?.as_socket().unwrap_or(listen);
        Ok(Self {
            address,
            tcp,
            udp: None,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One life of a node.
pub(super) struct House {
    address: SocketAddr,
    door: Door,
    state: Arc<State>,
    tls: TlsAcceptor,
    guests: JoinSet<()>,
}

#[derive(Debug)]
enum Door {
    Open(TcpListener),
    /// The socket keeps the port.
    Closed(Option<Socket>),
}

impl House {
    /// Opens the door, unless the port is to refuse, and answers datagrams.
    pub(super) fn open(doors: Doors, state: Arc<State>, tls: TlsAcceptor) -> io::Result<Self> {
        let udp = match doors.udp {
            Some(udp) => udp,
            None => datagrams::bind(doors.address)?,
        };
        let udp = UdpSocket::from_std(udp.into())?;
        let mut house = Self {
            address: doors.address,
            door: Door::Closed(Some(doors.tcp)),
            state: Arc::clone(&state),
            tls,
            guests: JoinSet::new(),
        };
        house.turn_door()?;
        house.guests.spawn(datagrams::serve(udp, state));
        Ok(house)
    }

    /// Accepts until the node dies, then takes all its connections with it.
    pub(super) async fn live(mut self) {
        let mut phase = self.state.phase.subscribe();
        let mut refusing = self.state.refusing.subscribe();
        loop {
            let now = *phase.borrow_and_update();
            refusing.mark_unchanged();
            // A port that cannot be had again goes on refusing.
            let _ = self.turn_door();
            let is_open = now == Phase::Running && self.guests.len() < CONNECTIONS_MAX;
            tokio::select! {
                biased;
                turned = phase.changed() => if turned.is_err() { break },
                () = std::future::ready(()), if now == Phase::Dead => break,
                turned = refusing.changed() => if turned.is_err() { break },
                Some(_) = self.guests.join_next(), if !self.guests.is_empty() => {}
                stream = admit(&self.door), if is_open => self.admit(stream),
            }
        }
        self.door = Door::Closed(None);
        self.guests.shutdown().await;
    }

    fn admit(&mut self, stream: TcpStream) {
        self.state.accepted.fetch_add(1, Relaxed);
        let wire = Wire::new(stream, Arc::clone(&self.state));
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        self.guests.spawn(serve::attend(wire, state, tls));
    }

    /// Opens or closes the door as it is wanted.
    fn turn_door(&mut self) -> io::Result<()> {
        let refuse = *self.state.refusing.borrow();
        match &mut self.door {
            Door::Open(_) if refuse => {
                self.door = Door::Closed(None);
                self.door = Door::Closed(reserve(self.address).ok());
            }
            Door::Closed(socket) if !refuse => {
                let socket = match socket.take() {
                    Some(socket) => socket,
                    None => reserve(self.address)?,
                };
                socket.listen(BACKLOG)?;
                self.door = Door::Open(TcpListener::from_std(socket.into())?);
            }
            Door::Open(_) | Door::Closed(_) => {}
        }
        let is_open = matches!(self.door, Door::Open(_));
        self.state
            .listening
            .send_if_modified(|listening| std::mem::replace(listening, is_open) != is_open);
        Ok(())
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

async fn admit(door: &Door) -> TcpStream {
    let Door::Open(listener) = door else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or a client that left: the queue is still there afterwards.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
