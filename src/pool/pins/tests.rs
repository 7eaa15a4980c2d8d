use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::model::PinPrefix;
use crate::pool::placement::Subject;

const TTL: Duration = Duration::from_secs(20);

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn key(subject: Subject) -> PinKey {
    key_of("federation", subject)
}

fn key_of(affinity: &str, subject: Subject) -> PinKey {
    let scope = PinScope {
        pool: Arc::from("edge"),
        affinity: Arc::from(affinity),
    };
    PinKey {
        scope: Arc::new(scope),
        subject,
    }
}

fn address(number: u8) -> PinKey {
    let prefix = PinPrefix { v4: 32, v6: 64 };
    key(Subject::of_client(
        IpAddr::from([192, 0, 2, number]),
        prefix,
    ))
}

fn partner(name: &str) -> PinKey {
    key(Subject::Partner(Arc::from(name)))
}

fn node(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn to(name: &str) -> NewPin {
    NewPin {
        node: node(name),
        by: PinnedBy::Placed,
        revision: 1,
        ttl: TTL,
        looks_legacy: false,
    }
}

#[test]
fn a_pin_is_made_once_and_moved_by_intent() {
    let table = PinTable::new(10);
    let fabrikam = partner("fabrikam");
    assert_eq!(table.pin(&fabrikam, to("edge1"), at(0)), Pinned::New);
    assert_eq!(
        table.pin(&fabrikam, to("edge2"), at(1)),
        Pinned::Kept(node("edge1"))
    );
    let before = table.move_to(&fabrikam, &node("edge2"), PinnedBy::ByHand, at(2));
    assert_eq!(before, Some(node("edge1")));
    let pin = table.inspect(&fabrikam, at(3)).unwrap();
    assert_eq!(
        (pin.node, pin.since, pin.by),
        (node("edge2"), at(2), PinnedBy::ByHand)
    );
    assert_eq!(
        table.move_to(&partner("litware"), &node("edge1"), PinnedBy::ByHand, at(2)),
        None
    );
    assert!(table.forget(&fabrikam) && !table.forget(&fabrikam));
    assert!(table.is_empty());
}

#[test]
fn an_address_lapses_its_ttl_after_the_last_session_and_a_partner_never() {
    let table = PinTable::new(10);
    table.pin(&address(1), to("edge1"), at(0));
    table.pin(&partner("fabrikam"), to("edge1"), at(0));
    let first = table.lease(&address(1), at(19)).unwrap();
    let second = table.lease(&address(1), at(500)).unwrap();
    table.release(first, at(501));
    assert_eq!(table.expire(at(5_000), 10), 0, "a session lives");
    table.release(second, at(600));
    assert_eq!(table.look_up(&address(1), at(619)), Some(node("edge1")));
    assert_eq!(table.look_up(&address(1), at(620)), None);
    assert!(table.lease(&address(1), at(620)).is_none());
    assert_eq!(table.len(), 2, "not swept yet");
    assert_eq!(table.expire(at(620), 10), 1);
    assert_eq!(
        table.look_up(&partner("fabrikam"), at(1_000_000)),
        Some(node("edge1"))
    );
}

#[test]
fn a_full_table_evicts_the_idle_and_never_partners_or_pins_in_use() {
    let table = PinTable::new(2);
    for name in ["fabrikam", "litware", "woodgrove"] {
        assert_eq!(table.pin(&partner(name), to("edge1"), at(0)), Pinned::New);
    }
    table.pin(&address(1), to("edge1"), at(0));
    let lease = table.lease(&address(1), at(0)).unwrap();
    table.pin(&address(2), to("edge1"), at(1));
    assert_eq!(table.pin(&address(3), to("edge1"), at(2)), Pinned::New);
    assert_eq!(table.look_up(&address(2), at(2)), None, "evicted");
    let other = table.lease(&address(3), at(3)).unwrap();
    assert_eq!(table.pin(&address(4), to("edge1"), at(4)), Pinned::Full);
    let counts = table.counts();
    assert_eq!((counts.addresses, counts.partners), (2, 3));
    assert_eq!((counts.evicted, counts.refused), (1, 1));
    table.release(lease, at(5));
    table.release(other, at(6));
    table.set_max(1);
    assert_eq!(table.pin(&address(5), to("edge1"), at(7)), Pinned::New);
    assert_eq!(table.counts().addresses, 1);
}

#[test]
fn a_failover_moves_partners_and_drops_addresses_of_that_node_and_affinity_only() {
    let table = PinTable::new(10);
    let other = key_of("av", partner("fabrikam").subject);
    for (key, name) in [
        (partner("fabrikam"), "edge1"),
        (partner("litware"), "edge1"),
        (partner("woodgrove"), "edge2"),
        (other.clone(), "edge1"),
        (address(1), "edge1"),
        (address(2), "edge2"),
    ] {
        table.pin(&key, to(name), at(0));
    }
    let orphan = table.lease(&address(1), at(0)).unwrap();
    let place = |subject: &Subject| (subject.to_string() == "fabrikam").then(|| node("edge3"));
    let outcome = table.fail_over("edge", "federation", &node("edge1"), at(9), place);
    let moved = Moved {
        key: partner("fabrikam"),
        from: node("edge1"),
        to: node("edge3"),
    };
    assert_eq!(
        outcome,
        FailedOver {
            moved: vec![moved],
            stayed: 1,
            addresses: 0,
            dropped: 1
        }
    );
    assert_eq!(table.look_up(&other, at(9)), Some(node("edge1")));
    let pin = table.inspect(&partner("fabrikam"), at(9)).unwrap();
    assert_eq!((pin.by, pin.since), (PinnedBy::Failover, at(9)));
    table.pin(&address(1), to("edge3"), at(10));
    let lease = table.lease(&address(1), at(10)).unwrap();
    table.release(orphan, at(11));
    assert_eq!(
        table.inspect(&address(1), at(11)).unwrap().sessions,
        1,
        "another pin's lease"
    );
    table.release(lease, at(12));
    assert_eq!(table.forget_node("edge", "edge3"), 2);
    assert_eq!(
        table.forget_partner("fabrikam"),
        1,
        "its pin of the other affinity"
    );
    assert_eq!(table.list(at(12)).len(), 3);
}

#[test]
fn the_pin_of_an_address_that_looks_legacy_moves_at_a_failover_and_stays_an_addresss_pin() {
    let table = PinTable::new(10);
    let legacy = NewPin {
        looks_legacy: true,
        ..to("edge1")
    };
    table.pin(&address(1), legacy.clone(), at(0));
    table.pin(&address(2), to("edge1"), at(0));
    table.pin(&address(3), legacy, at(0));
    // It is seen only at its second coming.
    table.pin(&address(4), to("edge1"), at(0));
    table.mark_legacy(&address(4), at(1));
    let place = |subject: &Subject| (*subject != address(3).subject).then(|| node("edge2"));
    let outcome = table.fail_over("edge", "federation", &node("edge1"), at(2), place);
    let expected = FailedOver {
        moved: vec![],
        stayed: 0,
        addresses: 2,
        dropped: 2,
    };
    assert_eq!(outcome, expected, "nobody took the third");
    for number in [1, 4] {
        let pin = table.inspect(&address(number), at(2)).unwrap();
        assert_eq!((&*pin.node, pin.by), ("edge2", PinnedBy::Failover));
        assert_eq!(pin.home, None, "only partners have one");
    }
    assert_eq!(table.counts().addresses, 2);
    assert_eq!(table.expire(at(2) + TTL, 9), 2, "they lapse like others");
}

#[test]
fn a_sweep_is_bounded_and_goes_on_where_it_stopped() {
    let table = PinTable::new(1_000);
    for number in 0..200 {
        table.pin(&address(number), to("edge1"), at(0));
    }
    let mut sweeps = 0;
    while table.expire(at(100), 7) > 0 {
        sweeps += 1;
    }
    assert_eq!(
        (sweeps, table.len(), table.counts().lapsed),
        (200_u64.div_ceil(7), 0, 200)
    );
}

#[test]
fn threads_together_keep_the_bound_and_the_count() {
    let table = PinTable::new(50);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let table = &table;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for round in 0..5_000 {
                    let key = address(random.u8(..));
                    table.pin(&key, to("edge1"), at(round / 10));
                    let lease = table.lease(&key, at(round / 10));
                    if random.u8(..) == 0 {
                        table.fail_over("edge", "federation", &node("edge1"), at(round), |_| None);
                    }
                    assert!(table.counts().addresses <= 50);
                    if let Some(lease) = lease {
                        table.release(lease, at(round / 10));
                    }
                    table.expire(at(round / 10), 2);
                }
            });
        }
    });
    let listed = table.list(at(0));
    assert_eq!(listed.len(), table.len());
    assert!(listed.iter().all(|(_, pin)| pin.sessions == 0));
    while table.expire(at(1_000_000), 8) > 0 {}
    assert!(table.is_empty());
}

#[derive(Clone, Debug)]
enum Operation {
    Pin(u8, u8),
    Lease(u8),
    Release(prop::sample::Index),
    Move(u8, u8),
    FailOver(u8, u8),
    ForgetNode(u8),
    Forget(u8),
    Wait(u64),
    Expire(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => (0..16_u8, 0..3_u8).prop_map(|(key, node)| Operation::Pin(key, node)),
        4 => (0..16_u8).prop_map(Operation::Lease),
        3 => any::<prop::sample::Index>().prop_map(Operation::Release),
        1 => (0..16_u8, 0..3_u8).prop_map(|(key, node)| Operation::Move(key, node)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(from, to)| Operation::FailOver(from, to)),
        1 => (0..3_u8).prop_map(Operation::ForgetNode),
        1 => (0..16_u8).prop_map(Operation::Forget),
        3 => (0..15_u64).prop_map(Operation::Wait),
        1 => (0..4_usize).prop_map(Operation::Expire),
    ];
    proptest::collection::vec(operation, 0..120)
}

/// The first four keys are partners.
fn nth(number: u8) -> PinKey {
    if number < 4 {
        partner(&format!("partner{number}"))
    } else {
        address(number)
    }
}

fn named(number: u8) -> Arc<str> {
    Arc::from(format!("edge{number}"))
}

const MAX: usize = 5;

#[derive(Clone, Debug)]
struct Modelled {
    node: Arc<str>,
    /// Order in which pins were made; tells pins of one key apart.
    serial: u64,
    sessions: u32,
    last: u64,
}

/// The table as one ordered map, with one shard's exact eviction.
#[derive(Default)]
struct Model {
    now: u64,
    serial: u64,
    pins: BTreeMap<PinKey, Modelled>,
}

impl Model {
    /// Lapsed pins go before anything else happens.
    fn lapse(&mut self) {
        let (now, ttl) = (self.now, TTL.as_secs());
        self.pins.retain(|key, pin| {
            key.subject.is_partner() || pin.sessions > 0 || pin.last + ttl > now
        });
    }

    fn addresses(&self) -> usize {
        self.pins
            .keys()
            .filter(|key| !key.subject.is_partner())
            .count()
    }

    fn pin(&mut self, key: PinKey, node: Arc<str>) {
        if self.pins.contains_key(&key) {
            return;
        }
        if !key.subject.is_partner() && self.addresses() == MAX {
            let idle = self
                .pins
                .iter()
                .filter(|(key, pin)| !key.subject.is_partner() && pin.sessions == 0);
            let oldest = idle
                .min_by_key(|(_, pin)| (pin.last, pin.serial))
                .map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.pins.remove(&oldest);
        }
        self.serial += 1;
        let pin = Modelled {
            node,
            serial: self.serial,
            sessions: 0,
            last: self.now,
        };
        self.pins.insert(key, pin);
    }
}

proptest! {
    #[test]
    fn it_agrees_with_an_ordered_map(operations in operations()) {
        let table = PinTable::with_shards(MAX, 1);
        let mut model = Model::default();
        let mut leases: Vec<(Lease, PinKey, u64)> = Vec::new();
        for operation in operations {
            let now = at(model.now);
            // The table may keep what lapsed until it is swept; the model may not tell.
            table.expire(now, usize::MAX);
            model.lapse();
            match operation {
                Operation::Pin(key, node) => {
                    let pinned = table.pin(&nth(key), NewPin { node: named(node), ..to("") }, now);
                    let known = model.pins.contains_key(&nth(key));
                    prop_assert_eq!(matches!(pinned, Pinned::Kept(_)), known);
                    model.pin(nth(key), named(node));
                }
                Operation::Lease(key) => {
                    let lease = table.lease(&nth(key), now);
                    let pin = model.pins.get_mut(&nth(key));
                    prop_assert_eq!(lease.is_some(), pin.is_some());
                    if let (Some(lease), Some(pin)) = (lease, pin) {
                        pin.sessions += 1;
                        pin.last = model.now;
                        leases.push((lease, nth(key), pin.serial));
                    }
                }
                Operation::Release(which) if !leases.is_empty() => {
                    let (lease, key, serial) = leases.swap_remove(which.index(leases.len()));
                    table.release(lease, now);
                    if let Some(pin) = model.pins.get_mut(&key).filter(|pin| pin.serial == serial) {
                        pin.sessions -= 1;
                        pin.last = model.now;
                    }
                }
                Operation::Release(_) => {}
                Operation::Move(key, node) => {
                    let before = table.move_to(&nth(key), &named(node), PinnedBy::ByHand, now);
                    let pin = model.pins.get_mut(&nth(key));
                    prop_assert_eq!(before, pin.as_ref().map(|pin| Arc::clone(&pin.node)));
                    if let Some(pin) = pin {
                        pin.node = named(node);
                    }
                }
                Operation::FailOver(from, to) => {
                    table.fail_over("edge", "federation", &named(from), now, |_| Some(named(to)));
                    model.pins.retain(|key, pin| key.subject.is_partner() || pin.node != named(from));
                    for pin in model.pins.values_mut().filter(|pin| pin.node == named(from)) {
                        pin.node = named(to);
                    }
                }
                Operation::ForgetNode(node) => {
                    table.forget_node("edge", &named(node));
                    model.pins.retain(|_, pin| pin.node != named(node));
                }
                Operation::Forget(key) => {
                    let gone = table.forget(&nth(key));
                    prop_assert_eq!(gone, model.pins.remove(&nth(key)).is_some());
                }
                Operation::Wait(seconds) => model.now += seconds,
                Operation::Expire(limit) => {
                    table.expire(at(model.now), limit);
                }
            }
            model.lapse();
            let listed: Vec<_> = table
                .list(at(model.now))
                .into_iter()
                .map(|(key, pin)| (key, pin.node, pin.sessions))
                .collect();
            let expected: Vec<_> = model
                .pins
                .iter()
                .map(|(key, pin)| (key.clone(), Arc::clone(&pin.node), pin.sessions))
                .collect();
            prop_assert_eq!(listed, expected);
            prop_assert!(table.counts().addresses <= MAX);
            for number in 0..16 {
                let found = table.look_up(&nth(number), at(model.now));
                prop_assert_eq!(found, model.pins.get(&nth(number)).map(|pin| Arc::clone(&pin.node)));
            }
        }
    }
}

#[test]
fn a_pin_that_is_ordered_away_keeps_its_home_and_tells_what_it_said() {
    let table = PinTable::new(10);
    let key = partner("fabrikam");
    let (one, two): (Arc<str>, Arc<str>) = ("edge1".into(), "edge2".into());
    let word = Arc::new(Order {
        by: "root".into(),
        reason: Some("CHG 1".into()),
        at: 7,
    });
    let order = |from: &Arc<str>, to: &Arc<str>| {
        let whither = (to, PinnedBy::Maintenance);
        table.order_away(
            &key,
            from,
            whither,
            Arc::clone(&word),
            Moment::from_micros(5),
        )
    };
    assert_eq!(order(&one, &two), None, "there is none");
    let _ = table.pin(&key, to("edge1"), Moment::START);
    assert_eq!(order(&two, &one), None, "it is elsewhere");
    assert_eq!(order(&one, &one), None, "it is there");
    let before = order(&one, &two).unwrap();
    assert_eq!((&before.node, before.by), (&one, PinnedBy::Placed));
    let pin = table.inspect(&key, Moment::from_micros(6)).unwrap();
    assert_eq!((&pin.node, pin.by), (&two, PinnedBy::Maintenance));
    assert_eq!((pin.home, pin.order), (Some(one), Some(Arc::clone(&word))));
    for by in PinnedBy::ALL {
        assert_eq!(PinnedBy::from_label(by.label()), Some(by));
    }
}

#[test]
fn the_pins_that_are_wanted_are_those_of_the_list() {
    let table = PinTable::new(100);
    for number in 0..60 {
        let _ = table.pin(&address(number), to("edge1"), at(u64::from(number)));
        let name = format!("partner{number}");
        let _ = table.pin(&partner(&name), to("edge2"), at(0));
    }
    let is_wanted = |key: &PinKey, pin: &Pin| {
        key.subject.to_string().ends_with('7') || (*pin.node == *"edge1" && pin.revision == 1)
    };
    let now = at(50);
    let mut all = table.list(now);
    all.retain(|(key, pin)| is_wanted(key, pin));
    assert!(all.len() > 30, "lapsed ones are not among them");
    assert_eq!(table.list_where(now, is_wanted), all);
}
