//! Pins are kept from one instance to the next, and written only when they have changed.

use super::*;

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
        for entry in fs::read_dir(&scratch.0).unwrap() {
            let name = entry.unwrap().file_name();
            if let Some(journal) = name.to_str().unwrap().strip_prefix("state.journal") {
                let copy = format!("killed.journal{journal}");
                fs::copy(scratch.0.join(&name), scratch.0.join(copy)).unwrap();
            }
        }
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
