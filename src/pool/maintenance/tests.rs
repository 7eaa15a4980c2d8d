use std::time::Duration;

use super::*;
use crate::pool::pins::{NewPin, PinScope};

const NOW: Moment = Moment::START;

fn key() -> PinKey {
    let scope = PinScope {
        pool: "edge".into(),
        affinity: "federation".into(),
    };
    PinKey::of_partner(&Arc::new(scope), &"fabrikam".into())
}

fn pinned(node: &str) -> PinTable {
    let pins = PinTable::new(10);
    let new = NewPin {
        node: node.into(),
        by: PinnedBy::Placed,
        revision: 1,
        ttl: Duration::from_secs(60),
        looks_legacy: false,
    };
    let _ = pins.pin(&key(), new, NOW);
    pins
}

fn word(at: i64) -> Arc<Order> {
    Arc::new(Order {
        by: "anna".into(),
        reason: None,
        at,
    })
}

fn undo(moves: &mut Moves, pins: &PinTable, since: i64) -> usize {
    let is_later = |_: &PinKey, pin: &Pin| pin.order.as_ref().is_some_and(|word| word.at >= since);
    let restored = moves.put_back(pins, &"edge1".into(), |pool| pool == "edge", is_later, NOW);
    restored.len()
}

#[test]
fn one_that_came_back_by_hand_and_was_sent_away_again_is_by_hand_once_that_is_undone() {
    let (pins, mut moves) = (pinned("edge1"), Moves::default());
    let (edge1, edge2): (Arc<str>, Arc<str>) = ("edge1".into(), "edge2".into());
    assert!(moves.let_go(&pins, &key(), (&edge1, &edge2), word(1), NOW));
    pins.move_to(&key(), &edge1, PinnedBy::ByHand, NOW);
    assert!(moves.let_go(&pins, &key(), (&edge1, &edge2), word(2), NOW));
    assert_eq!(undo(&mut moves, &pins, 1), 1);
    let pin = pins.inspect(&key(), NOW).unwrap();
    assert_eq!((&*pin.node, pin.by), ("edge1", PinnedBy::ByHand));
}

#[test]
fn what_an_earlier_maintenance_moved_stays_when_a_later_one_is_undone() {
    let (pins, mut moves) = (pinned("edge1"), Moves::default());
    let (edge1, edge2): (Arc<str>, Arc<str>) = ("edge1".into(), "edge2".into());
    assert!(moves.let_go(&pins, &key(), (&edge1, &edge2), word(1), NOW));
    moves.forget("edge1", |_| true);
    assert_eq!(undo(&mut moves, &pins, 2), 0, "it was resumed since");
    assert_eq!(
        undo(&mut moves, &pins, 1),
        1,
        "of an instance before this one"
    );
}

#[test]
fn what_a_failover_has_moved_since_stays() {
    let (pins, mut moves) = (pinned("edge1"), Moves::default());
    let (edge1, edge2): (Arc<str>, Arc<str>) = ("edge1".into(), "edge2".into());
    assert!(moves.let_go(&pins, &key(), (&edge1, &edge2), word(1), NOW));
    pins.move_to(&key(), &"edge3".into(), PinnedBy::Failover, NOW);
    assert_eq!(undo(&mut moves, &pins, 1), 0);
    assert_eq!(pins.look_up(&key(), NOW).as_deref(), Some("edge3"));
}
