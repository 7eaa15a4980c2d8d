//! What was kept is what stands again.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::codec::{self, Present};
use super::disk::Disk;
use super::file::StateFile;
use super::keeper::Keeper;
use super::mortal::{Images, Life, Mortal, MortalShelf};
use super::restore::{Tally, restore};
use super::{Contents, Store, random_key};
use crate::clock::Moment;
use crate::config::model::PinPrefix;
use crate::config::parse;
use crate::pool::pins::{Kept, Lease, NewPin, Order, Pin, PinKey, PinScope, PinTable, PinnedBy};
use crate::pool::placement::Subject;
use crate::snapshot::{Registry, Snapshot};

mod books;
mod histories;
mod pins;
mod power;
mod removal;
mod trouble;

/// A directory of this test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!(
            "pinfold-state-{}-{}",
            std::process::id(),
            random_key().unwrap()
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.redb")
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn snapshot(nodes: &[&str], partners: &[&str], max: usize) -> Arc<Snapshot> {
    let mut text = format!("version = 1\n[server]\nmax_pins = {max}\n[[pool]]\nname = \"edge\"\n");
    for (number, node) in nodes.iter().enumerate() {
        text += &format!(
            "[[pool.node]]\nname = \"{node}\"\naddress = \"127.0.0.1:{}\"\n",
            7000 + number
        );
    }
    text += "[[listener]]\nname = \"federation\"\nbind = \"127.0.0.1:0\"\nservice = \"federation\"\npool = \"edge\"\n";
    for (number, partner) in partners.iter().enumerate() {
        text += &format!(
            "[[partner]]\nname = \"{partner}\"\naddresses = [\"127.9.{number}.0/24\"]\ngeneration = \"ocs-2007\"\n"
        );
    }
    let config = parse("test.toml", &text).unwrap().config;
    Arc::new(Registry::new(1).build(&Arc::new(config)))
}

fn usual() -> Arc<Snapshot> {
    snapshot(&NODES, &["p0", "p1", "p2", "p3"], 1000)
}

fn key(subject: Subject) -> PinKey {
    PinKey {
        scope: Arc::new(PinScope {
            pool: "edge".into(),
            affinity: "federation".into(),
        }),
        subject,
    }
}

fn partner(number: u8) -> PinKey {
    key(Subject::Partner(format!("p{number}").into()))
}

fn address(number: u8) -> PinKey {
    let ip = IpAddr::from([192, 0, 2, number]);
    key(Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 }))
}

fn to(node: &str) -> NewPin {
    NewPin {
        node: node.into(),
        by: PinnedBy::Placed,
        revision: 4,
        ttl: TTL,
        looks_legacy: false,
    }
}

async fn started(path: &Path, pins: &Arc<PinTable>, snapshot: &Snapshot) -> (Store, Tally) {
    let (store, mut contents) = Store::start(path).unwrap();
    let now = contents.present();
    let tally = store.take_up(pins, &mut contents, snapshot, now);
    (store, tally)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

fn table() -> Arc<PinTable> {
    Arc::new(PinTable::new(1000))
}

const NODES: [&str; 3] = ["edge1", "edge2", "edge3"];
const TTL: Duration = Duration::from_secs(1200);
const SOON: Duration = Duration::from_secs(20);
/// Times are rounded on their way.
const SLACK: Duration = Duration::from_millis(1);
