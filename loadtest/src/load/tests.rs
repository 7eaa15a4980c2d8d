use std::time::{Duration, Instant};

use super::*;
use crate::SimulatedEdge;

const SOON: Duration = Duration::from_secs(10);

/// Nodes on one thread, loads on another, as in a run.
struct World {
    edges: Vec<SimulatedEdge>,
    stage: Stage,
}

impl World {
    /// `load` against two nodes.
    async fn open(load: &str) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut edges = Vec::new();
        for name in ["edge1", "edge2"] {
            edges.push(SimulatedEdge::start(name, any).await.unwrap());
        }
        let text = format!(
            "title = \"t\"\nabout = \"a\"\nrun = {{ warm_up = \"0s\", measure = \"1s\" }}\n{load}"
        );
        let scenario = Scenario::parse("test", &text).unwrap();
        let targets = [Target {
            listener: "main".to_owned(),
            addresses: edges.iter().map(SimulatedEdge::address).collect(),
        }];
        let stage = Stage::open(&scenario, &targets).unwrap();
        Self { edges, stage }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Record) -> bool) {
        let deadline = Instant::now() + SOON;
        let mut polls = tokio::time::interval(Duration::from_millis(2));
        let record = &self.stage.records()[0];
        while !holds(record) {
            assert!(
                Instant::now() < deadline,
                "never {what}: {} units, {} standing, {:?}",
                record.units(),
                record.standing(),
                record.troubles()
            );
            polls.tick().await;
        }
    }

    async fn until_settled(&self) -> &Record {
        self.until("settled", Record::is_settled).await;
        &self.stage.records()[0]
    }
}

#[tokio::test]
async fn every_kind_of_tcp_load_works_and_is_without_trouble() {
    for load in [
        "[[round-trips]]\nname = \"l\"\nconnections = 8\n",
        "[[round-trips]]\nname = \"l\"\nconnections = 8\nrate = 2000.0\n",
        "[[bulk]]\nname = \"l\"\nstreams = 2\n",
        "[[bulk]]\nname = \"l\"\nstreams = 2\nstream = \"up\"\n",
        "[[connects]]\nname = \"l\"\nat_once = 4\n",
        "[[connects]]\nname = \"l\"\nat_once = 4\nrate = 500.0\n",
        "[[idle]]\nname = \"l\"\nsessions = 100\n",
        "[[users]]\nname = \"l\"\nusers = 50\nsign_in_rate = 1000.0\nkeep_alive = \"50ms\"\nmessages_per_hour = 36000.0\nmessage_bytes = 300\n",
        "[[partners]]\nname = \"l\"\ngeneration = \"ocs-2007\"\npartners = 3\nconnections = 4\ninterval = \"5ms\"\n",
        "[[flood]]\nname = \"l\"\nrate = 1000.0\nheld = 20\n",
    ] {
        let world = World::open(load).await;
        let record = world.until_settled().await;
        record.open_window(Instant::now(), Duration::from_secs(1));
        let before = record.units();
        let more = u64::from(!load.contains("idle"));
        world
            .until("at work", |record| record.units() >= before + 40 * more)
            .await;
        let (latency, troubles) = record.close_window();
        assert!(troubles.is_empty(), "{load}: {troubles:?}");
        let timed = latency.unwrap().all().len();
        let is_timed = !load.contains("bulk") && !load.contains("idle");
        assert_eq!(timed > 0, is_timed, "{load}: {timed}");
    }
}

#[tokio::test]
async fn sessions_of_a_killed_node_are_resets_and_stand_again_once_it_is_back() {
    let world = World::open("[[idle]]\nname = \"l\"\nsessions = 20\n").await;
    let record = world.until_settled().await;
    record.open_window(Instant::now(), SOON);
    world.edges[0].kill().await;
    let refused = |record: &Record| record.troubles().contains_key(&Trouble::Refused);
    world.until("refused", refused).await;
    let troubles = record.troubles();
    assert_eq!(troubles.get(&Trouble::Reset), Some(&10), "{troubles:?}");
    assert_eq!(record.standing(), 10);
    world.edges[0].revive().await.unwrap();
    world
        .until("all standing again", |record| record.standing() == 20)
        .await;
}
