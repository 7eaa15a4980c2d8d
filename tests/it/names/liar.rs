//! A DNS server that answers what it wants.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    Silence,
    /// Bytes that are no answer.
    Garbage,
    /// To a question that nobody asked.
    WrongId,
    /// An answer that ends in the middle of a record.
    Truncated,
    /// The name is another name of itself, by way of a second one.
    Circle,
    /// A good answer that holds for no time.
    NoTime,
    /// As many records as fit, over TCP, some of them of another name.
    Flood,
}

/// On one port of loopback, UDP and TCP.
pub(crate) struct Liar {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Liar {
    pub(crate) fn start(lie: Lie) -> Self {
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a port that is free twice");
        let address = udp.local_addr().unwrap();
        let (asked, is_over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        udp.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (count, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        let by_udp = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !over.load(Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else {
                    continue;
                };
                count.fetch_add(1, Relaxed);
                if let Some(answer) = answer(lie, &buffer[..length], false) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let over = Arc::clone(&is_over);
        let by_tcp = thread::spawn(move || {
            while !over.load(Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    thread::yield_now();
                    crate::world::pass(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(500)))
                    .unwrap();
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    if stream.read_exact(&mut question).is_err() {
                        break;
                    }
                    let Some(answer) = answer(lie, &question, true) else {
                        break;
                    };
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    let _ = stream.write_all(&[&length[..], &answer].concat());
                }
            }
        });
        Self {
            address,
            asked,
            is_over,
            threads: vec![by_udp, by_tcp],
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked over UDP.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const A: u16 = 1;
const CNAME: u16 = 5;
/// Where the name of the question stands in any answer.
const POINTER: [u8; 2] = [0xc0, 12];
const OTHER: &[u8] = b"\x05other\x04test\x00";

fn answer(lie: Lie, question: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let end = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let (asked, kind) = (question.get(12..end)?, question.get(end - 4..end - 2)?);
    let is_a = kind == A.to_be_bytes();
    let mut records = Vec::new();
    let mut flags = 0x8180_u16;
    match lie {
        Lie::Silence => return None,
        Lie::Garbage => return Some((0..200).map(|_| fastrand::u8(..)).collect()),
        Lie::WrongId | Lie::NoTime | Lie::Truncated if is_a => {
            records.push(record(&POINTER, A, 0, &[127, 0, 0, 40]));
        }
        Lie::WrongId | Lie::NoTime | Lie::Truncated => {}
        Lie::Circle => {
            records.push(record(&POINTER, CNAME, 60, OTHER));
            records.push(record(OTHER, CNAME, 60, &POINTER));
        }
        Lie::Flood if is_a && is_tcp => {
            for number in 0..3000_u32 {
                let address = Ipv4Addr::from(0x7f01_0000 + number);
                records.push(record(&POINTER, A, 60, &address.octets()));
            }
            for number in 0..100_u32 {
                let address = Ipv4Addr::from(0x7f00_0900 + number + (9 << 16));
                records.push(record(OTHER, A, 60, &address.octets()));
            }
        }
        // The answer does not fit: come by TCP.
        Lie::Flood if is_a => flags |= 0x0200,
        Lie::Flood => {}
    }
    let mut text = question.get(..2)?.to_vec();
    if lie == Lie::WrongId {
        text[0] ^= 0xff;
    }
    text.extend(flags.to_be_bytes());
    let count = u16::try_from(records.len()).unwrap();
    for number in [1, count, 0, 0] {
        text.extend(number.to_be_bytes());
    }
    text.extend(asked);
    text.extend(records.concat());
    if lie == Lie::Truncated {
        text.truncate(text.len().saturating_sub(7));
    }
    Some(text)
}

fn record(name: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    let kind = kind.to_be_bytes();
    [name, &kind, &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}
