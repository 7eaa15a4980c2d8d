//! What [`FlowTable`] promises in so many words. That it does what a list does in any order is
//! `tests/corpora.rs`, over the very function that is fuzzed.

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn client(number: u16) -> SocketAddr {
    ([192, 0, 2, 1], 1000 + number).into()
}

const LIVES: Lives = Lives {
    unanswered: Duration::from_secs(10),
    answered: Some(Duration::from_secs(60)),
};

#[test]
fn whoever_was_answered_outlives_a_flood() {
    let mut table = FlowTable::new(LIVES);
    let (old, _) = table.admit(client(0), 0, at(0));
    table.answer(old, at(0));
    for number in 1..1000 {
        if table.len() == 10 {
            assert!(table.make_room().is_some());
        }
        table.admit(client(number), number, at(1));
    }
    assert_eq!(table.get(old), Some(&0));
    assert_eq!(table.len(), 10);
}

#[test]
fn a_place_that_was_given_to_another_is_not_found_by_the_old_name() {
    let mut table = FlowTable::new(LIVES);
    let (first, _) = table.admit(client(1), 'a', at(0));
    assert_eq!(table.remove(first), Some('a'));
    let (second, _) = table.admit(client(2), 'b', at(0));
    assert_eq!(table.get(first), None);
    assert_eq!(table.remove(first), None);
    assert_eq!(FlowId::from_bits(second.to_bits()), second);
    assert_eq!(table.get(second), Some(&'b'));
}

#[test]
fn a_client_of_either_family_is_told_from_the_other() {
    let mut table = FlowTable::new(LIVES);
    table.admit(client(1), 4, at(0));
    assert_eq!(table.find("[2001:db8::1]:1001".parse().unwrap()), None);
    assert!(table.find(client(1)).is_some());
}
