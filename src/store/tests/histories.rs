//! Whatever happens to a table of pins, what was written restores to an equal one; and any
//! bytes make a pin or an error.

use super::*;

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
                        order: Some(Arc::new(order)),
                        home: None,
                        looks_legacy: false,
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
