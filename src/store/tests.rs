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
use super::{Store, random_key};
use crate::clock::Moment;
use crate::config::model::PinPrefix;
use crate::config::parse;
use crate::pool::pins::{Kept, Lease, NewPin, Order, Pin, PinKey, PinScope, PinTable, PinnedBy};
use crate::pool::placement::Subject;
use crate::snapshot::{Registry, Snapshot};

mod removal;

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

#[test]
fn pins_of_one_instance_stand_in_the_next_however_it_ended() {
    run(async {
        let (scratch, snapshot) = (Scratch::new(), usual());
        let (first, now) = (table(), Moment::now());
        let (store, tally) = started(&scratch.file(), &first, &snapshot).await;
        assert_eq!(tally, Tally::default());
        first.pin(&partner(0), to("edge1"), now);
        first.pin(&address(1), to("edge2"), now);
        let lease = first.lease(&address(1), now).unwrap();
        first.pin(&partner(1), to("edge1"), now);
        first.move_to(&partner(1), &"edge2".into(), PinnedBy::DialFailed, now);
        first.pin(&partner(2), to("edge1"), now);
        store.flush().await.unwrap();
        first.forget(&partner(2));
        store.flush().await.unwrap();
        // Not finished: as if killed. The file is the next one's once the thread has let go of it.
        let killed = scratch.0.join("killed.redb");
        fs::copy(scratch.file(), &killed).unwrap();
        first.release(lease, now);
        store.finish().await.unwrap();
        for (path, is_used) in [(scratch.file(), false), (killed, true)] {
            let second = table();
            let (store, tally) = started(&path, &second, &snapshot).await;
            assert_eq!(tally.restored, 3, "{tally:?}");
            let now = Moment::now();
            let pin = second.inspect(&partner(1), now).unwrap();
            assert_eq!(&*pin.node, "edge2");
            assert_eq!(pin.home.as_deref(), Some("edge1"));
            assert_eq!(pin.by, PinnedBy::DialFailed);
            assert_eq!(second.look_up(&partner(2), now), None);
            let pin = second.inspect(&address(1), now).unwrap();
            assert_eq!((pin.sessions, pin.revision), (0, 4), "used: {is_used}");
            assert_eq!(second.look_up(&address(1), now + TTL), None);
            store.finish().await.unwrap();
        }
    });
}

#[test]
fn what_the_configuration_has_no_more_is_not_restored_and_its_record_goes() {
    run(async {
        let scratch = Scratch::new();
        let (first, now) = (table(), Moment::now());
        let (store, _) = started(&scratch.file(), &first, &usual()).await;
        first.pin(&partner(0), to("edge1"), now);
        first.pin(&partner(1), to("edge2"), now);
        first.pin(&partner(3), to("edge1"), now);
        for number in 0..20 {
            first.pin(&address(number), to("edge1"), now);
        }
        store.finish().await.unwrap();
        let fewer = snapshot(&["edge1"], &["p0", "p1"], 12);
        let second = Arc::new(PinTable::new(12));
        let (store, tally) = started(&scratch.file(), &second, &fewer).await;
        let expected = Tally {
            restored: 13,
            lapsed: 0,
            homeless: 2,
            beyond: 8,
        };
        assert_eq!(tally, expected);
        store.finish().await.unwrap();
        let (store, tally) = started(&scratch.file(), &table(), &usual()).await;
        assert_eq!(
            tally.restored, 13,
            "records without a pin are gone: {tally:?}"
        );
        store.finish().await.unwrap();
    });
}

#[test]
fn using_a_pin_again_and_again_writes_nothing() {
    let (pins, now) = (table(), Moment::now());
    pins.keep_changes(|| {});
    pins.pin(&address(1), to("edge1"), now);
    pins.pin(&partner(1), to("edge1"), now);
    assert_eq!(pins.take_changes().keys.len(), 2);
    for key in [address(1), partner(1)] {
        pins.record(&key, now).unwrap();
        for second in 0..100 {
            let then = now + Duration::from_secs(second);
            let lease = pins.lease(&key, then).unwrap();
            pins.release(lease, then);
        }
        assert_eq!(pins.take_changes().keys, []);
    }
    // What lasts is written, or its record would tell that it has lapsed.
    let lease = pins.lease(&address(1), now).unwrap();
    pins.note_held();
    assert_eq!(pins.take_changes().keys, [address(1)]);
    assert_eq!(pins.record(&address(1), now).unwrap().sessions, 1);
    pins.note_held();
    assert_eq!(pins.take_changes().keys, []);
    pins.release(lease, now);
    assert_eq!(
        pins.take_changes().keys,
        [address(1)],
        "its lapse is known only now"
    );
}

#[test]
fn a_list_of_changes_that_overflows_says_so() {
    let pins = PinTable::new(1_000_000);
    pins.keep_changes(|| {});
    let now = Moment::now();
    for number in 0..200_000_u32 {
        let ip = IpAddr::V4((0x0a00_0000 + number).into());
        let key = key(Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 }));
        pins.pin(&key, to("edge1"), now);
    }
    let changes = pins.take_changes();
    assert!(changes.has_overflowed);
    assert!(changes.keys.len() < 150_000, "{}", changes.keys.len());
    assert_eq!(pins.record_all(now).len(), 200_000);
    assert_eq!(pins.take_changes(), crate::pool::pins::Changes::default());
}

#[test]
fn a_hundred_thousand_pins_are_written_and_restored() {
    run(async {
        let (scratch, snapshot) = (Scratch::new(), snapshot(&NODES, &[], 200_000));
        let first = Arc::new(PinTable::new(200_000));
        let (store, _) = started(&scratch.file(), &first, &snapshot).await;
        let now = Moment::now();
        for number in 0..100_000_u32 {
            let ip = IpAddr::V4((0x0a00_0000 + number).into());
            let key = key(Subject::of_client(ip, PinPrefix { v4: 32, v6: 64 }));
            first.pin(&key, to("edge1"), now);
        }
        store.finish().await.unwrap();
        let second = Arc::new(PinTable::new(200_000));
        let begun = Instant::now();
        let (store, tally) = started(&scratch.file(), &second, &snapshot).await;
        let took = begun.elapsed();
        eprintln!(
            "restored in {took:?}, {} bytes",
            fs::metadata(scratch.file()).unwrap().len()
        );
        assert_eq!(tally.restored, 100_000);
        assert_eq!(
            second.take_changes().keys,
            [],
            "each stands as its record says"
        );
        store.finish().await.unwrap();
    });
}

#[test]
fn a_damaged_file_is_set_aside_whole_and_the_store_begins_anew() {
    run(async {
        let scratch = Scratch::new();
        for damage in [&b"no database"[..], &[0xff; 9000], &[0; 4096]] {
            let before = scratch.files();
            fs::write(scratch.file(), damage).unwrap();
            let pins = table();
            let (store, _) = started(&scratch.file(), &pins, &usual()).await;
            let condition = store.condition();
            let [aside] = &*condition.set_aside else {
                panic!("{condition:?}")
            };
            assert_eq!(fs::read(aside).unwrap(), damage);
            assert!(condition.trouble.is_none());
            pins.pin(&partner(0), to("edge1"), Moment::now());
            store.finish().await.unwrap();
            fs::remove_file(scratch.file()).unwrap();
            assert_eq!(scratch.files(), before + 1);
        }
    });
}

#[test]
fn where_the_file_cannot_be_everything_goes_on_and_is_written_once_it_can() {
    run(async {
        let scratch = Scratch::new();
        let path = scratch.0.join("not yet").join("state.redb");
        let pins = table();
        let (store, _) = started(&path, &pins, &usual()).await;
        pins.pin(&partner(0), to("edge1"), Moment::now());
        let refused = store.flush().await.unwrap_err();
        assert!(refused.contains("not yet"), "{refused}");
        assert!(store.condition().trouble.is_some());
        fs::create_dir(scratch.0.join("not yet")).unwrap();
        store.flush().await.unwrap();
        assert!(store.condition().trouble.is_none());
        store.finish().await.unwrap();
        let again = table();
        let (_, tally) = started(&path, &again, &usual()).await;
        assert_eq!(tally.restored, 1);
    });
}

#[test]
fn a_segment_of_a_later_version_is_set_aside_whole_and_its_number_is_not_given_again() {
    run(async {
        let scratch = Scratch::new();
        let mut later = super::segment::header(7);
        later[8] = 2;
        let names = ["state.journal-7", "state.journal-+6", "other.journal-8"];
        for name in names {
            fs::write(scratch.0.join(name), &later).unwrap();
        }
        let (store, _) = started(&scratch.file(), &table(), &usual()).await;
        let condition = store.condition();
        let [aside] = &*condition.set_aside else {
            panic!("{condition:?}")
        };
        assert_eq!(fs::read(aside).unwrap(), later);
        store.finish().await.unwrap();
        let (file, rows) = StateFile::open(&scratch.file()).unwrap();
        drop(file);
        assert!(rows.covers > 7, "{}", rows.covers);
        // The database, the one aside, and two files that are none of its own.
        assert_eq!(scratch.files(), 4);
    });
}

#[test]
fn what_could_not_even_be_read_is_never_written_over() {
    run(async {
        let scratch = Scratch::new();
        // A directory can neither be read nor written as a file, by root neither.
        fs::create_dir(scratch.file()).unwrap();
        fs::write(scratch.file().join("precious"), b"pins").unwrap();
        let pins = table();
        let (store, tally) = started(&scratch.file(), &pins, &usual()).await;
        assert_eq!(tally, Tally::default());
        pins.pin(&partner(0), to("edge1"), Moment::now());
        store.finish().await.unwrap();
        let [aside] = &*store.condition().set_aside else {
            panic!("{:?}", store.condition())
        };
        assert_eq!(fs::read(aside.join("precious")).unwrap(), b"pins");
        let (_, tally) = started(&scratch.file(), &table(), &usual()).await;
        assert_eq!(tally.restored, 1);
    });
}

/// A store on a disk of memory.
fn on_mortal(database: &Mortal, shelf: &MortalShelf) -> (Store, super::Contents) {
    let (database, shelf) = (database.clone(), shelf.clone());
    let started = Store::start_with(move |shared, inbox| {
        let open = Box::new(move |_: &Path| StateFile::open_with(database.clone()));
        let disk = Disk::open_by(open, "/nowhere/state.redb".into(), Arc::clone(&shared));
        Keeper::open_with(disk, Arc::new(shelf), shared, inbox)
    });
    started.unwrap()
}

/// What whoever comes after a kill finds.
fn after_kill(database: &Mortal, shelf: &MortalShelf) -> super::Contents {
    let database = Mortal::new(database.after_kill(), Life::eternal());
    on_mortal(
        &database,
        &MortalShelf::new(shelf.after_kill(), Life::eternal()),
    )
    .1
}

#[test]
fn while_a_commit_hangs_a_kill_loses_nothing_that_was_gathered_and_nobody_is_told_it_is_durable() {
    run(async {
        let database = Mortal::new(Vec::new(), Life::eternal());
        let shelf = MortalShelf::new(Images::new(), Life::eternal());
        let (store, mut contents) = on_mortal(&database, &shelf);
        let (book, _) = store.book::<u32>("names", &mut contents);
        let (pins, now) = (table(), Moment::now());
        store.keep(&pins);
        pins.pin(&address(0), to("edge1"), now);
        store.flush().await.unwrap();
        database.gate().shut(true);
        for number in 1..100 {
            pins.pin(&address(number), to("edge2"), now);
            book.put("newest", &number.into());
            let deadline = Instant::now() + SOON;
            let is_there = || {
                let mut found = after_kill(&database, &shelf);
                let pages = found.books.remove("names").unwrap_or_default();
                let newest = ("newest".to_owned(), number.to_string().into_bytes());
                found.pins.len() > number.into() && pages == [newest]
            };
            while !is_there() {
                assert!(Instant::now() < deadline, "{number}");
            }
        }
        let mut flush = Box::pin(store.flush());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(flush.as_mut().poll(&mut context).is_pending());
        assert!(!shelf.after_kill().is_empty());
        assert_eq!(store.condition().trouble, None);
        database.gate().shut(false);
        flush.await.unwrap();
        store.finish().await.unwrap();
        assert!(
            shelf.after_kill().is_empty(),
            "what is committed needs no journal"
        );
        assert_eq!(after_kill(&database, &shelf).pins.len(), 100);
    });
}

#[test]
fn only_its_owner_may_read_what_is_written() {
    run(async {
        let scratch = Scratch::new();
        let pins = table();
        let (store, _) = started(&scratch.file(), &pins, &usual()).await;
        let deadline = Instant::now() + SOON;
        let mut seen = 0;
        // A segment lives no longer than its commit.
        while seen < 3 {
            assert!(Instant::now() < deadline);
            pins.pin(
                &address(seen),
                to(NODES[usize::from(seen) % 3]),
                Moment::now(),
            );
            pins.forget(&address(seen));
            for entry in fs::read_dir(&scratch.0).unwrap() {
                let Ok(metadata) = entry.as_ref().unwrap().metadata() else {
                    continue;
                };
                assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
                let name = entry.unwrap().file_name();
                seen += u8::from(name.to_string_lossy().starts_with("state.journal-"));
            }
        }
        store.finish().await.unwrap();
        assert_eq!(scratch.files(), 1, "the journal is gone");
    });
}

#[test]
fn a_book_keeps_the_newest_of_each_page() {
    run(async {
        let scratch = Scratch::new();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        let (book, pages) = store.book::<u32>("names", &mut contents);
        assert_eq!(pages, []);
        let (other, _) = store.book::<String>("other", &mut contents);
        for number in 0..100 {
            book.put("a", &number);
            other.put(number.to_string(), &"x".repeat(3));
        }
        book.put("b", &1);
        book.remove("b");
        store.finish().await.unwrap();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        assert_eq!(
            store.book::<u32>("names", &mut contents).1,
            [("a".into(), 99)]
        );
        // What is no number any more is dropped, not misread.
        assert_eq!(store.book::<u32>("other", &mut contents).1, []);
        store.finish().await.unwrap();
        let (store, mut contents) = Store::start(&scratch.file()).unwrap();
        assert_eq!(store.book::<String>("other", &mut contents).1, []);
        store.finish().await.unwrap();
    });
}

#[test]
fn lived_time_stands_still_while_none_runs_and_life_is_never_more_than_its_ttl() {
    let now = Moment::now();
    let present = |moment, lived| Present {
        moment,
        wall: jiff::Timestamp::now(),
        lived,
    };
    let pins = table();
    pins.pin(&address(1), to("edge1"), now);
    let pin = pins.inspect(&address(1), now).unwrap();
    let later = now + TTL / 2;
    let record = codec::Record::of(&address(1), &pin, present(later, 5_000_000));
    let key = codec::Key::from(&address(1));
    let node: Arc<str> = "edge1".into();
    let lapse = |lived| {
        let kept = record.kept(&key, &node, present(now, lived))?;
        Some((kept.last_used + kept.ttl).since(now))
    };
    let half = u64::try_from((TTL / 2).as_micros()).unwrap();
    assert_eq!(lapse(5_000_000), Some(TTL / 2));
    assert_eq!(lapse(5_000_000 + half / 2), Some(TTL / 4));
    assert_eq!(lapse(5_000_000 + half), None);
    assert_eq!(lapse(0), Some((TTL / 2 + Duration::from_secs(5)).min(TTL)));
    assert!(lapse(u64::MAX).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Pin(PinKey, usize),
    Move(PinKey, usize, bool),
    ByHand(PinKey, usize),
    Forget(PinKey),
    Lease(PinKey),
    Release(usize),
    FailOver(usize, usize),
    ForgetNode(usize),
    Pass(u64),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop_oneof![(0..4_u8).prop_map(partner), (0..6_u8).prop_map(address)];
    let node = || 0..NODES.len();
    let step = prop_oneof![
        4 => (key(), node()).prop_map(|(key, node)| Step::Pin(key, node)),
        2 => (key(), node(), any::<bool>()).prop_map(|(key, node, is)| Step::Move(key, node, is)),
        1 => (key(), node()).prop_map(|(key, node)| Step::ByHand(key, node)),
        1 => key().prop_map(Step::Forget),
        4 => key().prop_map(Step::Lease),
        4 => (0..8_usize).prop_map(Step::Release),
        1 => (node(), node()).prop_map(|(from, to)| Step::FailOver(from, to)),
        1 => node().prop_map(Step::ForgetNode),
        3 => (1..15_u64).prop_map(Step::Pass),
        3 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..80)
}

/// A store without a disk: what is written, by key.
#[derive(Default)]
struct Written(std::collections::BTreeMap<Vec<u8>, Vec<u8>>);

impl Written {
    fn commit(&mut self, pins: &PinTable, now: Present) {
        for key in pins.take_changes().keys {
            let bytes = codec::encode_key(&key).unwrap();
            match pins.record(&key, now.moment) {
                Some(pin) => self
                    .0
                    .insert(bytes, codec::encode(&key, &pin, now).unwrap()),
                None => self.0.remove(&bytes),
            };
        }
    }
}

/// The pin without its sessions and times.
fn essence(pin: &Pin) -> Pin {
    Pin {
        sessions: 0,
        since: Moment::START,
        last_used: Moment::START,
        ..pin.clone()
    }
}

proptest! {
    #[test]
    fn whatever_happens_to_a_table_what_was_written_restores_to_an_equal_one(steps in steps()) {
        let pins = PinTable::new(5);
        pins.keep_changes(|| {});
        let (begun, wall) = (Moment::now(), jiff::Timestamp::now());
        let present = |moment: Moment| Present {
            moment,
            wall: wall + moment.since(begun),
            lived: u64::try_from(moment.since(begun).as_micros()).unwrap(),
        };
        let (mut now, mut written, mut leases) = (begun, Written::default(), Vec::<Lease>::new());
        let nodes = NODES.map(Arc::<str>::from);
        for step in steps {
            match step {
                Step::Pin(key, node) => _ = pins.pin(&key, to(&nodes[node]), now),
                Step::Move(key, node, is) => {
                    let by = if is { PinnedBy::DialFailed } else { PinnedBy::Placed };
                    _ = pins.move_to(&key, &nodes[node], by, now);
                }
                Step::ByHand(key, node) => {
                    let order = Order { by: "root".into(), reason: None, at: 7 };
                    let kept = Kept {
                        node: Arc::clone(&nodes[node]),
                        since: now,
                        by: PinnedBy::ByHand,
                        last_used: now,
                        revision: 9,
                        ttl: TTL,
                        looks_legacy: false,
                        order: Some(Arc::new(order)),
                        home: None,
                    };
                    _ = pins.put(&key, kept, now);
                }
                Step::Forget(key) => _ = pins.forget(&key),
                Step::Lease(key) => leases.extend(pins.lease(&key, now)),
                Step::Release(place) if place < leases.len() => {
                    pins.release(leases.swap_remove(place), now);
                }
                Step::Release(_) => {}
                Step::FailOver(from, to) => {
                    let to = Arc::clone(&nodes[to]);
                    _ = pins.fail_over("edge", "federation", &nodes[from], now, |_| Some(Arc::clone(&to)));
                }
                Step::ForgetNode(node) => _ = pins.forget_node("edge", &nodes[node]),
                Step::Pass(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    pins.expire(now, 100);
                    pins.note_held();
                }
                Step::Commit => written.commit(&pins, present(now)),
            }
        }
        written.commit(&pins, present(now));
        let found: Vec<_> = written.0.iter().map(|(key, value)| codec::decode(key, value).unwrap()).collect();
        let again = PinTable::new(5);
        // Who was in use is idle after it, and so may not find room: then there are fewer, never others.
        let (tally, _) = restore(&again, found, &usual(), present(now));
        let (before, after) = (pins.list(now), again.list(now));
        prop_assert_eq!(tally.homeless, 0);
        prop_assert_eq!(before.len(), after.len());
        for ((key, pin), (same, restored)) in before.iter().zip(&after) {
            prop_assert_eq!(key, same);
            prop_assert_eq!(essence(pin), essence(restored));
            prop_assert!(restored.since.since(pin.since) < SLACK && pin.since.since(restored.since) < SLACK);
            if !key.subject.is_partner() {
                let lapse = |pin: &Pin| (pin.last_used + pin.ttl).since(now);
                let expected = if pin.sessions > 0 { TTL } else { lapse(pin) };
                // Not each use is written, so life may be shorter by an eighth.
                prop_assert!(lapse(restored) <= expected + SLACK);
                prop_assert!(lapse(restored) + TTL / 8 + SLACK >= expected);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_codec_panic(key in any::<Vec<u8>>(), record in any::<Vec<u8>>()) {
        let _ = codec::decode(&key, &record);
    }

    #[test]
    fn no_record_makes_more_of_a_pin_than_it_may(
        lapses in any::<Option<u64>>(), ttl_ms in any::<u64>(), lived in any::<u64>(),
        since in any::<i32>(), is_partner in any::<bool>(),
    ) {
        let at = jiff::Timestamp::from_second(since.into()).unwrap();
        let record = codec::Record {
            node: "edge1".into(), by: "placed".into(), since: at, last_used: at, lapses, ttl_ms,
            revision: 1, order: None, home: None, looks_legacy: false,
        };
        let key = codec::Key::from(&if is_partner { partner(1) } else { address(1) });
        let now = Present { moment: Moment::now(), wall: jiff::Timestamp::now(), lived };
        if let Some(kept) = record.kept(&key, &"edge1".into(), now) {
            prop_assert!(kept.since <= now.moment && kept.last_used <= now.moment);
        }
    }
}

const NODES: [&str; 3] = ["edge1", "edge2", "edge3"];
const TTL: Duration = Duration::from_secs(1200);
const SOON: Duration = Duration::from_secs(20);
/// Times are rounded on their way.
const SLACK: Duration = Duration::from_millis(1);
