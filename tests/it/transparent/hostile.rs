//! Clients that nobody would wish for, networks that take only small packets, and reloads in a hurry.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use pinfold_loadtest::process::wait_until;
use socket2::{Domain, Socket, Type};

use super::client::{Caller, Client};
use super::{NODES, Scene, VIP, VIP_TCP, VIP_TCP_V6, VIP_V6, media};
use crate::host_rules::address;
use crate::laboratory::{Laboratory, laboratory};
use crate::world::SOON;

/// All nodes are up and were never called dead, others are served, and nothing has panicked.
fn is_unharmed(scene: &Scene<'_>) {
    // A node that did not answer somebody is asked whether it is well.
    scene.wait_all("up");
    for (ip, udp, tcp) in [
        ("198.51.100.201", VIP, VIP_TCP),
        ("2001:db8:1::201", VIP_V6, VIP_TCP_V6),
    ] {
        let client = scene.client(ip);
        assert_eq!(client.ask(udp, "hello").saw, client.address());
        let from = client.address();
        let mut caller = Caller::connect(scene.laboratory, "client", from, tcp);
        assert_eq!(caller.ask().expect("an answer").1, from);
    }
    for listener in ["udp", "tcp", "udp6", "tcp6"] {
        assert_eq!(scene.ended(listener, "internal-error"), 0.0);
    }
    let log = scene.pinfold.process.output();
    for defect in ["panicked", "node-down"] {
        assert!(!log.contains(defect), "{log}");
    }
}

const FRONT: &str = "198.51.100.10:443";
const FRONT_V6: &str = "[2001:db8:1::10]:443";

/// Addresses that are nobody's, everybody's, this machine's, a node's, or of the other version of IP.
const ANNOUNCED: [(&str, &str, &[&str]); 4] = [
    (
        FRONT,
        "TCP4",
        &[
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "198.51.100.10",
            "198.51.100.30",
            "198.51.100.255",
            "203.0.113.0",
            "203.0.113.1",
            "203.0.113.31",
            "203.0.113.32",
            "192.0.2.1",
            "169.254.1.1",
        ],
    ),
    (
        FRONT,
        "TCP6",
        &["::1", "2001:db8:1::200", "::ffff:127.0.0.1"],
    ),
    (
        FRONT_V6,
        "TCP6",
        &[
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "fe80::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "2001:db8:1::30",
            "2001:db8:2::",
            "2001:db8:2::1",
            "2001:db8:2::31",
        ],
    ),
    (FRONT_V6, "TCP4", &["127.0.0.1", "198.51.100.200"]),
];

#[test]
fn wherever_a_proxy_says_that_a_client_is_no_node_is_called_dead_for_it() {
    laboratory(|laboratory| {
        let accept = "proxy_protocol = \"accept\"\nproxy_protocol_from = ";
        let (v4, v6) = (
            format!("{accept}[\"198.51.100.0/24\"]\n"),
            format!("{accept}[\"2001:db8:1::/64\"]\n"),
        );
        let scene = Scene::start_with(laboratory, |plan| {
            let fronts = [
                ["front", "av-tcp", FRONT, "edge", &v4],
                ["front6", "av-tcp", FRONT_V6, "edge6", &v6],
            ];
            plan.listeners
                .extend(fronts.map(|each| each.map(Into::into)));
        });
        let mut all = Vec::new();
        for (to, version, others) in ANNOUNCED {
            for (ip, port) in others
                .iter()
                .flat_map(|ip| [0, 443, 40_000].map(|port| (ip, port)))
            {
                let connect = || TcpStream::connect_timeout(&address(to), SOON).unwrap();
                let mut stream = laboratory.within("client", connect);
                let header = format!("PROXY {version} {ip} {ip} {port} 443\r\nhello\n");
                stream.write_all(header.as_bytes()).unwrap();
                all.push(stream);
            }
        }
        // Each has been given up, or serves whoever can be reached there.
        let given_up = || {
            let ended = |how| scene.ended("front", how) + scene.ended("front6", how);
            (ended("dial-failed") >= 10.0 && ended("shortage") >= 10.0).then_some(())
        };
        wait_until(SOON, given_up).expect("dials in vain");
        is_unharmed(&scene);
        drop(all);
        let are_gone = || (scene.sessions("front") + scene.sessions("front6") == 0).then_some(());
        wait_until(SOON, are_gone).expect("all have ended");
        is_unharmed(&scene);
    });
}

/// The client's own address in its network alone.
fn link_local(laboratory: &Laboratory) -> SocketAddr {
    let shown = laboratory.must("client", "ip -6 -o addr show dev outside scope link");
    let ip = shown.split_whitespace().nth(3).unwrap();
    let (ip, _) = ip.split_once('/').unwrap();
    let shown = laboratory.must("client", "ip -o link show outside");
    let (index, _) = shown.split_once(':').unwrap();
    SocketAddrV6::new(ip.parse().unwrap(), 0, 0, index.parse().unwrap()).into()
}

#[test]
fn a_client_whose_address_is_of_its_link_alone_harms_nobody() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        let from = link_local(laboratory);
        let client = Client::open(laboratory, "client", from);
        for _ in 0..20 {
            client.send(address(VIP_V6), b"hello");
        }
        let calls = (0..20).map(|_| {
            laboratory.within("client", || {
                let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
                socket.bind(&from.into()).unwrap();
                let connected = socket.connect_timeout(&address(VIP_TCP_V6).into(), SOON);
                connected
                    .map(|()| (&socket).write_all(b"hello\n"))
                    .map(|_| socket)
            })
        });
        let calls: Vec<_> = calls.collect();
        let are_over = || (scene.ended("tcp6", "shortage") == 20.0).then_some(());
        wait_until(SOON, are_over).expect("it cannot be spoken for");
        drop(calls);
        is_unharmed(&scene);
    });
}

#[test]
fn the_smallest_and_the_largest_datagrams_pass() {
    laboratory(|laboratory| {
        let scene = Scene::start(laboratory);
        for (ip, vip) in [("198.51.100.200", VIP), ("2001:db8:1::200", VIP_V6)] {
            let client = scene.client(ip);
            let node = client.ask(vip, "hello").node;
            let head = format!("{node} {} ", client.address()).len();
            for length in [0, 1, 7, 8, 9, 65_507 - head] {
                client.send(address(vip), &vec![b'x'; length]);
                let (from, answer) = client.hear(SOON).expect("an answer");
                assert_eq!((from, answer.len()), (address(vip), head + length));
            }
            // The node hears it, and cannot say it back.
            client.send(address(vip), &[b'x'; 65_507]);
            assert_eq!(client.ask(vip, "and on").node, node);
        }
        is_unharmed(&scene);
    });
}

#[test]
fn a_node_behind_a_router_that_takes_smaller_packets_keeps_its_clients() {
    laboratory(|laboratory| {
        let (vip, vip_v6) = ("198.51.100.10:3479", "[2001:db8:1::10]:3479");
        let scene = Scene::start_with(laboratory, |plan| {
            let more = "source = \"snat\"\nfamily = \"av\"\nnode_port = 3478\n";
            let plain = [
                ["plain", "udp", vip, "edge", more],
                ["plain6", "udp", vip_v6, "edge6", more],
            ];
            plan.listeners
                .extend(plain.map(|each| each.map(Into::into)));
        });
        for (client, vip, is_ipv6) in [
            ("198.51.100.200", vip, false),
            ("2001:db8:1::200", vip_v6, true),
        ] {
            let client = scene.client(client);
            let node = client.ask(vip, "hello").node;
            let router = NODES.into_iter().find(|name| *name != node).unwrap();
            let (way, via) = (media(&node, is_ipv6).ip(), media(router, is_ipv6).ip());
            laboratory.must(
                router,
                &format!(
                    "for all in all inside; do echo 0 > /proc/sys/net/ipv4/conf/$all/send_redirects; done; \
                     echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; \
                     ip route add {way} dev inside mtu lock 1280"
                ),
            );
            laboratory.must("appliance", &format!("ip route add {way} via {via}"));
            // The router says that the first one is too large; from then on the kernel knows.
            let large = "x".repeat(1400);
            let answer = wait_until(SOON, || {
                client.ask_within(Duration::from_millis(200), vip, &large)
            });
            assert_eq!(answer.expect("an answer").node, node, "it stays");
        }
        for listener in ["plain", "plain6"] {
            assert_eq!(scene.ended(listener, "node-reset"), 0.0, "{listener}");
        }
    });
}

/// Who is at the addresses of two clients.
fn partners(one: &str, other: &str) -> String {
    let partner = |name, number| {
        format!("[[partner]]\nname = \"{name}\"\naddresses = [\"198.51.100.{number}\"]\n")
    };
    partner(one, 100) + &partner(other, 101)
}

const PAIRS: [(&str, &str); 4] = [
    ("one", "other"),
    ("other", "one"),
    ("third", "one"),
    ("other", "fourth"),
];

/// Gives the listener of UDP and its partners other names again and again, takes it away and brings it back, and has a
/// node leave and come again; what Pinfold has answered to that. It ends as it began, but for the partners' names.
fn upset(scene: &Scene<'_>) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut post = |path: &str| {
        let answer = scene.pinfold.post(path);
        statuses.push(answer.map_or(0, |answer| answer.status));
    };
    let mut plan = scene.plan.clone();
    for round in 0..60 {
        let (one, other) = PAIRS[round % PAIRS.len()];
        plan.rest = partners(one, other);
        match round % 3 {
            0 => plan.listener("udp")[0] = "renamed".into(),
            1 => plan.listener("renamed")[0] = "udp".into(),
            _ => {
                let mut without = plan.clone();
                without.listeners.retain(|listener| listener[0] != "udp");
                scene.directory.write_text(&without.text(&scene.directory));
                post("/v1/reload");
            }
        }
        scene.directory.write_text(&plan.text(&scene.directory));
        post("/v1/reload");
        let action = ["drain", "disable", "resume"][round % 3];
        post(&format!("/v1/nodes/edge2/{action}"));
    }
    statuses
}

#[test]
fn flows_outlive_a_storm_of_reloads_and_are_counted_right() {
    laboratory(|laboratory| {
        let scene = Scene::start_with(laboratory, |plan| {
            plan.listener("udp")[4] = "idle_timeout = \"3s\"\n".into();
            plan.rest = partners("one", "other");
        });
        let pid = scene.pinfold.process.pid();
        let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let before = open();
        let (clients, is_over) = (scene.clients(8), &AtomicBool::new(false));
        let speak = |client: Client| {
            while !is_over.load(Relaxed) {
                let answer = client.ask_within(Duration::from_millis(200), VIP, "and on");
                assert!(answer.is_none_or(|answer| answer.saw == client.address()));
            }
            client.ask(VIP, "at last");
        };
        thread::scope(|scope| {
            for client in clients {
                scope.spawn(move || speak(client));
            }
            let statuses = upset(&scene);
            is_over.store(true, Relaxed);
            assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        });
        let of_partners = || {
            let partners = scene.pinfold.json("/v1/partners");
            let all = partners["partners"].as_array().unwrap().iter();
            all.map(|each| each["sessions"].as_u64().unwrap())
                .sum::<u64>()
        };
        assert_eq!(of_partners(), 2, "each has one flow");
        let are_gone = || (of_partners() + scene.sessions("udp") == 0).then_some(());
        wait_until(SOON, are_gone).expect("all flows have lapsed");
        assert!(open() <= before + 4, "{before} descriptors, {}", open());
        is_unharmed(&scene);
    });
}
