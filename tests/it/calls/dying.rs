//! Nodes that die under two hundred calls: who had them is served elsewhere, and nobody else notices.
//!
//! What is asserted is by which evidence; how long each call was without an answer is told, and measured by the
//! harness (`calls-killed`, `calls-frozen`).

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pinfold_loadtest::process::{EdgeProcess, wait_until};

use super::{BOTH, UDP, appliance, caller, node_address, vip};
use crate::laboratory::{Laboratory, laboratory};
use crate::world::{Directory, Listener, SOON, World, caller_address, loadtest, pass};

const CALLS: u16 = 200;

/// Between two packets of a call.
const INTERVAL: Duration = Duration::from_millis(20);

/// Enough for a message that the host of a dead node sends at once, and for nothing that waits for silence.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A packet of audio: domain.md, section 6.2.
const BYTES: usize = 155;

/// One call, and who has answered it last.
struct Call {
    socket: UdpSocket,
    node: String,
    heard: Instant,
}

/// All of them, in step.
struct Calls {
    calls: Vec<Call>,
    round: u32,
}

impl Calls {
    /// Calls from these sockets, which are connected; each is answered.
    fn begin(sockets: Vec<UdpSocket>) -> Self {
        let call = |socket: UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            Call {
                socket,
                node: String::new(),
                heard: Instant::now(),
            }
        };
        let mut calls = Self {
            calls: sockets.into_iter().map(call).collect(),
            round: 0,
        };
        for _ in 0..5 {
            calls.send();
            assert_eq!(calls.listen(SOON, |_| true), 0, "everybody is answered");
        }
        calls
    }

    /// The next packet of each.
    fn send(&mut self) {
        self.round += 1;
        let packet = format!("{:<BYTES$}", self.round);
        for call in &self.calls {
            // An error is about an earlier one.
            if call.socket.send(packet.as_bytes()).is_err() {
                call.socket.send(packet.as_bytes()).unwrap();
            }
        }
    }

    /// Waits for the answers to this round's packets, of those calls that `must` be answered; how many of these were
    /// not. Answers to the others are heard as well.
    fn listen(&mut self, limit: Duration, must: impl Fn(&Call) -> bool) -> usize {
        let round = self.round.to_string();
        let mut waiting: Vec<_> = self.calls.iter().map(|_| true).collect();
        let is_must: Vec<_> = self.calls.iter().map(must).collect();
        let missing = |waiting: &[bool]| {
            let both = waiting.iter().zip(&is_must);
            both.filter(|(waits, must)| **waits && **must).count()
        };
        let _ = wait_until(limit, || {
            for (call, waits) in self.calls.iter_mut().zip(&mut waiting) {
                if *waits {
                    *waits = !call.hear(&round);
                }
            }
            (missing(&waiting) == 0).then_some(())
        });
        missing(&waiting)
    }

    /// How many calls each node has.
    fn by_node(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in &self.calls {
            *counts.entry(call.node.clone()).or_default() += 1;
        }
        counts
    }

    /// Goes on until nobody is served by `gone` any more. Whoever was served by another loses no packet and stays; how
    /// long the others were without an answer.
    fn leave(&mut self, gone: &str) -> Vec<Duration> {
        let before: Vec<_> = self
            .calls
            .iter()
            .map(|call| (call.node.clone(), call.heard))
            .collect();
        let left = wait_until(SOON, || {
            let next = Instant::now() + INTERVAL;
            self.send();
            assert_eq!(self.listen(SOON, |call| call.node != gone), 0);
            pass(next.saturating_duration_since(Instant::now()));
            (!self.by_node().contains_key(gone)).then_some(())
        });
        assert!(left.is_some(), "{:?}", self.by_node());
        let mut gaps = Vec::new();
        for (call, (node, heard)) in self.calls.iter().zip(before) {
            if node == gone {
                gaps.push(call.heard - heard);
            } else {
                assert_eq!(call.node, node);
            }
        }
        gaps
    }

    /// As [`leave`](Self::leave), where `lost` packets of each call after the node's end bring the evidence: the next
    /// one reaches another node.
    fn leave_after(&mut self, lost: usize, gone: &str) {
        for _ in 0..lost {
            self.send();
            let _ = self.listen(AT_ONCE, |_| true);
        }
        self.send();
        assert_eq!(self.listen(SOON, |_| true), 0, "everybody is answered");
        assert!(!self.by_node().contains_key(gone), "{:?}", self.by_node());
    }
}

impl Call {
    /// Whether the answer of this round has come by now.
    fn hear(&mut self, round: &str) -> bool {
        let mut buffer = [0; 2 * BYTES];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let answer = String::from_utf8_lossy(&buffer[..length]);
            let mut words = answer.split_whitespace();
            let (Some(node), Some(number)) = (words.next(), words.next()) else {
                panic!("\"{answer}\" is no answer");
            };
            if number == round {
                self.node = node.into();
                self.heard = Instant::now();
                return true;
            }
        }
        false
    }
}

/// Says how long calls were without an answer, for whoever measures.
fn tell(what: &str, mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    let at = |share: usize| gaps.get((gaps.len() * share).div_ceil(100).saturating_sub(1));
    let _ = writeln!(
        io::stderr(),
        "{what}: {} calls without an answer for p50 {:?}, p99 {:?}, at most {:?}",
        gaps.len(),
        at(50),
        at(99),
        gaps.last()
    );
}

fn connected(from: IpAddr, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Calls through the generic service, to three nodes.
fn generic(more: &str) -> (World, Calls) {
    let world = World::start_with(3, |setup| {
        setup.listeners = vec![Listener {
            more: more.into(),
            ..Listener::new("audio", "udp")
        }];
    });
    let to = world.pinfold.address("audio");
    let socket = |number| connected(caller_address(number).into(), to);
    let calls = Calls::begin((0..usize::from(CALLS)).map(socket).collect());
    let counts = calls.by_node();
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 20));
    (world, calls)
}

#[test]
fn a_killed_node_of_the_generic_service_is_left_with_the_second_packet() {
    let (mut world, mut calls) = generic("");
    world.edge("edge1").kill().unwrap();
    calls.leave_after(1, "edge1");
    world.edge("edge2").kill().unwrap();
    tell("udp, killed", calls.leave("edge2"));
}

#[test]
fn a_frozen_node_of_the_generic_service_is_left_by_the_probes_word_or_by_that_of_its_clients() {
    for (what, probe) in [
        (
            "udp, frozen, asked",
            "[listener.probe]\nkind = \"turn-allocate\"",
        ),
        ("udp, frozen, not asked", ""),
    ] {
        let (mut world, mut calls) = generic(probe);
        world.edge("edge1").freeze().unwrap();
        tell(what, calls.leave("edge1"));
        world.edge("edge1").thaw().unwrap();
    }
}

/// The nodes of the laboratory.
fn edges(laboratory: &Laboratory) -> Vec<EdgeProcess> {
    let edge = |number: u8| {
        let name = format!("edge{number}");
        laboratory.within(&name, || {
            let listen = (node_address(number), UDP).into();
            EdgeProcess::spawn(&loadtest(), &name, listen).unwrap()
        })
    };
    [1, 2, 3].map(edge).into()
}

/// Calls through the A/V service of the appliance.
fn audio(laboratory: &Laboratory) -> Calls {
    let socket = |number| connected(caller(number), vip(UDP));
    let sockets = laboratory.within("client", || (0..CALLS).map(socket).collect());
    let calls = Calls::begin(sockets);
    let counts = calls.by_node();
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 20));
    calls
}

/// Three nodes, each a host, of which one is killed and then another under calls to `service`.
fn killed(laboratory: &Laboratory, service: &str, more: &str) {
    let directory = Directory::create();
    let mut edges = edges(laboratory);
    let _pinfold = appliance(laboratory, &directory, &[(service, UDP)], more);
    let mut calls = audio(laboratory);
    edges[0].kill().unwrap();
    let what = format!("{service}, killed, over links");
    tell(&what, calls.leave("edge1"));
    edges[1].kill().unwrap();
    calls.leave_after(2, "edge2");
}

#[test]
fn a_killed_node_of_the_audio_service_is_left_when_its_host_has_said_so() {
    // A host says so to fifty senders at once (`icmp(7)`, `icmp_msgs_burst`); the others, and perhaps the probe, wait.
    laboratory(|laboratory| killed(laboratory, "av-udp", ""));
}

#[test]
fn a_killed_node_of_the_generic_service_is_left_though_its_host_says_so_to_few() {
    // All calls have one address, and to one a host says so six times, and then once a second.
    laboratory(|laboratory| killed(laboratory, "udp", "family = \"av\""));
}

#[test]
fn a_killed_node_whose_probe_is_told_nothing_is_left_as_soon() {
    let probe = "family = \"av\"\n[listener.probe]\nkind = \"turn-allocate\"";
    laboratory(|laboratory| killed(laboratory, "udp", probe));
}

#[test]
fn a_generic_service_whose_nodes_are_gone_is_not_ready_while_they_are_tried_again_until_one_answers()
 {
    // In the laboratory nobody else can get the ports of the dead.
    laboratory(|laboratory| {
        let directory = Directory::create();
        let mut edges = edges(laboratory);
        let more = "family = \"av\"";
        let pinfold = appliance(laboratory, &directory, &[("udp", UDP)], more);
        let mut calls = audio(laboratory);
        for edge in &mut edges {
            edge.kill().unwrap();
        }
        let mut is_ready = || {
            calls.send();
            pass(INTERVAL);
            pinfold.get("/ready").unwrap().status == 200
        };
        let found_out = wait_until(SOON, || (!is_ready()).then_some(()));
        assert!(found_out.is_some(), "nobody is there");
        let after = Instant::now();
        let mut tried = false;
        while !(tried && after.elapsed() > Duration::from_secs(3)) {
            assert!(after.elapsed() < SOON);
            assert!(!is_ready(), "who is tried again may be as dead as before");
            let states = ["edge1", "edge2", "edge3"].map(|node| pinfold.node(node));
            tried |= states
                .iter()
                .any(|state| state.to_string().contains("tried again"));
        }
        laboratory.within("edge2", || edges[1].restart().unwrap());
        let back = wait_until(SOON, || {
            calls.send();
            let _ = calls.listen(INTERVAL, |_| true);
            let is_back = pinfold.get("/ready").unwrap().status == 200;
            (is_back && calls.calls.iter().all(|call| call.node == "edge2")).then_some(())
        });
        assert!(back.is_some(), "{:?}", calls.by_node());
    });
}

#[test]
fn a_node_of_the_audio_service_that_vanishes_is_left_when_it_has_been_silent_for_long() {
    laboratory(|laboratory| {
        let directory = Directory::create();
        let _edges = edges(laboratory);
        let _pinfold = appliance(laboratory, &directory, &BOTH[..1], "");
        let mut calls = audio(laboratory);
        laboratory.blackhole("edge1");
        tell("av-udp, black-holed", calls.leave("edge1"));
    });
}
