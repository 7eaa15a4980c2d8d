//! Very many flows whose nodes see the clients: little memory, no descriptors, and a cap that a flood does not lift.

use std::collections::HashMap;
use std::env;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pinfold_loadtest::process::wait_until;
use socket2::{Domain, Protocol, Socket, Type};

use super::{BOTH, UDP, VIP, appliance, caller, node_address, vip};
use crate::laboratory::{Laboratory, laboratory};
use crate::world::{Directory, Pinfold, SOON};

/// How many, unless the environment says otherwise; each takes a place in all tables.
const FLOWS: usize = 20_000;
const FLOWS_VARIABLE: &str = "PINFOLD_FLOWS";

/// Descriptors are this many times fewer.
const FLOWS_PER_DESCRIPTOR: usize = 5;

/// Memory of one flow, in bytes, with its share of room that tables have to spare.
const FLOW_MAX: usize = 700;

/// Descriptors of two workers for flows of any number, and of who looks.
const SHARED: usize = 20;

/// Datagrams that are under way at once: fewer than any queue between holds.
const BURST: usize = 200;

/// Many clients, by the datagrams that they send: no sockets of theirs are here.
struct Crowd {
    raw: Socket,
    /// The second byte of their addresses, which tells crowds apart.
    network: u8,
}

/// Clients that nodes answer, and those that they do not.
const WELCOME: u8 = 80;
const STRANGERS: u8 = 96;

impl Crowd {
    fn open(laboratory: &Laboratory, network: u8) -> Self {
        // What comes for them is counted, and goes no further.
        let table = format!("crowd{network}");
        let rule = format!("ip daddr 100.{network}.0.0/12 counter drop");
        let chain = "{ type filter hook prerouting priority raw; }";
        for command in [
            format!("nft add table inet {table}"),
            format!("nft 'add chain inet {table} in {chain}'"),
            format!("nft 'add rule inet {table} in {rule}'"),
        ] {
            laboratory.must("client", &command);
        }
        let raw = laboratory.within("client", || {
            let kind = Type::RAW;
            Socket::new(Domain::IPV4, kind, Some(Protocol::from(IPPROTO_RAW))).unwrap()
        });
        Self { raw, network }
    }

    /// A hundred clients share an address.
    fn address(&self, number: usize) -> SocketAddrV4 {
        let (host, port) = (u16::try_from(number / 100).unwrap(), number % 100);
        let [high, low] = host.to_be_bytes();
        let port = 20_000 + u16::try_from(port).unwrap();
        SocketAddrV4::new(Ipv4Addr::new(100, self.network, high, low), port)
    }

    /// A datagram of client `number` to the VIP; the kernel fills in the checksum of the IP header, and one of UDP is
    /// not needed (RFC 768).
    fn send(&self, number: usize) {
        let from = self.address(number);
        let text = [b'a'; 155];
        let length = u16::try_from(8 + text.len()).unwrap();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(from.ip().octets());
        packet.extend(VIP.octets());
        for field in [from.port(), UDP, length, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(text);
        self.raw.send_to(&packet, &vip(0).into()).unwrap();
    }

    /// How many answers have come for them.
    fn answers(&self, laboratory: &Laboratory) -> usize {
        let list = format!("nft list table inet crowd{}", self.network);
        let list = laboratory.must("client", &list);
        let mut words = list.split_whitespace();
        words.find(|word| *word == "packets").unwrap();
        words.next().unwrap().parse().unwrap()
    }
}

/// Sends whole packets: `raw(7)`.
const IPPROTO_RAW: i32 = 255;

/// The three nodes: who has come to which, and how often.
#[derive(Clone, Default)]
struct Nodes {
    came: Arc<Mutex<HashMap<SocketAddr, Visits>>>,
    /// How many clients came at least once, twice, three times.
    rounds: Arc<[AtomicUsize; 4]>,
}

#[derive(Clone, Copy)]
struct Visits {
    node: u8,
    count: usize,
}

impl Nodes {
    fn open(laboratory: &Laboratory) -> Self {
        let nodes = Self::default();
        for number in 1..=3 {
            let socket = laboratory.within(&format!("edge{number}"), || {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                socket.set_recv_buffer_size(4 << 20).unwrap();
                let address = SocketAddr::new(node_address(number), UDP);
                socket.bind(&address.into()).unwrap();
                UdpSocket::from(socket)
            });
            let nodes = nodes.clone();
            thread::spawn(move || nodes.serve(number, &socket));
        }
        nodes
    }

    /// Answers whoever is no stranger, by its own name.
    fn serve(&self, number: u8, socket: &UdpSocket) {
        let name = format!("edge{number} ");
        let mut buffer = [0; 2048];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            let IpAddr::V4(ip) = from.ip() else { continue };
            if ip.octets()[1] >= STRANGERS {
                continue;
            }
            if ip.octets()[1] >= WELCOME {
                self.note(from, number);
            }
            let answer = [name.as_bytes(), &buffer[..length]].concat();
            socket.send_to(&answer, from).unwrap();
        }
    }

    fn note(&self, from: SocketAddr, node: u8) {
        let mut came = self.came.lock().unwrap();
        let new = Visits { node, count: 0 };
        let visits = came.entry(from).or_insert(new);
        assert_eq!(visits.node, node, "{from} was elsewhere before");
        visits.count += 1;
        if let Some(round) = self.rounds.get(visits.count) {
            round.fetch_add(1, Relaxed);
        }
    }

    fn visits(&self, from: SocketAddrV4) -> usize {
        let came = self.came.lock().unwrap();
        came.get(&from.into()).map_or(0, |visits| visits.count)
    }

    /// Sends a datagram of each of `count` clients, until each has come to its node once more.
    fn visit(&self, crowd: &Crowd, count: usize, round: usize) {
        let all: Vec<usize> = (0..count).collect();
        let mut arrived = 0;
        for burst in all.chunks(BURST) {
            arrived += burst.len();
            let came = wait_until(SOON, || {
                // A datagram may be lost on a busy machine.
                for number in burst {
                    if self.visits(crowd.address(*number)) < round {
                        crowd.send(*number);
                    }
                }
                let all = || self.rounds[round].load(Relaxed) >= arrived;
                wait_until(Duration::from_millis(200), || all().then_some(()))
            });
            assert!(came.is_some(), "{arrived} do not come in round {round}");
        }
    }
}

/// Real sockets among the clients.
struct Friends(Vec<(UdpSocket, Option<String>)>);

impl Friends {
    fn open(laboratory: &Laboratory) -> Self {
        let socket = |number| {
            let socket = UdpSocket::bind((caller(number), 0)).unwrap();
            socket.connect(vip(UDP)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            (socket, None)
        };
        Self(laboratory.within("client", || (0..10).map(socket).collect()))
    }

    /// Each asks once, and its node, the same as ever, answers.
    fn talk(&mut self, word: usize) {
        let word = word.to_string();
        for (socket, _) in &self.0 {
            socket.send(word.as_bytes()).unwrap();
        }
        for (socket, node) in &mut self.0 {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).expect("an answer");
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (name, said) = answer.split_once(' ').unwrap();
            assert_eq!(said, word, "nothing is lost");
            assert_eq!(node.get_or_insert_with(|| name.into()), name);
        }
    }
}

/// Lets this process, and what it starts, open so many files.
fn limit_descriptors(limit: usize) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", std::process::id()))
        .arg(format!("--nofile={limit}:{limit}"))
        .status();
    let status = status.expect("this test needs the program `prlimit` (util-linux)");
    assert!(status.success());
}

fn ended(pinfold: &Pinfold, outcome: &str) -> f64 {
    let labels = format!("listener=\"av-udp\",outcome=\"{outcome}\"");
    let sample = format!("pinfold_sessions_total{{{labels}}}");
    pinfold.metric(&sample).unwrap_or_default()
}

#[test]
fn very_many_flows_take_little_memory_and_no_descriptors_and_a_flood_displaces_none_of_them() {
    laboratory(|laboratory| {
        let flows = env::var(FLOWS_VARIABLE).map_or(FLOWS, |text| text.parse().unwrap());
        limit_descriptors(flows / FLOWS_PER_DESCRIPTOR);
        let directory = Directory::create();
        let nodes = Nodes::open(laboratory);
        let max = flows * 3 / 2;
        let more = format!(
            "max_sessions = {max}\nidle_timeout = \"30m\"\n[listener.probe]\nkind = \"none\""
        );
        let pinfold = appliance(laboratory, &directory, &BOTH[..1], &more);
        let mut friends = Friends::open(laboratory);
        friends.talk(0);

        let (resident, descriptors) = (pinfold.resident(), pinfold.descriptors());
        let welcome = Crowd::open(laboratory, WELCOME);
        nodes.visit(&welcome, flows, 1);
        let answered = || (welcome.answers(laboratory) >= flows).then_some(());
        assert!(wait_until(SOON, answered).is_some(), "all are answered");
        let all = u64::try_from(flows + friends.0.len()).unwrap();
        assert_eq!(pinfold.sessions(), all);
        // A worker opens what all of its flows share when the first one needs it.
        assert!(pinfold.descriptors() <= descriptors + SHARED);
        let grown = usize::try_from(pinfold.resident().saturating_sub(resident)).unwrap();
        let each = grown * 1024 / flows;
        let _ = writeln!(
            io::stderr(),
            "{flows} flows take {grown} KiB, {each} bytes each; {descriptors} descriptors"
        );
        assert!(each <= FLOW_MAX, "{each} bytes a flow");
        nodes.visit(&welcome, flows, 2);

        let strangers = Crowd::open(laboratory, STRANGERS);
        let count: Vec<usize> = (0..flows).collect();
        for (word, burst) in count.chunks(BURST).enumerate() {
            burst.iter().for_each(|number| strangers.send(*number));
            friends.talk(word + 1);
        }
        let most = u64::try_from(max).unwrap();
        assert!(pinfold.sessions() <= most, "{}", pinfold.sessions());
        assert!(pinfold.sessions() > all, "strangers have room as well");
        assert!(ended(&pinfold, "refused-limit") > 0.0, "but not for all");
        // Whoever was answered before is where it was.
        nodes.visit(&welcome, flows, 3);
        friends.talk(0);
        assert_eq!(strangers.answers(laboratory), 0);
        for outcome in ["node-down", "node-reset", "redirected"] {
            assert_eq!(ended(&pinfold, outcome), 0.0, "{outcome}");
        }
    });
}
