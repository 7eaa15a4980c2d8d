//! Nodes' answers to clients, caught and let go.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use pinfold::net::transparent::{SELF_TEST_PORT, interception_port, mark};
use socket2::{Domain, Protocol, Socket, Type};

use super::{SHORT, address, apply, audio, is_silent, next, remove, udp};
use crate::laboratory::laboratory;
use crate::world::{Directory, SOON};

/// A UDP datagram with its checksum; the kernel makes the rest of the packet.
fn datagram(from: SocketAddr, to: SocketAddr, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).unwrap();
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let header = |checksum: u16| {
        let fields = [from.port(), to.port(), length, checksum];
        fields.map(u16::to_be_bytes).concat()
    };
    // RFC 768: over addresses, protocol, length, and the datagram.
    let pseudo = [
        octets(from),
        octets(to),
        vec![0, 17],
        length.to_be_bytes().to_vec(),
    ];
    let mut all = [pseudo.concat(), header(0), text.to_vec()].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let words = all
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap();
    [header(checksum), text.to_vec()].concat()
}

fn be_transparent(socket: &Socket, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true).unwrap(),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true).unwrap(),
    }
}

/// A socket of worker `worker` that sends in the name of `client`.
fn in_the_name_of(client: SocketAddr, worker: u8, kind: Type) -> Socket {
    let is_raw = kind == Type::RAW;
    let protocol = is_raw.then_some(Protocol::UDP);
    let socket = Socket::new(Domain::for_address(client), kind, protocol).unwrap();
    be_transparent(&socket, client);
    socket.set_mark(mark(worker)).unwrap();
    // A raw socket has no port.
    let port = if is_raw { 0 } else { client.port() };
    let client = SocketAddr::new(client.ip(), port);
    socket.bind(&client.into()).unwrap();
    socket
}

/// Sends a datagram by a raw socket.
fn send_raw(raw: &Socket, from: SocketAddr, to: SocketAddr, text: &[u8]) {
    let without_port = SocketAddr::new(to.ip(), 0);
    let datagram = datagram(from, to, text);
    raw.send_to(&datagram, &without_port.into()).unwrap();
}

/// Where worker `worker` takes what nodes answer to clients of this kind.
fn interception(client: SocketAddr, worker: u8) -> UdpSocket {
    let here: IpAddr = match client {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let here = SocketAddr::new(here, interception_port(worker));
    let socket = Socket::new(Domain::for_address(here), Type::DGRAM, None).unwrap();
    be_transparent(&socket, here);
    socket.bind(&here.into()).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket.into()
}

/// What a machine is told by ICMP; waits for so long.
fn errors(limit: Duration) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.set_read_timeout(Some(limit)).unwrap();
    socket
}

/// A client and a node, of each IP version.
const PAIRS: [(&str, &str); 2] = [
    ("198.51.100.200:5555", "203.0.113.32:3478"),
    ("[2001:db8:1::200]:5555", "[2001:db8:2::32]:3478"),
];

#[test]
fn a_nodes_answer_is_intercepted_until_the_client_speaks_with_the_node_itself() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        for (client, node) in PAIRS {
            let node = udp(laboratory, "edge2", node);
            let client = udp(laboratory, "client", client);
            let (from, to) = (client.local_addr().unwrap(), node.local_addr().unwrap());
            let (raw, workers) = laboratory.within("appliance", || {
                let raw = in_the_name_of(from, 1, Type::RAW);
                (raw, [0, 1].map(|worker| interception(from, worker)))
            });
            let send = |text: &[u8]| {
                send_raw(&raw, from, to, text);
                assert_eq!(next(&node).0, from, "the node sees the client");
                node.send_to(b"answer", from).unwrap();
            };
            send(b"allocate");
            assert_eq!(next(&workers[1]), (to, "answer".into()));
            assert!(is_silent(&workers[0]), "the other worker's it is not");
            client.send_to(b"direct", to).unwrap();
            assert_eq!(next(&node), (from, "direct".into()));
            node.send_to(b"answer", from).unwrap();
            assert_eq!(next(&client), (to, "answer".into()));
            assert!(is_silent(&workers[1]));
            // Whoever comes to the VIP again is relayed again.
            send(b"again");
            assert_eq!(next(&workers[1]), (to, "answer".into()));
            assert!(is_silent(&client));
        }
    });
}

#[test]
fn nobody_outside_answers_in_a_nodes_name() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        let text = fs::read_to_string(directory.config()).unwrap();
        let gateway = "[gateway]\noutside = \"outside\"\ninside = \"inside\"\n[server]";
        let guarded = text.replace("[server]", gateway);
        // Whom the forger pretends to answer is elsewhere.
        laboratory.must("client", "ip route add 198.51.100.222 via 198.51.100.1");
        laboratory.must("client", "ip route add 2001:db8:1::222 via 2001:db8:1::1");
        for (text, is_guarded) in [(&text, false), (&guarded, true)] {
            directory.write_text(text);
            apply(laboratory, &directory);
            for (client, (_, node)) in ["198.51.100.222:5555", "[2001:db8:1::222]:5555"]
                .iter()
                .zip(PAIRS)
            {
                let node = udp(laboratory, "edge2", node);
                let (from, to) = (address(client), node.local_addr().unwrap());
                let (raw, worker) = laboratory.within("appliance", || {
                    (in_the_name_of(from, 0, Type::RAW), interception(from, 0))
                });
                send_raw(&raw, from, to, b"allocate");
                assert_eq!(next(&node).0, from);
                let forger = laboratory.within("client", || in_the_name_of(to, 0, Type::RAW));
                send_raw(&forger, to, from, b"forged");
                if is_guarded {
                    assert!(is_silent(&worker), "{from}");
                } else {
                    assert_eq!(next(&worker), (to, "forged".into()));
                }
                node.send_to(b"answer", from).unwrap();
                assert_eq!(next(&worker), (to, "answer".into()));
            }
        }
    });
}

#[test]
fn that_nobody_is_there_is_told_to_the_appliance_and_not_to_the_client() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        // A node without the service, and an address that no machine has: this machine says so itself.
        for (client, node, code) in [
            ("198.51.100.200:5555", "203.0.113.32:3478", 3),
            ("198.51.100.200:5556", "203.0.113.33:3478", 1),
        ] {
            if code == 1 {
                laboratory.link("edge3", "inside", "down");
            }
            let (from, to) = (address(client), address(node));
            let (raw, told) = laboratory.within("appliance", || {
                (in_the_name_of(from, 0, Type::RAW), errors(SOON))
            });
            let client = laboratory.within("client", || errors(SHORT));
            send_raw(&raw, from, to, b"hello");
            let mut packet = [0; 256];
            let length = (&told).read(&mut packet).unwrap();
            // Behind the IP header type and code, then the header of what it is about.
            assert_eq!(packet[20..22], [3, code], "destination unreachable");
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            assert_eq!(packet[48..52], ports, "{:?}", &packet[..length]);
            assert!(
                (&client).read(&mut packet).is_err(),
                "the client is not told"
            );
        }
    });
}

#[test]
fn a_flood_of_datagrams_takes_no_memory_of_the_kernel() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        let vip = udp(laboratory, "appliance", "198.51.100.30:3478");
        let other = udp(laboratory, "appliance", "198.51.100.30:3479");
        let remembered = || {
            let count = "cat /proc/sys/net/netfilter/nf_conntrack_count";
            let count = laboratory.must("appliance", count);
            count.trim().parse::<usize>().unwrap()
        };
        let flood = |to: &str| {
            for _ in 0..100 {
                let client = udp(laboratory, "client", "198.51.100.200:0");
                client.send_to(b"hello", to).unwrap();
            }
        };
        let answered = |socket: &UdpSocket| {
            for _ in 0..100 {
                let (from, _) = next(socket);
                socket.send_to(b"answer", from).unwrap();
            }
        };
        let before = remembered();
        flood("198.51.100.30:3478");
        answered(&vip);
        assert!(remembered() < before + 50, "{before}, {}", remembered());
        flood("198.51.100.30:3479");
        answered(&other);
        assert!(remembered() >= before + 50, "{before}, {}", remembered());
    });
}

#[test]
fn who_is_no_client_of_a_vip_is_not_touched() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        let node = udp(laboratory, "edge1", "203.0.113.31:3478");
        let client = udp(laboratory, "client", "198.51.100.201:5556");
        let (from, to) = (client.local_addr().unwrap(), node.local_addr().unwrap());
        let worker = laboratory.within("appliance", || interception(from, 0));
        client.send_to(b"direct", to).unwrap();
        assert_eq!(next(&node), (from, "direct".into()));
        node.send_to(b"answer", from).unwrap();
        assert_eq!(next(&client), (to, "answer".into()));
        assert!(is_silent(&worker));
    });
}

#[test]
fn the_self_test_shows_whether_they_are_in_force() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        for (from, node) in [("127.80.70.1", "127.0.0.1"), ("::1", "::1")] {
            let from = SocketAddr::new(from.parse().unwrap(), 5000);
            let to = SocketAddr::new(node.parse().unwrap(), SELF_TEST_PORT);
            let node = udp(laboratory, "appliance", &to.to_string());
            let (raw, worker) = laboratory.within("appliance", || {
                (in_the_name_of(from, 0, Type::RAW), interception(from, 0))
            });
            let ask = || {
                send_raw(&raw, from, to, b"?");
                assert_eq!(next(&node), (from, "?".into()));
                node.send_to(b"!", from).unwrap();
            };
            ask();
            assert!(is_silent(&worker));
            apply(laboratory, &directory);
            ask();
            assert_eq!(next(&worker), (to, "!".into()));
            remove(laboratory, &directory);
        }
    });
}

#[test]
fn a_node_that_is_dialled_with_the_clients_address_answers_to_the_socket_that_dialled() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        for (client, node) in PAIRS {
            let client = SocketAddr::new(address(client).ip(), 0);
            let to = SocketAddr::new(address(node).ip(), 443);
            let node = laboratory.within("edge2", || TcpListener::bind(to).unwrap());
            let mut stream = laboratory.within("appliance", || {
                let socket = in_the_name_of(client, 0, Type::STREAM);
                socket.connect_timeout(&to.into(), SOON).unwrap();
                TcpStream::from(socket)
            });
            let (mut accepted, peer) = node.accept().unwrap();
            assert_eq!(peer.ip(), client.ip(), "the node sees the client");
            accepted.write_all(b"answer").unwrap();
            drop(accepted);
            let mut text = String::new();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, "answer");
        }
    });
}

#[test]
fn nodes_are_not_told_of_a_shorter_way() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        // One arm: who is in the nodes' network is reached through the appliance all the same.
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        let way = "ip route add 203.0.113.12/32 via 203.0.113.1 dev inside";
        laboratory.must("edge1", way);
        let node = udp(laboratory, "edge1", "203.0.113.11:0");
        let other = udp(laboratory, "edge2", "203.0.113.12:7000");
        let told = laboratory.within("edge1", || errors(SHORT));
        let is_told = |limit| {
            told.set_read_timeout(Some(limit)).unwrap();
            node.send_to(b"hello", "203.0.113.12:7000").unwrap();
            let _ = next(&other);
            (&told).read(&mut [0; 256]).is_ok()
        };
        assert!(is_told(SOON), "the kernel would tell it");
        apply(laboratory, &directory);
        assert!(!is_told(SHORT));
        remove(laboratory, &directory);
        assert!(is_told(SOON), "and tells it again");
    });
}
