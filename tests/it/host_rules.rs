//! What `pinfold check --host-rules` prints, in force in a kernel: applied as the shipped unit applies it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use pinfold::net::transparent::{SELF_TEST_PORT, interception_port, mark};
use pinfold_loadtest::process::EdgeProcess;
use socket2::{Domain, Protocol, Socket, Type};

use crate::laboratory::{Laboratory, laboratory, said};
use crate::world::{Caller, Directory, SOON, loadtest};

/// Long enough for a packet within one machine, short enough for one that must not come.
const SHORT: Duration = Duration::from_millis(300);

const VIP: &str = "198.51.100.10";

/// The laboratory's nodes behind a gateway. Their A/V Edges are there, and no listener is.
fn two_arms(directory: &Directory) {
    let text = format!(
        "version = 1\n[server]\nworkers = 2\nadmin = \"unix:{}\"\n\
         [gateway]\noutside = \"outside\"\ninside = \"inside\"\n\
         [[gateway.snat]]\nfamily = \"access\"\nports = [\"tcp/5061\"]\nto = \"{VIP}\"\n\
         {}\
         [[listener]]\nname = \"federation\"\nbind = \"{VIP}:5061\"\npool = \"edge\"\n",
        directory.admin().display(),
        nodes()
    );
    directory.write_text(&text);
}

fn nodes() -> String {
    let node = |number: u8| {
        format!(
            "[[pool.node]]\nname = \"edge{number}\"\naddress = \"203.0.113.1{number}\"\n\
             addresses = {{ av = \"203.0.113.3{number}\", internal = \"192.0.2.1{number}\" }}\n"
        )
    };
    format!(
        "[[pool]]\nname = \"edge\"\n{}",
        [1, 2, 3].map(node).concat()
    )
}

/// The same nodes with A/V listeners whose clients they see.
fn audio(directory: &Directory) {
    let listener = |service: &str, port: u16| {
        format!(
            "[[listener]]\nname = \"{service}\"\nbind = \"198.51.100.30:{port}\"\n\
             service = \"{service}\"\npool = \"edge\"\n"
        )
    };
    let listeners = listener("av-udp", 3478) + &listener("av-tcp", 443);
    let text = format!("version = 1\n[server]\nworkers = 2\n{}{listeners}", nodes());
    directory.write_text(&text);
}

/// The command that the shipped unit gives under `key`, for the configuration of `directory`.
fn unit_command(key: &str, directory: &Directory) -> String {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/pinfold-host-rules.service");
    let unit = fs::read_to_string(unit).unwrap();
    let start = format!("{key}=");
    let line = unit.lines().find_map(|line| line.strip_prefix(&start));
    let config = directory.config();
    let command = line.unwrap().replace("$$", "$");
    command.replace("/etc/pinfold/pinfold.toml", config.to_str().unwrap())
}

/// Does what the unit does.
fn unit(laboratory: &Laboratory, key: &str, directory: &Directory) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_pinfold")).parent().unwrap();
    let command = unit_command(key, directory);
    laboratory.sh(
        "appliance",
        &format!("PATH={}:$PATH; {command}", program.display()),
    )
}

fn apply(laboratory: &Laboratory, directory: &Directory) {
    let output = unit(laboratory, "ExecStart", directory);
    assert!(output.status.success(), "{}", said(&output));
}

/// All that the rules touch.
fn state(laboratory: &Laboratory) -> String {
    let command = "nft -s list ruleset; ip rule; ip -6 rule; ip route show table all; \
                   ip -6 route show table all; cat /proc/sys/net/ipv4/ip_forward; \
                   cat /proc/sys/net/ipv6/conf/all/forwarding; ls /run/pinfold-host-rules 2> /dev/null; true";
    laboratory.must("appliance", command)
}

#[test]
fn the_unit_applies_them_as_often_as_one_likes_and_takes_away_all_of_them() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        laboratory.must("appliance", "nft add table inet somebody_elses");
        let before = state(laboratory);
        for write in [two_arms, audio] {
            write(&directory);
            apply(laboratory, &directory);
            let applied = state(laboratory);
            assert!(applied.contains("table inet pinfold"), "{applied}");
            assert_ne!(applied, before);
            for key in ["ExecStart", "ExecReload"] {
                let output = unit(laboratory, key, &directory);
                assert!(output.status.success(), "{}", said(&output));
                assert_eq!(state(laboratory), applied, "{key}");
            }
        }
        for _ in 0..2 {
            let output = unit(laboratory, "ExecStop", &directory);
            assert!(output.status.success(), "{}", said(&output));
            assert_eq!(state(laboratory), before);
        }
    });
}

#[test]
fn what_was_switched_on_by_somebody_else_stays_on() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        apply(laboratory, &directory);
        let output = unit(laboratory, "ExecStop", &directory);
        assert!(output.status.success(), "{}", said(&output));
        let switch = laboratory.must("appliance", "cat /proc/sys/net/ipv4/ip_forward");
        assert_eq!(switch.trim(), "1");
    });
}

#[test]
fn a_broken_configuration_makes_the_unit_fail_and_changes_nothing() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        apply(laboratory, &directory);
        let applied = state(laboratory);
        directory.write_text("version = 1\nlistner = 3\n");
        for key in ["ExecStart", "ExecReload"] {
            let output = unit(laboratory, key, &directory);
            assert!(!output.status.success(), "{key}");
            assert!(said(&output).contains("unknown key"), "{}", said(&output));
            assert_eq!(state(laboratory), applied);
        }
        let output = unit(laboratory, "ExecStop", &directory);
        assert!(output.status.success(), "{}", said(&output));
        assert!(!state(laboratory).contains("table inet pinfold"));
    });
}

fn udp(laboratory: &Laboratory, name: &str, address: &str) -> UdpSocket {
    let socket = laboratory.within(name, || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket
}

/// The next datagram: where it comes from, and its text.
fn next(socket: &UdpSocket) -> Option<(SocketAddr, String)> {
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((
        from,
        String::from_utf8_lossy(&buffer[..length]).into_owned(),
    ))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Whether somebody gets a connection, from an address of its own.
fn connects(laboratory: &Laboratory, name: &str, from: &str, to: &str) -> bool {
    let to = address(to);
    laboratory.within(name, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        let from: IpAddr = from.parse().unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect_timeout(&to.into(), SHORT).is_ok()
    })
}

#[test]
fn from_outside_only_audio_and_video_of_a_node_is_reached() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        let listening = ["203.0.113.11:5061", "203.0.113.31:443", "192.0.2.11:5061"];
        let _listening =
            listening.map(|place| laboratory.within("edge1", || TcpListener::bind(place).unwrap()));
        let reached =
            || listening.map(|place| connects(laboratory, "client", "198.51.100.200", place));
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            reached(),
            [true, true, true],
            "without rules it is a router"
        );
        apply(laboratory, &directory);
        assert_eq!(reached(), [false, true, false]);
        // Nor do nodes reach outside what they need not.
        let client = udp(laboratory, "client", "198.51.100.200:53");
        let other = udp(laboratory, "client", "198.51.100.200:4444");
        let front = udp(laboratory, "front", "192.0.2.101:0");
        front.send_to(b"inside", "198.51.100.200:53").unwrap();
        let node = udp(laboratory, "edge1", "203.0.113.11:0");
        node.send_to(b"other", "198.51.100.200:4444").unwrap();
        node.send_to(b"name", "198.51.100.200:53").unwrap();
        let (_, text) = next(&client).expect("names are asked for");
        assert_eq!(text, "name", "the inside is not routed to the outside");
        assert_eq!(next(&client), None);
        assert_eq!(next(&other), None);
        client.send_to(b"inward", "203.0.113.11:5061").unwrap();
        client.send_to(b"inward", "192.0.2.101:53").unwrap();
        let inner = udp(laboratory, "front", "192.0.2.101:53");
        assert_eq!(next(&inner), None);
    });
}

#[test]
fn without_the_rules_the_inside_would_be_routed_to_the_outside() {
    laboratory(|laboratory| {
        laboratory.must("appliance", "echo 1 > /proc/sys/net/ipv4/ip_forward");
        let client = udp(laboratory, "client", "198.51.100.200:53");
        let front = udp(laboratory, "front", "192.0.2.101:0");
        front.send_to(b"inside", "198.51.100.200:53").unwrap();
        assert_eq!(next(&client).unwrap().1, "inside");
    });
}

#[test]
fn partners_see_the_vip_and_reach_it_at_the_same_time_and_audio_keeps_its_source() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        two_arms(&directory);
        apply(laboratory, &directory);
        let here = address("203.0.113.11:5061");
        let _edge = laboratory.within("edge1", || {
            EdgeProcess::spawn(&loadtest(), "edge1", here).unwrap()
        });
        let pinfold = laboratory.pinfold(&directory);
        pinfold.wait_ready();
        pinfold.wait_health("edge1", "up");
        // In: the partner connects to the VIP.
        let vip = address(&format!("{VIP}:5061"));
        let source = Ipv4Addr::new(198, 51, 100, 200);
        let served = laboratory.within("client", || Caller::served(vip, source));
        assert_eq!(served.unwrap().1, "edge1");
        // Out: nodes connect to partners.
        for (name, from, to) in [
            ("edge1", "203.0.113.11", "198.51.100.200:5061"),
            ("edge2", "203.0.113.12", "198.51.100.201:5061"),
        ] {
            let partner = laboratory.within("client", || TcpListener::bind(to).unwrap());
            assert!(connects(laboratory, name, from, to), "{from} to {to}");
            let (_, peer) = partner.accept().unwrap();
            assert_eq!(peer.ip(), VIP.parse::<IpAddr>().unwrap());
        }
        // What A/V Edges send keeps its source, also to that port.
        let media = udp(laboratory, "edge1", "203.0.113.31:50000");
        let client = udp(laboratory, "client", "198.51.100.200:3478");
        media.send_to(b"media", "198.51.100.200:3478").unwrap();
        let (from, _) = next(&client).unwrap();
        assert_eq!(from, address("203.0.113.31:50000"));
        let partner = laboratory.within("client", || {
            TcpListener::bind("198.51.100.200:443").unwrap()
        });
        assert!(connects(
            laboratory,
            "edge1",
            "203.0.113.31",
            "198.51.100.200:443"
        ));
        let (_, peer) = partner.accept().unwrap();
        assert_eq!(peer.ip(), address("203.0.113.31:0").ip());
    });
}

/// A UDP header and `text`; the kernel makes the rest.
fn datagram(from: SocketAddr, to: SocketAddr, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + text.len()).unwrap();
    // Without a checksum, which IPv4 allows.
    let header = [from.port(), to.port(), length, 0];
    let mut datagram: Vec<_> = header.into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend_from_slice(text);
    datagram
}

/// A socket of worker `worker` that sends in the name of `client`.
fn in_the_name_of(client: SocketAddr, worker: u8) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
    socket.set_ip_transparent_v4(true).unwrap();
    socket.set_mark(mark(worker)).unwrap();
    socket.bind(&client.into()).unwrap();
    socket
}

/// Where worker `worker` takes what nodes answer.
fn interception(worker: u8) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_ip_transparent_v4(true).unwrap();
    let here = address(&format!("127.0.0.1:{}", interception_port(worker)));
    socket.bind(&here.into()).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket.into()
}

#[test]
fn a_nodes_answer_is_intercepted_until_the_client_speaks_with_the_node_itself() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        let node = udp(laboratory, "edge2", "203.0.113.32:3478");
        let client = udp(laboratory, "client", "198.51.100.200:5555");
        let (from, to) = (client.local_addr().unwrap(), node.local_addr().unwrap());
        let (raw, workers) = laboratory.within("appliance", || {
            (in_the_name_of(from, 1), [0, 1].map(interception))
        });
        let send = |text: &[u8]| {
            raw.send_to(&datagram(from, to, text), &to.into()).unwrap();
            assert_eq!(next(&node).unwrap().0, from, "the node sees the client");
            node.send_to(b"answer", from).unwrap();
        };
        send(b"allocate");
        assert_eq!(next(&workers[1]), Some((to, "answer".into())));
        assert_eq!(next(&workers[0]), None, "the other worker's it is not");
        client.send_to(b"direct", to).unwrap();
        assert_eq!(next(&node), Some((from, "direct".into())));
        node.send_to(b"answer", from).unwrap();
        assert_eq!(next(&client), Some((to, "answer".into())));
        assert_eq!(next(&workers[1]), None);
        // Whoever comes to the VIP again is relayed again.
        send(b"again");
        assert_eq!(next(&workers[1]), Some((to, "answer".into())));
        assert_eq!(next(&client), None);
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
        let worker = laboratory.within("appliance", || interception(0));
        client.send_to(b"direct", to).unwrap();
        assert_eq!(next(&node), Some((from, "direct".into())));
        node.send_to(b"answer", from).unwrap();
        assert_eq!(next(&client), Some((to, "answer".into())));
        assert_eq!(next(&worker), None);
    });
}

#[test]
fn the_self_test_shows_whether_they_are_in_force() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        let from = address("127.80.70.1:5000");
        let to = address(&format!("127.0.0.1:{SELF_TEST_PORT}"));
        let node = udp(laboratory, "appliance", &to.to_string());
        let (raw, worker) =
            laboratory.within("appliance", || (in_the_name_of(from, 0), interception(0)));
        let ask = || {
            raw.send_to(&datagram(from, to, b"?"), &to.into()).unwrap();
            assert_eq!(next(&node), Some((from, "?".into())));
            node.send_to(b"!", from).unwrap();
            next(&worker)
        };
        assert_eq!(ask(), None);
        apply(laboratory, &directory);
        assert_eq!(ask(), Some((to, "!".into())));
    });
}

#[test]
fn a_node_that_is_dialled_with_the_clients_address_answers_to_the_socket_that_dialled() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        audio(&directory);
        apply(laboratory, &directory);
        let node = laboratory.within("edge3", || TcpListener::bind("203.0.113.33:443").unwrap());
        let client = address("198.51.100.200:0");
        let mut stream = laboratory.within("appliance", || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_ip_transparent_v4(true).unwrap();
            socket.set_mark(mark(0)).unwrap();
            socket.bind(&client.into()).unwrap();
            let to = address("203.0.113.33:443");
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
    });
}
