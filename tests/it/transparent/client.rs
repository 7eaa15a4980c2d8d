//! A client: one port, and all that reaches it.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;
use socket2::{Domain, Protocol, Socket, Type};

use crate::host_rules::address;
use crate::laboratory::Laboratory;
use crate::world::SOON;

/// How often a client says something, as audio does.
const BEAT: Duration = Duration::from_millis(20);

/// A socket of a client. It takes datagrams from anybody, so that none from a stranger goes unnoticed.
#[derive(Debug)]
pub(super) struct Client {
    socket: UdpSocket,
    /// What ICMP tells the client's machine.
    errors: Socket,
    asked: Cell<u32>,
}

/// What a node has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whose words they are.
    pub(super) node: String,
    /// Whom it has heard.
    pub(super) saw: SocketAddr,
    /// Where it came from.
    pub(super) from: SocketAddr,
}

impl Client {
    pub(super) fn open(laboratory: &Laboratory, name: &str, address: SocketAddr) -> Self {
        let (socket, errors) = laboratory.within(name, || {
            let (domain, protocol) = match address {
                SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
                SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
            };
            let errors = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
            (UdpSocket::bind(address).unwrap(), errors)
        });
        errors.set_nonblocking(true).unwrap();
        Self {
            socket,
            errors,
            asked: Cell::new(0),
        }
    }

    /// Its own address and port.
    pub(super) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).unwrap();
    }

    /// The next datagram within `limit`, whoever sends it.
    pub(super) fn hear(&self, limit: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        buffer.truncate(length);
        Some((from, buffer))
    }

    /// Sends one datagram to `to`, which is answered from there.
    pub(super) fn ask(&self, to: &str, word: &str) -> Answer {
        self.ask_within(SOON, to, word).expect("an answer")
    }

    /// Sends one datagram to `to`, whose answer comes from there within `limit`, or none does. Late answers to what
    /// it has sent before are passed over; nobody else says anything.
    pub(super) fn ask_within(&self, limit: Duration, to: &str, word: &str) -> Option<Answer> {
        let to = address(to);
        self.asked.set(self.asked.get() + 1);
        let word = format!("{}/{word}", self.asked.get());
        self.send(to, word.as_bytes());
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let (from, said) = self.hear(left.max(Duration::from_millis(1)))?;
            assert_eq!(from, to, "a stranger: {}", String::from_utf8_lossy(&said));
            let said = String::from_utf8(said).unwrap();
            let mut parts = said.splitn(3, ' ');
            let mut next = || parts.next().unwrap();
            let (node, saw, heard) = (next().to_owned(), address(next()), next());
            if heard == word {
                return Some(Answer { node, saw, from });
            }
        }
    }

    /// Speaks as audio does until `node` pleases; who answers then, and how long that took.
    pub(super) fn speak_until(
        &self,
        to: &str,
        pleases: impl Fn(&str) -> bool,
    ) -> (String, Duration) {
        let began = Instant::now();
        let answer = wait_until(SOON, || {
            let answer = self.ask_within(BEAT, to, "again")?;
            pleases(&answer.node).then_some(answer)
        });
        (answer.expect("somebody answers").node, began.elapsed())
    }

    /// Fails where this machine has been told that somebody is not there.
    pub(super) fn is_told_of_no_error(&self) {
        let mut packet = [0; 2048];
        while let Ok(length) = (&self.errors).read(&mut packet) {
            let is_ipv6 = self.address().is_ipv6();
            // An IPv4 header comes with it: raw(7).
            let kind = packet[if is_ipv6 { 0 } else { 20 }];
            // Neighbours are found by ICMP, too: RFC 4861.
            let is_error = if is_ipv6 { kind < 128 } else { kind == 3 };
            assert!(!is_error, "{:?}", &packet[..length]);
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Caller(BufReader<TcpStream>);

impl Caller {
    /// From this address and port.
    pub(super) fn connect(laboratory: &Laboratory, name: &str, from: SocketAddr, to: &str) -> Self {
        let stream = laboratory.within(name, || {
            let kind = Socket::new(Domain::for_address(from), Type::STREAM, None).unwrap();
            kind.set_reuse_address(true).unwrap();
            kind.bind(&from.into()).unwrap();
            kind.connect_timeout(&address(to).into(), SOON).unwrap();
            TcpStream::from(kind)
        });
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Its own address and port.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.get_ref().local_addr().unwrap()
    }

    /// Says a word; which node answers, and whom it has heard. `None` where the connection has ended.
    pub(super) fn ask(&mut self) -> Option<(String, SocketAddr)> {
        self.0.get_mut().write_all(b"hello\n").ok()?;
        let mut line = String::new();
        self.0
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap();
        Some((next().to_owned(), address(next())))
    }
}
