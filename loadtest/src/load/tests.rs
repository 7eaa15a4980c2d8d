use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;
use crate::SimulatedEdge;

const SOON: Duration = Duration::from_secs(15);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const IN_STEP: &str = "[[round-trips]]\nname = \"l\"\nconnections = 8\n";
const IN_TIME: &str = "[[round-trips]]\nname = \"l\"\nconnections = 8\nrate = 1000.0\n";
const DOWN: &str = "[[bulk]]\nname = \"l\"\nstreams = 2\n";
const UP: &str = "[[bulk]]\nname = \"l\"\nstreams = 2\nstream = \"up\"\n";
const CONNECTS: &str = "[[connects]]\nname = \"l\"\nat_once = 4\n";
const CONNECTS_IN_TIME: &str = "[[connects]]\nname = \"l\"\nat_once = 400\nrate = 300.0\n";
const IDLE: &str = "[[idle]]\nname = \"l\"\nsessions = 20\n";
const USERS: &str = "[[users]]\nname = \"l\"\nusers = 40\nsign_in_rate = 1000.0\nkeep_alive = \"50ms\"\nmessages_per_hour = 36000.0\nmessage_bytes = 300\n";
const PARTNERS: &str = "[[partners]]\nname = \"l\"\ngeneration = \"ocs-2007\"\npartners = 4\nconnections = 4\ninterval = \"5ms\"\n";
const FLOOD: &str = "[[flood]]\nname = \"l\"\nrate = 500.0\nheld = 20\n";
const RESUMED: &str = "[[connects]]\nname = \"l\"\nat_once = 4\nhandshakes = \"resumed\"\n";
const UDP: &str = "[[udp-flows]]\nname = \"l\"\nflows = 10\nrate = 50.0\nbytes = 160\n";

const ALL: [&str; 11] = [
    IN_STEP,
    IN_TIME,
    DOWN,
    UP,
    CONNECTS,
    CONNECTS_IN_TIME,
    IDLE,
    USERS,
    PARTNERS,
    FLOOD,
    UDP,
];

/// Nodes on one thread, a load on another, as in a run.
struct World {
    edges: Vec<SimulatedEdge>,
    stage: Stage,
}

impl World {
    /// `load` against two nodes, without a balancer between.
    async fn open(load: &str) -> Self {
        let mut edges = Vec::new();
        for name in ["edge1", "edge2"] {
            edges.push(SimulatedEdge::start(name, ANY).await.unwrap());
        }
        let addresses = edges.iter().map(SimulatedEdge::address).collect();
        let stage = stage(load, addresses).unwrap();
        let world = Self { edges, stage };
        let start = Instant::now();
        world.record().open_window(start, SOON);
        world
    }

    fn record(&self) -> &Record {
        &self.stage.records()[0]
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Record) -> bool) {
        let deadline = Instant::now() + SOON;
        let mut polls = tokio::time::interval(Duration::from_millis(2));
        while !holds(self.record()) {
            assert!(
                Instant::now() < deadline,
                "never {what}: {} units, {} standing, {:?}",
                self.record().units(),
                self.record().standing(),
                self.record().troubles()
            );
            polls.tick().await;
        }
    }

    /// As in a run: what counts begins then.
    async fn until_settled(&self) {
        self.until("settled", Record::is_settled).await;
        self.record().open_window(Instant::now(), SOON);
    }

    async fn until_in_trouble(&self, trouble: Trouble) {
        let holds = |record: &Record| record.troubles().contains_key(&trouble);
        self.until(&format!("{trouble:?}"), holds).await;
    }

    async fn until_units_grow_by(&self, count: u64) {
        let wanted = self.record().units() + count;
        self.until("more units", |record| record.units() >= wanted)
            .await;
    }

    /// Another node where the first was.
    async fn swap_first(&mut self, name: &str) {
        let old = self.edges.remove(0);
        old.kill().await;
        let address = old.address();
        drop(old);
        let new = SimulatedEdge::start(name, address).await.unwrap();
        self.edges.insert(0, new);
    }
}

fn stage(load: &str, addresses: Vec<SocketAddr>) -> io::Result<Stage> {
    let text = format!(
        "title = \"t\"\nabout = \"a\"\nrun = {{ warm_up = \"0s\", measure = \"1s\" }}\n{load}"
    );
    let scenario = Scenario::parse("test", &text).unwrap();
    stage_of(&scenario, addresses)
}

fn stage_of(scenario: &Scenario, addresses: Vec<SocketAddr>) -> io::Result<Stage> {
    let listener = "main".to_owned();
    Stage::open(
        scenario,
        &[Target {
            listener,
            addresses,
        }],
    )
}

#[tokio::test]
async fn every_kind_of_load_works_and_is_without_trouble() {
    for load in ALL {
        let world = World::open(load).await;
        world.until_settled().await;
        if load == IDLE {
            assert_eq!(world.record().standing(), 20);
        } else {
            world.until_units_grow_by(50).await;
        }
        let (latency, troubles) = world.record().close_window();
        assert!(troubles.is_empty(), "{load}: {troubles:?}");
        let timed = latency.unwrap().all().len();
        let is_timed = ![DOWN, UP, IDLE].contains(&load);
        assert_eq!(timed > 0, is_timed, "{load}: {timed}");
    }
}

/// `load` to a listener that ends TLS. Simulated nodes speak it too, so that no balancer is needed.
fn in_tls(load: &str) -> String {
    format!("{load}[[balancer.listeners]]\nservice = \"tcp\"\nterminate = {{}}\n")
}

#[tokio::test]
async fn loads_speak_tls_where_their_listener_ends_it() {
    for load in [
        IN_STEP,
        IN_TIME,
        DOWN,
        UP,
        CONNECTS,
        CONNECTS_IN_TIME,
        RESUMED,
        IDLE,
        USERS,
    ] {
        let world = World::open(&in_tls(load)).await;
        world.until_settled().await;
        if load == IDLE {
            assert_eq!(world.record().standing(), 20);
        } else {
            world.until_units_grow_by(50).await;
        }
        let troubles = world.record().troubles();
        assert!(troubles.is_empty(), "{load}: {troubles:?}");
    }
    let large = in_tls(&format!("{IN_STEP}bytes = 16000\n"));
    let world = World::open(&large).await;
    world.until_units_grow_by(50).await;
}

/// A node that answers in TLS and forgets every session at once.
fn forgetful() -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = rustls::ServerConfig::clone(&crate::tls::server_config().unwrap());
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming().take(1000) {
            let Ok(stream) = stream else { return };
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let mut line = String::new();
                let mut reader = BufReader::new(&mut stream);
                if reader.read_line(&mut line).is_ok() {
                    let _ = stream.write_all(format!("edge1 {line}").as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_whole_handshake_where_one_was_to_be_resumed_is_a_trouble() {
    for (load, is_trouble) in [(RESUMED, true), (CONNECTS, false)] {
        let world = World {
            edges: Vec::new(),
            stage: stage(&in_tls(load), vec![forgetful()]).unwrap(),
        };
        let start = Instant::now();
        world.record().open_window(start, SOON);
        if is_trouble {
            world.until_in_trouble(Trouble::Handshake).await;
        } else {
            world.until_units_grow_by(10).await;
            let troubles = world.record().troubles();
            assert!(troubles.is_empty(), "{troubles:?}");
        }
    }
}

#[tokio::test]
async fn the_largest_messages_go_there_and_back_too() {
    for load in [
        format!("{IN_STEP}bytes = 16000\n"),
        format!("{IN_TIME}bytes = 16000\n"),
        format!("{CONNECTS}bytes = 16000\n"),
        USERS.replace("300", "16000"),
        UDP.replace("160", "16000"),
    ] {
        let world = World::open(&load).await;
        world.until_settled().await;
        world.until_units_grow_by(50).await;
        let troubles = world.record().troubles();
        assert!(troubles.is_empty(), "{load}: {troubles:?}");
    }
}

#[tokio::test]
async fn every_kind_of_load_counts_the_death_of_its_node_and_recovers() {
    for load in ALL {
        let world = World::open(load).await;
        world.until_settled().await;
        if load != IDLE {
            world.until_units_grow_by(20).await;
        }
        for edge in &world.edges {
            edge.kill().await;
        }
        world.until_in_trouble(Trouble::Refused).await;
        let standing = if load == UDP { 10 } else { 0 };
        world
            .until("all down", |record| record.standing() == standing)
            .await;
        for edge in &world.edges {
            edge.revive().await.unwrap();
        }
        world.until_units_grow_by(20).await;
        let troubles = world.record().troubles();
        let strange = [Trouble::WrongBytes, Trouble::WrongNode, Trouble::Ours];
        assert!(
            !troubles.keys().any(|trouble| strange.contains(trouble)),
            "{load}: {troubles:?}"
        );
    }
}

#[tokio::test]
async fn sessions_of_a_killed_node_are_one_reset_each_and_the_others_stand() {
    let world = World::open(IDLE).await;
    world.until_settled().await;
    world.edges[0].kill().await;
    world.until_in_trouble(Trouble::Refused).await;
    let troubles = world.record().troubles();
    assert_eq!(troubles.get(&Trouble::Reset), Some(&10), "{troubles:?}");
    assert_eq!(world.record().standing(), 10);
}

#[tokio::test]
async fn connections_that_are_lost_are_charged_to_the_node_that_answered_them() {
    for (load, on_each) in [
        (IN_STEP, 4),
        (IN_TIME, 4),
        (IDLE, 10),
        (USERS, 20),
        (PARTNERS, 8),
    ] {
        let world = World::open(load).await;
        world.until_settled().await;
        world.edges[0].kill().await;
        world.until_in_trouble(Trouble::Refused).await;
        world
            .until("all of one down", |record| record.standing() == on_each)
            .await;
        let ends = world.record().take_ends();
        let counts: Vec<_> = ends
            .iter()
            .map(|(node, ends)| (node.as_str(), ends.len() as u64))
            .collect();
        // Attempts that nobody answered are nobody's.
        assert_eq!(counts, [("edge1", on_each)], "{load}");
    }
}

/// Answers the first line of each connection as one node and the others as another.
fn turncoat() -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(1000) {
            let Ok(stream) = stream else { return };
            thread::spawn(move || {
                let mut writer = &stream;
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                for (number, line) in lines.enumerate() {
                    let node = if number == 0 { "edge1" } else { "edge2" };
                    if writer
                        .write_all(format!("{node} {line}\n").as_bytes())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn another_node_on_the_same_connection_is_noticed() {
    for load in [IN_STEP, IN_TIME, USERS, PARTNERS] {
        let world = World {
            edges: Vec::new(),
            stage: stage(load, vec![turncoat()]).unwrap(),
        };
        world.until_in_trouble(Trouble::WrongNode).await;
    }
}

#[tokio::test]
async fn a_flow_that_is_answered_by_another_node_says_so_once() {
    let mut world = World::open(UDP).await;
    world.until_settled().await;
    world.until_units_grow_by(50).await;
    world.swap_first("edge3").await;
    let moved = |record: &Record| record.troubles().get(&Trouble::WrongNode) == Some(&5);
    world.until("all moved", moved).await;
    world.until_units_grow_by(50).await;
    let troubles = world.record().troubles();
    assert_eq!(troubles.get(&Trouble::WrongNode), Some(&5), "{troubles:?}");
    let ends: Vec<_> = world.record().take_ends().into_iter().collect();
    assert_eq!(ends.len(), 1);
    assert_eq!((ends[0].0.as_str(), ends[0].1.len()), ("edge1", 5));
}

#[tokio::test]
async fn a_flow_is_without_a_node_from_its_last_answer_to_the_next() {
    let mut world = World::open(UDP).await;
    world.until_settled().await;
    world.until_units_grow_by(50).await;
    // The second node is without a fault, and the first one is silent for a while before its end.
    world.edges[0].mute(true);
    world.until_units_grow_by(50).await;
    world.swap_first("edge3").await;
    let moved = |record: &Record| record.troubles().get(&Trouble::WrongNode) == Some(&5);
    world.until("all moved", moved).await;
    let lives = world.record().partners();
    assert_eq!(lives.len(), 10);
    for (number, life) in lives.iter().enumerate() {
        assert_eq!(life.name, format!("l-{}", number + 1));
        assert_eq!((life.connections, life.pin_violations), (1, 0));
        let gaps = &life.stats.gaps;
        if number % 2 == 1 {
            assert!(gaps.is_empty(), "{gaps:?}");
            continue;
        }
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        let between = (gaps[0].from_node.as_str(), gaps[0].to_node.as_str());
        assert_eq!(between, ("edge1", "edge3"));
        // Fifty answers of five flows are ten packets of each.
        assert!(gaps[0].duration > Duration::from_millis(150), "{gaps:?}");
    }
}

#[tokio::test]
async fn packets_without_an_answer_are_lost_after_a_while() {
    let world = World::open(UDP).await;
    world.until_settled().await;
    for edge in &world.edges {
        edge.mute(true);
    }
    world.until_in_trouble(Trouble::Silent).await;
    let units = world.record().units();
    for edge in &world.edges {
        edge.mute(false);
    }
    world.until_units_grow_by(50).await;
    let lost = world.record().troubles()[&Trouble::Silent];
    let seen: u64 = world
        .edges
        .iter()
        .map(|edge| edge.counters().datagrams)
        .sum();
    assert!(
        seen >= units + lost,
        "{seen} seen, {units} answered, {lost} lost"
    );
}

#[tokio::test]
async fn a_stall_is_in_the_latency_of_everything_that_was_due_meanwhile() {
    const STALL: Duration = Duration::from_millis(400);
    for load in [IN_TIME, UDP] {
        let world = World::open(load).await;
        world.until_settled().await;
        world.until_units_grow_by(20).await;
        let before = world.record().units();
        for edge in &world.edges {
            edge.freeze();
        }
        tokio::time::sleep(STALL).await;
        for edge in &world.edges {
            edge.thaw();
        }
        let due = if load == UDP { 200 } else { 400 };
        world
            .until("caught up", |record| record.units() >= before + due)
            .await;
        let done = world.record().units() - before;
        let (latency, troubles) = world.record().close_window();
        assert!(troubles.is_empty(), "{troubles:?}");
        let latencies = latency.unwrap().all();
        // A quarter of the stall and more: three quarters of what was due in it.
        let late = latencies.len() - latencies.count_between(0, 100_000);
        assert!(late >= due / 2, "{late} of {done} late");
        assert!(latencies.max() >= 350_000);
    }
}

#[tokio::test]
async fn silence_is_told_in_the_end_by_whoever_waits_for_an_answer() {
    for load in [IN_STEP, IN_TIME, CONNECTS, USERS, FLOOD] {
        let world = World::open(load).await;
        world.until_settled().await;
        for edge in &world.edges {
            edge.freeze();
        }
        world.until_in_trouble(Trouble::Silent).await;
        for edge in &world.edges {
            edge.thaw();
        }
        world.until_units_grow_by(20).await;
    }
}

#[tokio::test]
async fn what_nobody_answers_is_counted_when_the_window_closes() {
    for load in [
        IN_STEP,
        IN_TIME,
        CONNECTS,
        CONNECTS_IN_TIME,
        USERS,
        PARTNERS,
        UDP,
    ] {
        let world = World::open(load).await;
        world.until_settled().await;
        for edge in &world.edges {
            edge.freeze();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (latency, troubles) = world.record().close_window();
        let latency = latency.unwrap();
        assert!(troubles.is_empty(), "{load}: {troubles:?}");
        assert!(latency.unanswered() >= 4, "{load}");
        assert!(latency.all().max() > 150_000, "{load}");
        for edge in &world.edges {
            edge.thaw();
        }
        world.until_units_grow_by(20).await;
    }
}

#[tokio::test]
async fn a_stream_that_stands_still_is_silent() {
    for load in [DOWN, UP] {
        let world = World::open(load).await;
        world.until_settled().await;
        for edge in &world.edges {
            edge.freeze();
        }
        world.until_in_trouble(Trouble::Silent).await;
        for edge in &world.edges {
            edge.thaw();
        }
        world.until_units_grow_by(20).await;
    }
}

#[tokio::test]
async fn connections_that_cannot_be_opened_in_time_are_unsent_and_never_too_many() {
    let world = World::open(&CONNECTS_IN_TIME.replace("400", "4")).await;
    world.until_settled().await;
    for edge in &world.edges {
        edge.slow(Duration::from_millis(100));
    }
    world.until_in_trouble(Trouble::Unsent).await;
    let open = world.edges.iter().map(|edge| edge.counters().open);
    assert!(open.sum::<u64>() <= 5);
}

#[tokio::test]
async fn a_flood_holds_as_many_as_it_may_and_leaves_the_oldest_for_the_next() {
    let world = World::open(FLOOD).await;
    world.until_units_grow_by(100).await;
    assert_eq!(world.record().standing(), 20);
    let open = world.edges.iter().map(|edge| edge.counters().open);
    assert!(open.sum::<u64>() < 60);
    world.edges[0].refuse(true).await.unwrap();
    world.until_in_trouble(Trouble::Refused).await;
    world.until_units_grow_by(100).await;
}

#[tokio::test]
async fn users_sign_in_one_after_the_other() {
    let slowly = USERS.replace("1000.0", "100.0");
    let start = Instant::now();
    let world = World::open(&slowly).await;
    world.until_settled().await;
    assert!(start.elapsed() >= Duration::from_millis(390));
    assert_eq!(world.record().standing(), 40);
    // Each is asked twice by a keep-alive and once at the beginning.
    let lines = |world: &World| -> u64 {
        let edges = world.edges.iter();
        edges.map(|edge| edge.counters().lines).sum()
    };
    let (before, said) = (lines(&world), world.record().units());
    world.until_units_grow_by(200).await;
    let (after, now) = (lines(&world), world.record().units());
    assert!(after - before > now - said, "keep-alives are answered too");
}

#[tokio::test]
async fn only_partners_of_a_later_generation_go_elsewhere() {
    for (generation, elsewhere) in [("ocs-2007", false), ("lync-2013", true)] {
        let load = PARTNERS.replace("ocs-2007", generation);
        let world = World::open(&load).await;
        world.until_settled().await;
        let before = world.edges[1].counters().accepted;
        assert_eq!(before, 8);
        world.edges[0].kill().await;
        let refused = |record: &Record| record.troubles().get(&Trouble::Refused) > Some(&16);
        if elsewhere {
            let moved = |_: &Record| world.edges[1].counters().open == 16;
            world.until("all elsewhere", moved).await;
        } else {
            world.until("refused again and again", refused).await;
            assert_eq!(world.edges[1].counters().accepted, before);
        }
    }
}

#[tokio::test]
async fn partners_speak_what_they_are_told_to_and_are_known_by_name_and_address() {
    for speech in ["plain", "tls-shape", "tls-1.2", "tls-1.3"] {
        let load = format!("{PARTNERS}speech = \"{speech}\"\n");
        let world = World::open(&load).await;
        world.until_settled().await;
        world.until_units_grow_by(100).await;
        let lives = world.record().partners();
        let names: Vec<_> = lives.iter().map(|life| life.name.as_str()).collect();
        assert_eq!(names, ["l-1", "l-2", "l-3", "l-4"], "{speech}");
        for life in lives {
            assert_eq!((life.stats.open, life.pin_violations), (4, 0), "{speech}");
            assert!(life.stats.errors.is_empty() && life.stats.gaps.is_empty());
        }
    }
}

#[tokio::test]
async fn a_partner_that_is_accepted_and_never_answered_is_not_back() {
    let world = World::open(PARTNERS).await;
    world.until_settled().await;
    for edge in &world.edges {
        edge.mute(true);
        edge.kill().await;
        edge.revive().await.unwrap();
    }
    let is_accepted = |record: &Record| {
        let mut lives = record.partners().into_iter();
        lives.all(|life| life.stats.open == 4 && life.served == 0)
    };
    world.until("accepted", is_accepted).await;
    for edge in &world.edges {
        edge.mute(false);
        edge.kill().await;
        edge.revive().await.unwrap();
    }
    let is_back = |record: &Record| record.partners().iter().all(|life| life.served == 4);
    world.until("back", is_back).await;
}

#[tokio::test]
async fn silences_count_from_the_window_on_and_those_that_last_have_nobody_after_them() {
    let world = World::open(PARTNERS).await;
    world.until_settled().await;
    let wait = Duration::from_millis(250);
    world.edges[0].freeze();
    tokio::time::sleep(wait).await;
    let lives = world.record().partners();
    assert!(lives[0].silence >= wait / 2 && lives[1].silence < wait / 2);
    assert_eq!((lives[0].waits.len(), lives[1].waits.len()), (4, 0));
    assert!(lives[0].waits.iter().all(|wait| wait.to_node.is_empty()));
    world.edges[0].thaw();
    let is_over = |record: &Record| record.partners()[0].served == 4;
    world.until("over", is_over).await;
    tokio::time::sleep(wait / 5).await;
    let life = &world.record().partners()[0];
    assert!(life.waits.iter().all(|wait| wait.to_node == "edge1"));
    world.record().open_window(Instant::now(), SOON);
    let life = &world.record().partners()[0];
    assert!(life.silence < wait / 2 && life.waits.is_empty());
    assert!(life.stats.longest_silence >= wait / 2);
}

#[tokio::test]
async fn the_gaps_of_a_swapped_node_are_told_and_are_no_violation_of_pins() {
    let mut world = World::open(PARTNERS).await;
    world.until_settled().await;
    world.swap_first("edge3").await;
    let gaps = |record: &Record| -> BTreeMap<String, u64> {
        let lives = record.partners().into_iter();
        lives
            .map(|life| (life.name, life.stats.gaps_total))
            .collect()
    };
    let expected = BTreeMap::from([("l-1", 4), ("l-2", 0), ("l-3", 4), ("l-4", 0)]);
    let expected = expected
        .into_iter()
        .map(|(name, gaps)| (name.to_owned(), gaps))
        .collect();
    world
        .until("all gaps", |record| gaps(record) == expected)
        .await;
    world.until_units_grow_by(200).await;
    for life in world.record().partners() {
        assert_eq!(life.pin_violations, 0, "{}", life.name);
        for Gap {
            from_node, to_node, ..
        } in life.stats.gaps
        {
            assert_eq!((from_node.as_str(), to_node.as_str()), ("edge1", "edge3"));
        }
    }
}

#[tokio::test]
async fn a_limit_holds_for_messages_and_connections_of_every_load_even_if_all_of_them_fail() {
    const RATE: f64 = 60.0;
    for load in ALL {
        let text = format!(
            "title = \"t\"\nabout = \"a\"\nrun = {{ warm_up = \"0s\", measure = \"1s\" }}\n{load}"
        );
        let mut scenario = Scenario::parse("test", &text).unwrap();
        scenario.limit(RATE);
        assert!(!scenario.limited.is_empty(), "{load}");
        let edge = SimulatedEdge::start("edge1", ANY).await.unwrap();
        // Nobody's connection outlives its second line.
        edge.reset_after(Some(150));
        let _stage = stage_of(&scenario, vec![edge.address()]).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let seen = edge.counters();
        assert!(seen.accepted <= 40, "{load}: {} connections", seen.accepted);
        // A line at the beginning of each connection, keep-alives and messages.
        assert!(seen.lines + seen.datagrams <= 160, "{load}: {seen:?}");
    }
}

#[tokio::test]
async fn a_stage_that_closes_takes_its_connections_with_it() {
    let World { edges, stage } = World::open(IDLE).await;
    while !stage.is_settled() {
        tokio::task::yield_now().await;
    }
    drop(stage);
    let gone = async {
        while edges.iter().any(|edge| edge.counters().open > 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

#[test]
fn a_load_without_a_target_is_an_error() {
    let text = "title = \"t\"\nabout = \"a\"\nrun = { warm_up = \"0s\", measure = \"1s\" }\n";
    let scenario = Scenario::parse("test", &format!("{text}{IDLE}")).unwrap();
    for targets in [
        Vec::new(),
        vec![Target {
            listener: "main".to_owned(),
            addresses: Vec::new(),
        }],
    ] {
        Stage::open(&scenario, &targets).unwrap_err();
    }
}

#[test]
fn sessions_call_from_addresses_of_their_own_on_this_machine_only() {
    let here = "127.0.0.1:5061".parse().unwrap();
    let sources: std::collections::BTreeSet<_> = (0..20_000)
        .filter_map(|number| source(number, here))
        .collect();
    assert_eq!(sources.len(), 20_000);
    assert!(!sources.contains(&here.ip()));
    assert_eq!(source(7, "192.0.2.1:5061".parse().unwrap()), None);
    assert_eq!(source(7, "[::1]:5061".parse().unwrap()), None);
}
