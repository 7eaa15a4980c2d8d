//! UDP: a client's datagrams go to one node and its answers come back, whatever becomes of nodes and configurations.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pinfold_loadtest::process::wait_until;

use crate::world::{Caller, Listener, SOON, World, caller_address};

/// One client port, and who answers it.
#[derive(Debug)]
struct Talker(UdpSocket);

impl Talker {
    fn from(source: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((IpAddr::V4(source), 0)).unwrap();
        socket.connect(to).unwrap();
        Self(socket)
    }

    /// Sends a datagram once; the node that answers it in time.
    fn ask_within(&self, limit: Duration, word: &str) -> io::Result<String> {
        self.0.set_read_timeout(Some(limit))?;
        self.0.send(word.as_bytes())?;
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            let length = self.0.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            match answer.split_once(' ') {
                Some((node, said)) if said == word => return Ok(node.into()),
                // A late answer to what was asked before.
                _ if Instant::now() < deadline => {}
                _ => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn ask(&self, word: &str) -> String {
        self.ask_within(SOON, word).unwrap()
    }

    /// Asks until somebody answers, as audio does.
    fn ask_until_answered(&self) -> Option<String> {
        let mut number = 0;
        wait_until(SOON, || {
            number += 1;
            let limit = Duration::from_millis(20);
            self.ask_within(limit, &format!("again {number}")).ok()
        })
    }
}

fn world(count: usize, more: &str) -> World {
    World::start_with(count, |setup| {
        setup.listeners.push(Listener {
            more: more.into(),
            ..Listener::new("media", "udp")
        });
    })
}

fn media(world: &World) -> SocketAddr {
    world.pinfold.address("media")
}

/// Talkers from addresses of their own, and the nodes that answer them.
fn talkers(world: &World, numbers: std::ops::Range<usize>) -> Vec<(Talker, String)> {
    let talker = |number| {
        let talker = Talker::from(caller_address(number), media(world));
        let node = talker.ask("hello");
        (talker, node)
    };
    numbers.map(talker).collect()
}

fn sessions(world: &World) -> f64 {
    let sample = "pinfold_sessions_active{listener=\"media\",service=\"udp\",pool=\"edge\"}";
    world.pinfold.metric(sample).unwrap_or_default()
}

#[test]
fn a_client_stays_on_one_node_by_all_its_ports_and_clients_spread() {
    let world = world(3, "");
    let talkers = talkers(&world, 0..30);
    for (number, (talker, node)) in talkers.iter().enumerate() {
        let other_port = Talker::from(caller_address(number), media(&world));
        for round in 0..5 {
            assert_eq!(talker.ask(&format!("round {round}")), *node);
        }
        assert_eq!(other_port.ask("me too"), *node);
    }
    for edge in ["edge1", "edge2", "edge3"] {
        assert!(talkers.iter().any(|(_, node)| node == edge), "{edge}");
    }
    assert_eq!(sessions(&world), 60.0);
    let large = "x".repeat(8000);
    let (talker, node) = &talkers[0];
    talker.0.send(large.as_bytes()).unwrap();
    let mut buffer = vec![0; 65_536];
    let length = talker.0.recv(&mut buffer).unwrap();
    assert_eq!(length, node.len() + 1 + large.len());
}

#[test]
fn the_connections_and_datagrams_of_one_affinity_go_to_one_node() {
    let world = World::start_with(3, |setup| {
        for (name, service) in [("media", "udp"), ("media-tcp", "tcp")] {
            setup.listeners.push(Listener {
                more: "affinity = \"media\"".into(),
                ..Listener::new(name, service)
            });
        }
    });
    for number in 0..20 {
        let source = caller_address(number);
        let by_tcp = || Caller::served(world.pinfold.address("media-tcp"), source).unwrap();
        let by_udp = || Talker::from(source, media(&world)).ask("hello");
        let (first, second) = match number % 2 {
            0 => (by_udp(), by_tcp().1),
            _ => (by_tcp().1, by_udp()),
        };
        assert_eq!(first, second, "caller {number}");
    }
}

#[test]
fn the_flows_of_a_killed_node_move_with_their_next_datagrams() {
    let mut world = world(2, "");
    let talkers = talkers(&world, 0..20);
    world.edge("edge1").kill().unwrap();
    let killed = Instant::now();
    for (talker, node) in &talkers {
        let now = talker.ask_until_answered().expect("somebody answers");
        assert_eq!(now, "edge2", "{node}");
    }
    // Nothing but a bound against a hang: the kernel refuses at once.
    assert!(killed.elapsed() < SOON);
    assert_eq!(sessions(&world), 20.0, "flows of the dead node have ended");
}

#[test]
fn a_node_that_drains_keeps_its_flows_until_the_deadline_and_gets_no_others() {
    let world = world(2, "");
    let before = talkers(&world, 0..20);
    let answer = world.pinfold.post("/v1/nodes/edge1/drain?deadline=2s");
    assert_eq!(answer.unwrap().status, 200);
    for (talker, node) in &before {
        assert_eq!(talker.ask("still here"), *node);
    }
    let after = talkers(&world, 40..60);
    assert!(after.iter().all(|(_, node)| node == "edge2"));
    for (talker, _) in &before {
        let moved = wait_until(SOON, || (talker.ask("and now") == "edge2").then_some(()));
        moved.expect("the deadline ends the flow");
    }
}

#[test]
fn reloads_lose_no_flow_and_a_listener_that_is_removed_serves_its_flows_to_their_end() {
    let mut world = world(3, "");
    world.rewrite(|setup| setup.server.push_str("drain_timeout = \"2s\"\n"));
    let talkers = talkers(&world, 0..10);
    world.reload_harmlessly(10);
    for (talker, node) in &talkers {
        assert_eq!(talker.ask("after reloads"), *node);
    }
    assert_eq!(sessions(&world), 10.0);
    let address = media(&world);
    world.reload_with(|setup| setup.listeners.truncate(1));
    let (talker, node) = &talkers[0];
    assert_eq!(talker.ask("after the end"), *node);
    let stranger = Talker::from(caller_address(99), address);
    let limit = Duration::from_millis(300);
    assert!(stranger.ask_within(limit, "hello").is_err());
    let is_over = wait_until(SOON, || talker.ask_within(limit, "still?").err());
    is_over.expect("drain_timeout ends what a reload has removed");
}

#[test]
fn a_listener_that_a_reload_has_removed_by_mistake_is_brought_back_by_the_next_one_while_flows_live()
 {
    let mut world = world(2, "");
    let address = media(&world);
    let known = talkers(&world, 0..4);
    let before = world.setup.listeners.clone();
    // A port of its own, or the second reload could be given another one.
    let fixed = |listeners: &mut Vec<Listener>| {
        if let Some(media) = listeners.iter_mut().find(|each| each.name == "media") {
            media.bind = address.to_string();
        }
    };
    world.reload_with(|setup| setup.listeners.retain(|each| each.name != "media"));
    for (talker, node) in &known {
        assert_eq!(talker.ask("after the first reload"), *node);
    }
    let late = Talker::from(caller_address(9), address);
    let limit = Duration::from_millis(200);
    assert!(late.ask_within(limit, "too late").is_err());
    world.reload_with(|setup| {
        setup.listeners = before;
        fixed(&mut setup.listeners);
    });
    assert!(late.ask_until_answered().is_some());
    for (talker, node) in &known {
        assert_eq!(talker.ask("after the second reload"), *node);
    }
}

#[test]
fn an_address_whose_flows_have_had_their_time_is_free_again() {
    let mut world = world(2, "");
    world.reload_with(|setup| setup.server.push_str("drain_timeout = \"100ms\"\n"));
    let address = media(&world);
    let known = talkers(&world, 0..1);
    assert!(UdpSocket::bind(address).is_err());
    world.reload_with(|setup| setup.listeners.retain(|each| each.name != "media"));
    let is_free = || UdpSocket::bind(address).ok();
    assert!(wait_until(SOON, is_free).is_some());
    drop(known);
}

#[test]
fn a_flow_ends_when_nothing_passes() {
    let world = world(1, "idle_timeout = \"1s\"");
    let talkers = talkers(&world, 0..5);
    assert_eq!(sessions(&world), 5.0);
    let ended = wait_until(SOON, || (sessions(&world) == 0.0).then_some(()));
    ended.expect("idle flows end");
    let sample = "pinfold_sessions_total{listener=\"media\",outcome=\"idle\"}";
    assert_eq!(world.pinfold.metric(sample), Some(5.0));
    let (talker, node) = &talkers[0];
    assert_eq!(talker.ask("again"), *node, "its pin lasts");
}

#[test]
fn a_flood_of_clients_that_no_node_answers_costs_nobody_else_its_flow() {
    // The node answers one client and is deaf to the flood.
    let node = UdpSocket::bind("127.0.0.1:0").unwrap();
    node.set_read_timeout(Some(SOON)).unwrap();
    let address = node.local_addr().unwrap();
    let world = World::start_with(0, |setup| {
        setup.node("edge1", address);
        setup.listeners = vec![Listener {
            more: "max_sessions = 50".into(),
            ..Listener::new("media", "udp")
        }];
    });
    let friend = Talker::from(caller_address(0), media(&world));
    friend.0.set_read_timeout(Some(SOON)).unwrap();
    let (mut seen, mut buffer) = (None, [0; 64]);
    let mut talk = |word: &[u8]| {
        friend.0.send(word).unwrap();
        loop {
            let (length, from) = node.recv_from(&mut buffer).unwrap();
            if &buffer[..length] == word {
                assert_eq!(*seen.get_or_insert(from), from, "it is the same flow");
                node.send_to(word, from).unwrap();
                break;
            }
        }
        let length = friend.0.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], word);
    };
    talk(b"friend 1");
    for number in 0..200 {
        let stranger = Talker::from(caller_address(number + 1), media(&world));
        stranger.0.send(b"flood").unwrap();
    }
    talk(b"friend 2");
    assert!(sessions(&world) <= 50.0);
    let refused = "pinfold_sessions_total{listener=\"media\",outcome=\"refused-limit\"}";
    let refused = wait_until(SOON, || {
        world.pinfold.metric(refused).filter(|n| *n > 100.0)
    });
    refused.expect("the flood displaces itself");
}

#[test]
fn a_partner_is_known_by_datagrams_too_and_disabling_its_node_moves_it() {
    let world = world(2, "");
    let fabrikam = Talker::from(crate::world::FABRIKAM, media(&world));
    let node = fabrikam.ask("hello");
    let partners = world.pinfold.json("/v1/partners");
    let known = crate::world::find(&partners["partners"], "name", "fabrikam").clone();
    assert_eq!(known["sessions"], 1, "{known}");
    let answer = world.pinfold.post(&format!("/v1/nodes/{node}/disable"));
    assert_eq!(answer.unwrap().status, 200);
    let other = wait_until(SOON, || {
        Some(fabrikam.ask_until_answered()?).filter(|to| *to != node)
    });
    other.expect("the next datagram goes elsewhere");
}
