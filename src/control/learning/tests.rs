//! What one instance has learned is known to the next, as long as it would have been.

use std::path::Path;

use super::*;

fn names(name: &str) -> [Box<str>; 1] {
    [name.into()]
}

fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [10, 9, high, low].into()
}

/// An instance that lives as long as `work` takes, and is told to stop.
fn instance(path: &Path, work: impl FnOnce(&mut Learning, &Learned)) -> Learned {
    let (store, mut contents) = Store::start(path).unwrap();
    let (mut learning, learned) = (Learning::open(&store, &mut contents), Learned::default());
    learning.teach(&learned, Moment::now());
    work(&mut learning, &learned);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(store.finish()).unwrap();
    learned
}

#[test]
fn names_are_known_again_and_what_was_forgotten_is_gone() {
    let scratch = crate::store::random_key().unwrap();
    let scratch = std::env::temp_dir().join(format!("pinfold-learning-{scratch}"));
    std::fs::create_dir(&scratch).unwrap();
    let file = scratch.join("state.redb");
    let spoken = Spoken {
        offered: 0x0303,
        negotiated: 0x0302,
    };
    instance(&file, |learning, learned| {
        let now = Moment::now();
        for number in 0..300 {
            learned.observe(address(number), &names("a.test"), spoken, now);
        }
        // A part at a time.
        learning.write(learned, now, 100);
        assert_eq!(learning.written.len(), 100);
        learning.look(learned, now + INTERVAL / 2);
        assert_eq!(learning.written.len(), 100, "it is not time");
        learning.look(learned, now + INTERVAL);
        assert_eq!(learning.written.len(), 300);
        // Nothing changes, and nothing is written.
        let before = learning.written.clone();
        learned.renew(address(1), spoken, now + INTERVAL);
        learning.write(learned, now + INTERVAL, 1000);
        assert_eq!(learning.written, before);
        // Two names on one address: nothing is known of it, and that is not forgotten.
        learned.observe(address(7), &names("b.test"), spoken, now);
        learning.write(learned, now, 1000);
        assert_eq!(learning.written.len(), 300);
    });
    let again = instance(&file, |_, _| {});
    let now = Moment::now();
    let mut known = again.export(now);
    known.sort_by_key(|each| each.address);
    assert_eq!(known.len(), 300);
    assert_eq!(again.names(address(7), now), None);
    again.observe(address(7), &names("b.test"), spoken, now);
    assert_eq!(again.names(address(7), now), None, "it is in doubt still");
    assert_eq!(known[0].names, ["a.test"]);
    assert_eq!(known[0].spoken, spoken);
    assert!(known.iter().all(|each| each.remaining <= Learned::LIFE));
    let later = now + Learned::LIFE;
    assert_eq!(again.names(address(1), later), None, "no life is added");
    std::fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn the_book_does_not_grow_beyond_what_is_known_however_fast_addresses_come_and_go() {
    let scratch = crate::store::random_key().unwrap();
    let scratch = std::env::temp_dir().join(format!("pinfold-learning-{scratch}"));
    std::fs::create_dir(&scratch).unwrap();
    instance(&scratch.join("state.redb"), |learning, learned| {
        let now = Moment::now();
        for round in 0..20_u16 {
            let fresh = Learned::default();
            for number in 0..100 {
                let spoken = Spoken::default();
                fresh.observe(address(round * 100 + number), &names("a.test"), spoken, now);
            }
            learning.write(&fresh, now, 100);
            assert!(learning.written.len() <= 200, "round {round}");
        }
        learning.write(learned, now, 1000);
        assert!(learning.written.is_empty(), "what is forgotten goes");
    });
    std::fs::remove_dir_all(&scratch).unwrap();
}
