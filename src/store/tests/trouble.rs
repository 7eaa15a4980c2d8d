//! Files that cannot be read or written, and disks that hang.

use super::*;
use crate::store::segment::End;

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
        wait_for_end_of_trouble(&store);
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
        let mut later = crate::store::segment::header(7, End::default());
        later[8] = 3;
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
pub(super) fn on_mortal(database: &Mortal, shelf: &MortalShelf) -> (Store, Contents) {
    let (database, shelf) = (database.clone(), shelf.clone());
    let started = Store::start_with(move |shared, inbox| {
        let open = Box::new(move |_: &Path| StateFile::open_with(database.clone()));
        let disk = Disk::open_by(open, "/nowhere/state.redb".into(), Arc::clone(&shared));
        Keeper::open_with(disk, Arc::new(shelf), shared, inbox)
    });
    started.unwrap()
}

/// What whoever comes after a kill finds.
fn after_kill(database: &Mortal, shelf: &MortalShelf) -> Contents {
    let database = Mortal::new(database.after_kill(), Life::eternal());
    on_mortal(
        &database,
        &MortalShelf::new(shelf.after_kill(), Life::eternal()),
    )
    .1
}

#[test]
fn while_the_disk_hangs_a_kill_loses_nothing_that_was_gathered_and_nobody_is_told_it_is_durable() {
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
        shelf.gate().shut(true);
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
        // What is in the journal needs no commit.
        shelf.gate().shut(false);
        flush.await.unwrap();
        assert!(!shelf.after_kill().is_empty());
        database.gate().shut(false);
        store.finish().await.unwrap();
        assert!(
            shelf.after_kill().is_empty(),
            "what is committed needs no journal"
        );
        assert_eq!(after_kill(&database, &shelf).pins.len(), 100);
    });
}

/// The answer may have come from a commit, before a sync has shown that the journal is well.
fn wait_for_end_of_trouble(store: &Store) {
    let deadline = Instant::now() + SOON;
    while store.condition().trouble.is_some() {
        assert!(Instant::now() < deadline, "{:?}", store.condition());
        std::thread::yield_now();
    }
}

#[test]
fn once_the_journal_can_be_synced_again_nobody_is_told_otherwise_though_nothing_changes() {
    run(async {
        let database = Mortal::new(Vec::new(), Life::eternal());
        let shelf = MortalShelf::new(Images::new(), Life::eternal());
        let (store, _) = on_mortal(&database, &shelf);
        let (pins, now) = (table(), Moment::now());
        store.keep(&pins);
        store.flush().await.unwrap();
        for number in 0..20 {
            shelf.break_syncs(true);
            pins.pin(&address(number), to("edge1"), now);
            store.flush().await.unwrap();
            assert!(store.condition().trouble.is_some(), "{number}");
            // The next one fails as well, and the one after that has to wait.
            let (passed, deadline) = (shelf.gate().passed(), Instant::now() + SOON);
            while shelf.gate().passed() == passed {
                assert!(Instant::now() < deadline, "{number}");
            }
            shelf.break_syncs(false);
            // All that is in doubt is committed before a sync has its turn.
            store.flush().await.unwrap();
            wait_for_end_of_trouble(&store);
        }
        store.finish().await.unwrap();
    });
}

#[test]
fn what_a_sync_could_not_make_durable_is_committed_before_anybody_is_answered() {
    run(async {
        let database = Mortal::new(Vec::new(), Life::eternal());
        let shelf = MortalShelf::new(Images::new(), Life::eternal());
        let (store, _) = on_mortal(&database, &shelf);
        let (pins, now) = (table(), Moment::now());
        store.keep(&pins);
        // The first commit answers without any sync.
        store.flush().await.unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for number in 1..20 {
            shelf.break_syncs(number % 2 == 1);
            pins.pin(&address(number), to("edge1"), now);
            store.flush().await.unwrap();
            if number % 2 == 1 {
                assert!(store.condition().trouble.is_some(), "{number}");
            } else {
                wait_for_end_of_trouble(&store);
            }
            for _ in 0..5 {
                // In this order: what a commit covers is removed from the shelf.
                let segments = shelf.after_power_loss(&mut random);
                let image = database.after_power_loss(&mut random);
                let database = Mortal::new(image, Life::eternal());
                let shelf = MortalShelf::new(segments, Life::eternal());
                let (_, found) = on_mortal(&database, &shelf);
                assert_eq!(found.pins.len(), usize::from(number));
            }
        }
        store.finish().await.unwrap();
    });
}

#[test]
fn nobody_is_answered_by_a_journal_that_the_next_start_would_not_find() {
    run(async {
        let database = Mortal::new(Vec::new(), Life::eternal());
        let shelf = MortalShelf::new(Images::new(), Life::eternal());
        let (store, _) = on_mortal(&database, &shelf);
        let (pins, now) = (table(), Moment::now());
        store.keep(&pins);
        for number in 1..20 {
            pins.pin(&address(number), to("edge1"), now);
            store.flush().await.unwrap();
            // Somebody removes whatever is there, or all of it has moved.
            shelf.displace(number % 3 == 0);
            if number % 3 == 1 {
                shelf
                    .after_kill()
                    .keys()
                    .for_each(|number| shelf.steal(*number));
            }
            pins.pin(
                &partner(number % 4),
                to(NODES[usize::from(number) % 3]),
                now,
            );
            pins.forget(&address(number));
            store.flush().await.unwrap();
            let found = after_kill(&database, &shelf).pins;
            assert_eq!(found.len(), 4.min(usize::from(number)), "{number}");
        }
        store.finish().await.unwrap();
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
