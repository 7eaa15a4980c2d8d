//! The UDP side of a simulated node: the same port number, one answer to each datagram.
//!
//! A STUN request is answered in kind, anything else by `NAME DATAGRAM`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;

use super::state::State;
use super::stun::{self, Ends};

/// Larger than any datagram.
const DATAGRAM_MAX: usize = 64 * 1024;

/// Datagrams answered before others have their turn.
const TURN: usize = 64;

/// A second of a few hundred audio streams; the system may grant less.
const BUFFER: usize = 4 * 1024 * 1024;

pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Answers for as long as the node lives.
pub(super) async fn serve(socket: UdpSocket, state: Arc<State>) {
    let service = async {
        let Ok(node) = socket.local_addr() else {
            return;
        };
        let mut desk = Desk {
            socket: &socket,
            node,
            state: &state,
            datagram: vec![0; DATAGRAM_MAX],
            answer: Vec::new(),
        };
        while socket.readable().await.is_ok() {
            desk.take_turn();
            tokio::task::yield_now().await;
        }
    };
    state.unless_frozen(service).await;
}

#[derive(Debug)]
struct Desk<'a> {
    socket: &'a UdpSocket,
    node: SocketAddr,
    state: &'a State,
    datagram: Vec<u8>,
    answer: Vec<u8>,
}

impl Desk<'_> {
    fn take_turn(&mut self) {
        for _ in 0..TURN {
            match self.socket.try_recv_from(&mut self.datagram) {
                Ok((count, client)) => self.answer(count, client),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP message about a client that is gone.
                Err(_) => {}
            }
        }
    }

    fn answer(&mut self, count: usize, client: SocketAddr) {
        self.state.datagrams.fetch_add(1, Relaxed);
        if self.state.mute.load(Relaxed) {
            return;
        }
        let datagram = self.datagram.get(..count).unwrap_or_default();
        let node = self.node;
        let stun = stun::answer(datagram, &self.state.name, Ends { client, node });
        self.answer.clear();
        match stun {
            Some(answer) => self.answer.extend(answer),
            None => {
                for part in [self.state.name.as_bytes(), b" ", datagram] {
                    self.answer.extend_from_slice(part);
                }
            }
        }
        // A full buffer loses a datagram, as everywhere.
        let _ = self.socket.try_send_to(&self.answer, client);
    }
}
