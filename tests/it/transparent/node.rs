//! A simulated A/V Edge: by UDP it says whom it has heard what from, or sends away whoever wants a relayed address.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pinfold::inspect::stun::{Class, Dialect, Message, Method};
use socket2::SockRef;

use super::place;
use crate::laboratory::Laboratory;

/// How soon a thread notices that it is to end.
const NOTICE: Duration = Duration::from_millis(20);

/// What the first answer names as the node's own address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alternate {
    Nobody,
    /// The address that the question came to.
    Itself,
    This(SocketAddr),
}

/// A process of a node's, as it were: its sockets close when it is dropped.
#[derive(Debug)]
pub(super) struct Node {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    datagrams: Vec<UdpSocket>,
}

impl Node {
    /// Serves on all addresses of `name`.
    pub(super) fn start(laboratory: &Laboratory, name: &'static str, alternate: Alternate) -> Self {
        let number = place(name) + 1;
        let addresses: [IpAddr; 3] = [
            format!("203.0.113.3{number}").parse().unwrap(),
            format!("2001:db8:2::3{number}").parse().unwrap(),
            format!("192.0.2.1{number}").parse().unwrap(),
        ];
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut threads, mut datagrams) = (Vec::new(), Vec::new());
        for ip in addresses {
            let (udp, tcp) = laboratory.within(name, || {
                let udp = UdpSocket::bind((ip, 3478)).unwrap();
                (udp, TcpListener::bind((ip, 443)).unwrap())
            });
            datagrams.push(udp.try_clone().unwrap());
            let over = Arc::clone(&is_over);
            threads.push(thread::spawn(move || {
                serve_datagrams(name, &udp, alternate, &over);
            }));
            let over = Arc::clone(&is_over);
            threads.push(thread::spawn(move || serve_connections(name, &tcp, &over)));
        }
        Self {
            is_over,
            threads,
            datagrams,
        }
    }

    /// Says something to a client outside that has not asked, from where it answers the others.
    pub(super) fn say(&self, client: SocketAddr, word: &[u8]) {
        let mut sockets = self.datagrams.iter();
        let alike =
            |socket: &&UdpSocket| socket.local_addr().unwrap().is_ipv6() == client.is_ipv6();
        sockets.find(alike).unwrap().send_to(word, client).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_datagrams(name: &str, socket: &UdpSocket, alternate: Alternate, over: &AtomicBool) {
    socket.set_read_timeout(Some(NOTICE)).unwrap();
    let here = socket.local_addr().unwrap();
    let mut buffer = vec![0; 65_536];
    while !over.load(Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let said = &buffer[..length];
        let to = match alternate {
            Alternate::Nobody => None,
            Alternate::Itself => Some(here),
            Alternate::This(address) => Some(address),
        };
        let answer = refusal(said, to).unwrap_or_else(|| {
            let saw = format!("{name} {from} ");
            [saw.as_bytes(), said].concat()
        });
        // Nobody there: the next question is what matters.
        let _ = socket.send_to(&answer, from);
    }
}

/// The answer to the first Allocate, in its dialect: who are you, and where I am. `None` where it is none.
fn refusal(question: &[u8], alternate: Option<SocketAddr>) -> Option<Vec<u8>> {
    let asked = Message::read(question)?;
    if (asked.class, asked.method) != (Class::Request, Method::Allocate) {
        return None;
    }
    let is_microsoft = asked.dialect == Dialect::Microsoft;
    let mut attributes: Vec<(u16, Vec<u8>)> = Vec::new();
    if is_microsoft {
        attributes.push((0x000f, vec![0x72, 0xc6, 0x4b, 0xc6]));
    }
    attributes.push((0x0009, b"\0\0\x04\x01Unauthorized".to_vec()));
    if let Some(address) = alternate {
        let (family, ip) = match address.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let value = [vec![0, family], address.port().to_be_bytes().into(), ip].concat();
        attributes.push((if is_microsoft { 0x000e } else { 0x8023 }, value));
    }
    let mut body = Vec::new();
    for (kind, value) in attributes {
        let length = u16::try_from(value.len()).unwrap();
        body.extend([kind.to_be_bytes(), length.to_be_bytes()].concat());
        body.extend(value);
        if !is_microsoft {
            body.resize(body.len().next_multiple_of(4), 0);
        }
    }
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    Some([&[1, 0x13], &length, &asked.transaction[..], &body].concat())
}

fn serve_connections(name: &'static str, listener: &TcpListener, over: &Arc<AtomicBool>) {
    // For a listener this is how long it accepts: socket(7).
    SockRef::from(listener)
        .set_read_timeout(Some(NOTICE))
        .unwrap();
    let mut threads = Vec::new();
    while !over.load(Relaxed) {
        if let Ok((stream, from)) = listener.accept() {
            let over = Arc::clone(over);
            threads.push(thread::spawn(move || {
                let _ = serve_connection(name, &stream, from, &over);
            }));
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve_connection(
    name: &str,
    mut stream: &TcpStream,
    from: SocketAddr,
    over: &AtomicBool,
) -> io::Result<()> {
    stream.set_read_timeout(Some(NOTICE))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while !over.load(Relaxed) {
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                write!(stream, "{name} {from} {line}")?;
                line.clear();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
