//! Files that somebody removes or replaces while they are in use.

use super::*;
use crate::store::StateDir;
use crate::store::batch::Batch;
use crate::store::condition::Shared;
use crate::store::mortal::Model;
use crate::store::segment::tests::anything;

/// Some MiB of pages, and some pins.
fn plenty() -> Batch {
    let mut batch = anything(&mut fastrand::Rng::with_seed(5), 77);
    batch.are_all_pins = false;
    for number in 0..3000_u32 {
        let value = vec![b'1'; 1000];
        let key = format!("{number:08}");
        let pin = format!("pin {number}").into_bytes();
        batch.pins.insert(pin, Some(vec![b'2'; 300]));
        batch.pages.insert(("many".into(), key), Some(value));
    }
    batch
}

/// What a file holds, read by somebody else.
fn read(path: &Path) -> (Model, u64, u64) {
    let rows = StateFile::read_only(path).unwrap();
    let (lived, covers) = (rows.lived, rows.covers);
    (Model::of(rows), lived, covers)
}

#[test]
fn a_file_that_was_removed_or_replaced_is_made_anew_with_all_that_it_held() {
    let scratch = Scratch::new();
    let shared = Arc::new(Shared::default());
    let (mut disk, _) = Disk::open(scratch.file(), None, Arc::clone(&shared));
    disk.commit(&plenty(), 9).unwrap();
    let before = read(&scratch.file());
    assert!(before.0.pages.len() > 2999 && (before.1, before.2) == (77, 9));
    let remove: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let replace: fn(&Path) = |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, b"of somebody else").unwrap();
    };
    for (harm, is_busy) in [
        (remove, true),
        (remove, false),
        (replace, true),
        (replace, false),
    ] {
        harm(&scratch.file());
        match is_busy {
            true => assert_eq!(disk.ready(), Ok(false)),
            false => disk.look(),
        }
        assert_eq!(read(&scratch.file()), before);
    }
    let mode = fs::metadata(scratch.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The file, and two that were put in its place.
    assert_eq!(
        (scratch.files(), shared.condition().set_aside.len()),
        (3, 2)
    );
}

#[test]
fn while_a_file_that_was_removed_cannot_be_made_anew_it_keeps_what_it_holds() {
    let scratch = Scratch::new();
    let home = scratch.0.join("home");
    fs::create_dir(&home).unwrap();
    let shared = Arc::new(Shared::default());
    let path = home.join("state.redb");
    let (mut disk, _) = Disk::open(path.clone(), None, Arc::clone(&shared));
    disk.commit(&plenty(), 9).unwrap();
    let before = read(&path);
    fs::remove_dir_all(&home).unwrap();
    for _ in 0..3 {
        assert!(disk.ready().unwrap_err().contains("state.redb"));
        disk.look();
        assert!(shared.condition().trouble.is_some());
    }
    fs::create_dir(&home).unwrap();
    disk.look();
    assert!(shared.condition().trouble.is_none());
    assert_eq!(read(&path), before);
}

#[test]
fn whatever_is_removed_from_the_directory_of_a_running_store_is_there_at_the_next_start() {
    run(async {
        let scratch = Scratch::new();
        let place = scratch.0.join("state");
        let empty: fn(&Path) = |place| {
            for entry in fs::read_dir(place).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        };
        let remove: fn(&Path) = |place| fs::remove_dir_all(place).unwrap();
        let directory = StateDir::open(&place).unwrap();
        let placement = directory.placement_key().unwrap();
        let (store, mut contents) = Store::start_in(&directory).unwrap();
        let (book, _) = store.book::<u32>("names", &mut contents);
        let pins = table();
        store.keep(&pins);
        for (round, harm) in [empty, remove].into_iter().enumerate() {
            let round = u8::try_from(round).unwrap();
            pins.pin(&address(round), to("edge1"), Moment::now());
            book.put(format!("before {round}"), &1);
            store.flush().await.unwrap();
            harm(&place);
            pins.pin(&partner(round), to("edge2"), Moment::now());
            book.put(format!("after {round}"), &2);
            store.flush().await.unwrap();
            assert!(StateDir::open(&place).is_err(), "it is locked");
        }
        store.finish().await.unwrap();
        drop(directory);
        let directory = StateDir::open(&place).unwrap();
        assert_eq!(directory.placement_key().unwrap(), placement);
        let (_, mut contents) = Store::start_in(&directory).unwrap();
        assert_eq!(
            (
                contents.pins.len(),
                contents.books.remove("names").unwrap().len()
            ),
            (4, 4)
        );
    });
}

#[test]
fn who_has_lost_the_directory_to_another_instance_keeps_everything_in_memory() {
    run(async {
        let scratch = Scratch::new();
        let place = scratch.0.join("state");
        let directory = StateDir::open(&place).unwrap();
        let (store, _) = Store::start_in(&directory).unwrap();
        let pins = table();
        store.keep(&pins);
        pins.pin(&address(1), to("edge1"), Moment::now());
        store.flush().await.unwrap();
        fs::remove_dir_all(&place).unwrap();
        let other = StateDir::open(&place).unwrap();
        for number in 2..5 {
            pins.pin(&address(number), to("edge1"), Moment::now());
            let refused = store.flush().await.unwrap_err();
            assert!(refused.contains("another instance"), "{refused}");
            let files = fs::read_dir(&place).unwrap().count();
            assert_eq!(files, 1, "the other's lock alone");
        }
        drop(other);
        store.flush().await.unwrap();
        let deadline = Instant::now() + SOON;
        while store.condition().trouble.is_some() {
            assert!(Instant::now() < deadline, "the journal is tried again");
        }
        store.finish().await.unwrap();
        let (_, contents) = Store::start_in(&directory).unwrap();
        assert_eq!(contents.pins.len(), 4);
    });
}
