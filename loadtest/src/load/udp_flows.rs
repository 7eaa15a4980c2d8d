//! Datagrams in the manner of audio, there and back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use super::agenda::{Agenda, period};
use super::pace::Pace;
use super::record::{Question, Record, Trouble};
use super::{pick, source};
use crate::partner::Diary;
use crate::scenario::UdpFlows;

/// A packet that has not been answered by then is lost; whatever comes later is too late for audio.
const LOST: Duration = Duration::from_secs(2);

/// RTP's fixed header (RFC 3550, section 5.1).
const HEADER: usize = 12;

/// Version 2 and nothing else; payload type 114, which is RTAudio of 16 kHz.
const RTP: [u8; 2] = [0x80, 114];

/// Largest datagram that is understood.
const DATAGRAM_MAX: usize = 17 * 1024;

pub(super) fn begin(
    plan: &UdpFlows,
    addresses: &[SocketAddr],
    record: Arc<Record>,
) -> io::Result<()> {
    let each = period(plan.rate);
    let start = Instant::now() + each;
    let (mut flows, mut agenda) = (Vec::new(), Agenda::default());
    let mut watches = Vec::new();
    for number in 0..plan.flows {
        let address = pick(addresses, number)?;
        let diary = Diary::new(&format!("{}-{}", plan.name, number + 1), address, each);
        watches.push(diary.watch());
        let flow = Rc::new(Flow {
            socket: open(address, number)?,
            diary,
            packet: RefCell::new(packet(plan.bytes, number)),
            waiting: RefCell::default(),
        });
        spawn_local(hear(Rc::clone(&flow), Arc::clone(&record)));
        flows.push(flow);
        let phase = each.mul_f64(f64::from(number) / f64::from(plan.flows));
        agenda.enter(start + phase, number);
    }
    record.watch(watches);
    let pace = Pace::new()?;
    spawn_local(send_in_time(flows, agenda, each, pace, record));
    Ok(())
}

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    diary: Diary,
    packet: RefCell<Box<[u8]>>,
    waiting: RefCell<Waiting>,
}

/// Packets that wait for their answers, the oldest first.
#[derive(Debug, Default)]
struct Waiting {
    next: u32,
    packets: VecDeque<(u32, Question)>,
    node: Box<[u8]>,
}

fn open(address: SocketAddr, number: u32) -> io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let source = source(number, address).unwrap_or(any);
    let socket = std::net::UdpSocket::bind((source, 0))?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// A packet of flow `number`; the sequence numbers are set when it is sent.
fn packet(bytes: u32, number: u32) -> Box<[u8]> {
    let mut packet = vec![b'a'; (bytes as usize).max(HEADER)];
    for (place, byte) in packet.iter_mut().zip(RTP) {
        *place = byte;
    }
    write_at(&mut packet, 8, &number.to_be_bytes());
    packet.into()
}

fn write_at(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = packet.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

async fn send_in_time(
    flows: Vec<Rc<Flow>>,
    mut agenda: Agenda<u32>,
    each: Duration,
    pace: Pace,
    record: Arc<Record>,
) {
    while let Some(at) = agenda.next_at() {
        if pace.until(at).await.is_err() {
            return record.trouble(Trouble::Ours);
        }
        let now = Instant::now();
        while let Some((due, number)) = agenda.take_due(now) {
            record.begun(due, now);
            if let Some(flow) = flows.get(number as usize) {
                flow.send(due, now, &record);
            }
            agenda.enter(due + each, number);
        }
    }
}

async fn hear(flow: Rc<Flow>, record: Arc<Record>) {
    let _standing = record.stand();
    poll_fn(|cx| flow.poll_hear(cx, &record)).await;
}

impl Flow {
    fn send(&self, due: Instant, now: Instant, record: &Arc<Record>) {
        let mut waiting = self.waiting.borrow_mut();
        record.failed(Trouble::Silent, waiting.drop_lost(now));
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        let mut packet = self.packet.borrow_mut();
        let [_, _, high, low] = number.to_be_bytes();
        write_at(&mut packet, 2, &[high, low]);
        write_at(&mut packet, 4, &number.to_be_bytes());
        match self.socket.try_send(&packet) {
            Ok(_) => waiting.packets.push_back((number, record.ask(due))),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                record.trouble(Trouble::Refused);
            }
            Err(_) => record.trouble(Trouble::Unsent),
        }
    }

    fn poll_hear(&self, cx: &mut Context<'_>, record: &Record) -> Poll<()> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); DATAGRAM_MAX];
        loop {
            let mut answer = ReadBuf::uninit(&mut buffer);
            match ready!(self.socket.poll_recv(cx, &mut answer)) {
                Ok(()) => {
                    self.answered(answer.filled(), record);
                    if self.waiting.borrow().packets.is_empty() {
                        // Nothing more can come, and epoll(7) will tell if something does.
                        let empty = || Err::<(), _>(ErrorKind::WouldBlock.into());
                        let _ = self.socket.try_io(Interest::READABLE, empty);
                    }
                }
                // udp(7): an ICMP message for a packet of earlier; that one is lost.
                Err(error) => {
                    self.waiting.borrow_mut().packets.pop_front();
                    record.trouble(Trouble::of(&error));
                }
            }
        }
    }

    fn answered(&self, answer: &[u8], record: &Record) {
        let sent = self.packet.borrow();
        let start = answer.len().checked_sub(sent.len() + 1);
        let parts = start.and_then(|start| Some((answer.get(..start)?, answer.get(start..)?)));
        let Some((name, [b' ', payload @ ..])) = parts else {
            return record.trouble(Trouble::WrongBytes);
        };
        let mut waiting = self.waiting.borrow_mut();
        let number = payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let number = number.map_or(0, u32::from_be_bytes);
        if payload.get(..2) != sent.get(..2) || payload.get(8..) != sent.get(8..) {
            return record.trouble(Trouble::WrongBytes);
        }
        // A packet that is not waited for has been given up before.
        let Some(question) = waiting.take(number) else {
            return;
        };
        let due = question.due();
        question.done();
        record.settle();
        let before = waiting.change_to(name);
        let name = String::from_utf8_lossy(name);
        self.diary.answered(&name, before.is_some(), due);
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            record.trouble(Trouble::WrongNode);
            record.lost(&before);
        }
    }
}

impl Waiting {
    /// Forgets the packets that are lost by `now` and tells how many they were.
    fn drop_lost(&mut self, now: Instant) -> u64 {
        let is_lost = |it: &Question| now.saturating_duration_since(it.due()) > LOST;
        let mut lost = 0;
        while self.packets.front().is_some_and(|(_, it)| is_lost(it)) {
            self.packets.pop_front();
            lost += 1;
        }
        lost
    }

    /// Packet `number`, if it is still waited for.
    fn take(&mut self, number: u32) -> Option<Question> {
        let at = self
            .packets
            .iter()
            .position(|(waiting, _)| *waiting == number)?;
        self.packets.remove(at).map(|(_, question)| question)
    }

    /// From here on it is the node `name` that answers; which one it was before, if another.
    fn change_to(&mut self, name: &[u8]) -> Option<Box<[u8]>> {
        let is_other = *self.node != *name;
        is_other.then(|| std::mem::replace(&mut self.node, name.into()))
    }
}
