use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Configured partners: name, edge, domains.
fn partners(list: &[(&str, &[&str], &[&str])]) -> Vec<model::Partner> {
    let quoted = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        names.join(", ")
    };
    let mut text = String::from("version = 1\n");
    for (name, edge, domains) in list {
        text += &format!(
            "[[partner]]\nname = {name:?}\nedge = [{}]\ndomains = [{}]\n",
            quoted(edge),
            quoted(domains)
        );
    }
    crate::config::parse("test.toml", &text).map_or_else(
        |mistakes| panic!("{mistakes:?}"),
        |loaded| loaded.config.partners,
    )
}

fn names(list: &[(&str, &[&str], &[&str])]) -> Names {
    let mut names = Names::new(7);
    names.configure(&partners(list), Ground::default(), Moment::START);
    names
}

fn host(name: &str) -> Question {
    Question::Addresses(name.into())
}

fn service(domain: &str) -> Question {
    Question::Service(domain.into())
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn found(last: &[u8], ttl: u64) -> Heard {
    Heard::Addresses {
        found: last.iter().map(|last| ip(*last)).collect(),
        unheard: None,
        ttl: Duration::from_secs(ttl),
    }
}

fn records(list: &[(u16, u16, &str)]) -> Heard {
    let record = |(priority, weight, target): &(u16, u16, &str)| Record {
        priority: *priority,
        weight: *weight,
        port: 5061,
        target: (*target).into(),
    };
    Heard::Service {
        found: list.iter().map(record).collect(),
        ttl: HOUR,
    }
}

fn at(seconds: u64) -> Moment {
    Moment::START + Duration::from_secs(seconds)
}

fn owner(names: &mut Names, last: u8) -> Option<String> {
    let (addresses, _) = names.settle();
    addresses
        .get(ip(last))
        .map(|named| named.partner.to_string())
}

const FABRIKAM: (&str, &[&str], &[&str]) = ("fabrikam", &["sip.fabrikam.com"], &[]);

#[test]
fn a_name_that_moves_takes_its_partner_along_and_says_from_where_to_where() {
    let mut names = names(&[FABRIKAM]);
    assert_eq!(names.ask(at(0), 9), [host("sip.fabrikam.com")]);
    assert_eq!(names.ask(at(0), 9), [], "it is being asked");
    let first = names.hear(&host("sip.fabrikam.com"), found(&[1, 2], 60), at(1));
    assert!(matches!(&first[..], [Event::Resolved { .. }]), "{first:?}");
    assert_eq!(owner(&mut names, 2).as_deref(), Some("fabrikam"));

    let same = names.hear(&host("sip.fabrikam.com"), found(&[2, 1, 1], 60), at(2));
    assert_eq!(same, [], "another order is nothing new");
    let moved = names.hear(&host("sip.fabrikam.com"), found(&[7], 60), at(3));
    let drift = Event::Drift {
        partner: "fabrikam".into(),
        name: "sip.fabrikam.com".into(),
        old: vec![ip(1), ip(2)],
        new: vec![ip(7)],
    };
    assert_eq!(moved, [drift]);
    assert_eq!(owner(&mut names, 1), None);
    let (addresses, _) = names.settle();
    assert_eq!(
        addresses.get(ip(7)).unwrap().before.to_vec(),
        [ip(1), ip(2)]
    );
}

#[test]
fn an_answer_holds_as_long_as_it_says_within_bounds() {
    let mut names = names(&[FABRIKAM]);
    for (ttl, holds) in [(0, 30), (29, 30), (60, 60), (1 << 31, 24 * 3600)] {
        let _ = names.hear(&host("sip.fabrikam.com"), found(&[1], ttl), at(5));
        assert_eq!(names.next_due(), Some(at(5 + holds)), "ttl {ttl}");
    }
}

#[test]
fn an_administrator_need_not_wait_and_cannot_hammer() {
    let mut names = names(&[FABRIKAM]);
    let question = host("sip.fabrikam.com");
    let _ = names.ask(at(0), 9);
    let _ = names.hear(&question, found(&[1], 3600), at(10));
    names.ask_again(at(10));
    assert_eq!(names.ask(at(10), 9), []);
    names.ask_again(at(12));
    assert_eq!(names.ask(at(12), 9), [question]);
    names.ask_again(at(13));
    assert_eq!(names.ask(at(13), 9), [], "it is being asked");
}

#[test]
fn whatever_dns_does_a_name_keeps_its_last_good_answer() {
    let mut names = names(&[FABRIKAM]);
    let question = host("sip.fabrikam.com");
    let _ = names.hear(&question, found(&[1], 60), at(0));
    let bad = [
        Heard::Failed(Failure::Timeout),
        Heard::Failed(Failure::NoSuchName),
        found(&[], 60),
        Heard::Addresses {
            found: vec![
                [127, 0, 0, 1].into(),
                [0, 0, 0, 0].into(),
                [224, 0, 0, 1].into(),
            ],
            unheard: None,
            ttl: HOUR,
        },
        records(&[(1, 1, "sip.fabrikam.com")]),
    ];
    let mut failed = 0;
    for heard in bad.into_iter().cycle().take(50) {
        let events = names.hear(&question, heard, at(100));
        let is_failure = |event: &&Event| matches!(event, Event::Failed { is_known: true, .. });
        failed += events.iter().filter(is_failure).count();
        assert_eq!(owner(&mut names, 1).as_deref(), Some("fabrikam"));
    }
    assert_eq!(failed, 1, "said once");
    let events = names.hear(&question, found(&[1], 60), at(200));
    assert_eq!(events, [Event::Recovered { question }]);
}

#[test]
fn a_family_that_cannot_be_asked_keeps_its_addresses_and_one_that_has_none_loses_them() {
    let mut names = names(&[FABRIKAM]);
    let question = host("sip.fabrikam.com");
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let heard = |found: Vec<IpAddr>, unheard| {
        let ttl = HOUR;
        Heard::Addresses {
            found,
            unheard,
            ttl,
        }
    };
    let _ = names.hear(&question, heard(vec![ip(1), v6], None), at(0));
    let _ = names.hear(&question, heard(vec![ip(2)], Some(Family::V6)), at(1));
    let (addresses, _) = names.settle();
    assert!(addresses.get(v6).is_some() && addresses.get(ip(2)).is_some());
    assert!(addresses.get(ip(1)).is_none());
    let _ = names.hear(&question, heard(vec![ip(2)], None), at(2));
    assert!(names.settle().0.get(v6).is_none());
}

#[test]
fn retries_grow_apart_to_five_minutes_and_are_spread() {
    let mut waits = Vec::new();
    let mut names = names(&[FABRIKAM]);
    for _ in 0..20 {
        let question = host("sip.fabrikam.com");
        let _ = names.hear(&question, Heard::Failed(Failure::Timeout), at(0));
        waits.push(names.next_due().unwrap().since(at(0)));
    }
    assert!(waits[0] >= Duration::from_secs(1) && waits[0] <= Duration::from_secs(2));
    let last = &waits[10..];
    assert!(
        last.iter()
            .all(|wait| *wait <= BACK_OFF_MAX && *wait >= BACK_OFF_MAX / 2)
    );
    assert!(last.windows(2).any(|pair| pair[0] != pair[1]), "{last:?}");
}

#[test]
fn an_address_of_two_partners_is_nobodys_and_that_is_said_once() {
    let mut names = names(&[FABRIKAM, ("woodgrove", &["sip.woodgrove.com"], &[])]);
    let _ = names.hear(&host("sip.fabrikam.com"), found(&[1, 9], 60), at(0));
    let _ = names.hear(&host("sip.woodgrove.com"), found(&[2, 9], 60), at(0));
    let (addresses, events) = names.settle();
    assert!(addresses.get(ip(9)).is_none());
    assert!(addresses.get(ip(1)).is_some() && addresses.get(ip(2)).is_some());
    let partners = vec!["fabrikam".into(), "woodgrove".into()];
    assert_eq!(
        events,
        [Event::Contested {
            address: ip(9),
            partners
        }]
    );
    assert_eq!(names.settle().1, []);
    let _ = names.hear(&host("sip.woodgrove.com"), found(&[2], 60), at(1));
    assert_eq!(owner(&mut names, 9).as_deref(), Some("fabrikam"));
}

#[test]
fn what_can_be_no_partners_is_passed_over_and_said_once() {
    let mut names = names(&[FABRIKAM]);
    let ground = Ground {
        is_laboratory: true,
        own: [ip(50)].into(),
    };
    names.configure(&partners(&[FABRIKAM]), ground, at(0));
    let answer = || Heard::Addresses {
        found: vec![
            ip(50),
            [127, 0, 0, 40].into(),
            "::ffff:192.0.2.8".parse().unwrap(),
        ],
        unheard: None,
        ttl: HOUR,
    };
    let events = names.hear(&host("sip.fabrikam.com"), answer(), at(0));
    let ignored = |event: &&Event| {
        matches!(
            event,
            Event::Ignored {
                why: Fault::Own,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(ignored).count(), 1);
    assert_eq!(names.hear(&host("sip.fabrikam.com"), answer(), at(1)), []);
    let (addresses, _) = names.settle();
    assert!(
        addresses.get([127, 0, 0, 40].into()).is_some(),
        "a laboratory"
    );
    assert!(addresses.get(ip(50)).is_none());
    assert!(addresses.get(ip(8)).is_some(), "a mapped address is plain");
    names.configure(&partners(&[FABRIKAM]), Ground::default(), at(2));
    assert!(names.settle().0.get([127, 0, 0, 40].into()).is_none());
}

#[test]
fn a_service_names_a_host_and_the_old_one_counts_until_the_new_one_has_resolved() {
    let mut names = names(&[("fabrikam", &[], &["fabrikam.com"])]);
    assert_eq!(names.ask(at(0), 9), [service("fabrikam.com")]);
    let one = records(&[
        (1, 1, "a.fabrikam.com"),
        (0, 0, "sip.evil.com"),
        (1, 0, "b.fabrikam.com"),
    ]);
    let events = names.hear(&service("fabrikam.com"), one, at(0));
    let is_violation = |event: &&Event| matches!(event, Event::Violation { .. });
    assert_eq!(events.iter().filter(is_violation).count(), 1, "{events:?}");
    assert_eq!(names.ask(at(0), 9), [host("a.fabrikam.com")]);
    let _ = names.hear(&host("a.fabrikam.com"), found(&[1], 60), at(0));

    let _ = names.hear(
        &service("fabrikam.com"),
        records(&[(1, 1, "b.fabrikam.com")]),
        at(1),
    );
    assert_eq!(
        owner(&mut names, 1).as_deref(),
        Some("fabrikam"),
        "meanwhile"
    );
    let events = names.hear(&host("b.fabrikam.com"), found(&[2], 60), at(2));
    let drift = Event::Drift {
        partner: "fabrikam".into(),
        name: "b.fabrikam.com".into(),
        old: vec![ip(1)],
        new: vec![ip(2)],
    };
    assert_eq!(events, [drift]);
    assert_eq!(owner(&mut names, 1), None);
    assert_eq!(owner(&mut names, 2).as_deref(), Some("fabrikam"));
    assert!(!names.is_asked(&host("a.fabrikam.com")));

    // Only targets that may not be used: what was known stays.
    let _ = names.hear(
        &service("fabrikam.com"),
        records(&[(1, 1, "sip.evil.com")]),
        at(3),
    );
    assert_eq!(owner(&mut names, 2).as_deref(), Some("fabrikam"));
}

#[test]
fn a_domain_without_a_service_is_no_trouble_where_anything_else_tells_where_the_partner_is() {
    let absent = || Heard::Failed(Failure::NoSuchName);
    let mut with = names(&[("fabrikam", &["sip.fabrikam.com"], &["fabrikam.com"])]);
    assert_eq!(with.hear(&service("fabrikam.com"), absent(), at(0)), []);
    let mut without = names(&[("fabrikam", &[], &["fabrikam.com"])]);
    assert_eq!(
        without
            .hear(&service("fabrikam.com"), absent(), at(0))
            .len(),
        1
    );
}

#[test]
fn ten_thousand_records_are_bounded_and_their_order_changes_nothing() {
    let mut names = names(&[("fabrikam", &["sip.fabrikam.com"], &["fabrikam.com"])]);
    let mut many: Vec<IpAddr> = (0..10_000_u32)
        .map(|number| IpAddr::from((0x0a00_0000 + number).to_be_bytes()))
        .collect();
    let answer = |found: &[IpAddr]| Heard::Addresses {
        found: found.to_vec(),
        unheard: None,
        ttl: HOUR,
    };
    let _ = names.hear(&host("sip.fabrikam.com"), answer(&many), at(0));
    assert_eq!(names.settle().0.len(), ADDRESSES_MAX);
    many.reverse();
    assert_eq!(
        names.hear(&host("sip.fabrikam.com"), answer(&many), at(1)),
        []
    );

    let targets: Vec<String> = (0..10_000)
        .map(|each| format!("h{each}.evil.com"))
        .collect();
    let mut list: Vec<_> = targets
        .iter()
        .map(|target| (9, 9, target.as_str()))
        .collect();
    list.push((1, 1, "sip.fabrikam.com"));
    let events = names.hear(&service("fabrikam.com"), records(&list), at(2));
    assert!(events.len() < 20, "{}", events.len());
    let view = names.view();
    let service = &view.partners["fabrikam"].services[0];
    assert_eq!(service.records.len(), RECORDS_MAX);
    assert_eq!(service.target.as_deref(), Some("sip.fabrikam.com"));
}

#[test]
fn of_too_many_names_some_are_not_asked_and_that_is_said() {
    let edges: Vec<String> = (0..NAMES_MAX + 10)
        .map(|each| format!("h{each}.test"))
        .collect();
    let edges: Vec<&str> = edges.iter().map(|edge| &**edge).collect();
    let mut names = names(&[("fabrikam", &edges, &[])]);
    assert_eq!(names.ask(at(0), usize::MAX).len(), NAMES_MAX);
    assert_eq!(names.settle().1, [Event::TooMany { left_out: 10 }]);
    assert_eq!(names.settle().1, []);
}

#[test]
fn a_reload_keeps_what_is_known_and_forgets_what_is_gone() {
    let mut names = names(&[FABRIKAM]);
    let _ = names.hear(&host("sip.fabrikam.com"), found(&[1], 3600), at(0));
    let other = ("woodgrove", &["sip.woodgrove.com"][..], &[][..]);
    names.configure(&partners(&[FABRIKAM, other]), Ground::default(), at(1));
    assert_eq!(owner(&mut names, 1).as_deref(), Some("fabrikam"));
    assert_eq!(
        names.ask(at(1), 9),
        [host("sip.woodgrove.com")],
        "and nothing anew"
    );
    names.configure(&partners(&[other]), Ground::default(), at(2));
    assert_eq!(owner(&mut names, 1), None);
    assert_eq!(
        names.hear(&host("sip.fabrikam.com"), found(&[1], 60), at(3)),
        []
    );
}

#[test]
fn what_an_instance_before_knew_counts_until_there_is_better() {
    let mut names = names(&[("fabrikam", &[], &["fabrikam.com"])]);
    let (age, now) = (HOUR, at(100_000));
    names.restore(
        &service("fabrikam.com"),
        records(&[(1, 1, "sip.fabrikam.com")]),
        age,
        now,
    );
    names.restore(&host("sip.fabrikam.com"), found(&[1], 60), age, now);
    assert_eq!(owner(&mut names, 1).as_deref(), Some("fabrikam"));
    let asked = [service("fabrikam.com"), host("sip.fabrikam.com")];
    assert_eq!(names.ask(now, 9).len(), asked.len(), "asked again at once");
    let known = names.known(&host("sip.fabrikam.com")).unwrap();
    assert_eq!(now.since(known.1), HOUR);
    names.restore(&host("sip.fabrikam.com"), found(&[9], 60), age, now);
    assert_eq!(owner(&mut names, 9), None, "known already");
}

/// What a server may say, as a naive model takes it.
#[derive(Clone, Debug)]
enum Said {
    Addresses(Vec<u8>),
    Nothing(u8),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => proptest::collection::vec(1..12_u8, 0..5).prop_map(Said::Addresses),
        1 => (0..6_u8).prop_map(Said::Nothing),
    ]
}

const FAILURES: [Failure; 6] = [
    Failure::Timeout,
    Failure::NoSuchName,
    Failure::Empty,
    Failure::ServerFailure,
    Failure::Unusable,
    Failure::NoServer,
];

/// Three partners with two names each, one of which two of them share.
const EDGES: [(&str, [&str; 2]); 3] = [
    ("p0", ["a.test", "b.test"]),
    ("p1", ["c.test", "shared.test"]),
    ("p2", ["d.test", "shared.test"]),
];

proptest! {
    #[test]
    fn whose_an_address_is_agrees_with_a_naive_model(
        history in proptest::collection::vec((0..5_usize, said()), 1..60)
    ) {
        let hosts = ["a.test", "b.test", "c.test", "d.test", "shared.test"];
        let list: Vec<_> = EDGES.iter().map(|(name, edge)| (*name, &edge[..], &[][..])).collect();
        let mut names = names(&list);
        let mut model: HashMap<&str, BTreeSet<u8>> = HashMap::new();
        for (step, (which, said)) in history.into_iter().enumerate() {
            let heard = match &said {
                Said::Addresses(last) => found(last, 60),
                Said::Nothing(failure) => Heard::Failed(FAILURES[usize::from(*failure)]),
            };
            if let Said::Addresses(last) = said && !last.is_empty() {
                model.insert(hosts[which], last.into_iter().collect());
            }
            let _ = names.hear(&host(hosts[which]), heard, at(step as u64));
            let (addresses, _) = names.settle();
            for last in 1..12_u8 {
                let has = |edge: &&str| model.get(edge).is_some_and(|known| known.contains(&last));
                let owners: Vec<&str> = EDGES
                    .iter()
                    .filter(|(_, edges)| edges.iter().any(has))
                    .map(|(name, _)| *name)
                    .collect();
                let expected = (owners.len() == 1).then(|| owners[0]);
                let is = addresses.get(ip(last)).map(|named| &*named.partner);
                prop_assert_eq!(is, expected, "address {} after step {}", last, step);
            }
        }
    }
}

/// One seeded history of servers that fail, lie, move and come back.
fn simulate(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut names = Names::new(seed);
    let list = partners(&[
        ("p0", &["a.p0.test"], &["p0.test"]),
        ("p1", &[], &["p1.test"]),
        ("p2", &["c.p2.test", "d.p2.test"], &[]),
    ]);
    let mut now = at(1_000_000);
    names.configure(&list, Ground::default(), now);
    let mut ever: HashMap<String, bool> = HashMap::new();
    let mut under_way: Vec<Question> = Vec::new();
    for step in 0..400 {
        let context = format!("seed {seed}, step {step}");
        under_way.extend(names.ask(now, 3_usize.saturating_sub(under_way.len())));
        assert!(under_way.len() <= 3, "{context}");
        if under_way.is_empty() || random.u8(..) < 40 {
            let due = names.next_due().unwrap_or(now);
            let wait = due.since(now);
            assert!(wait <= TTL_MAX, "{context}: waits {wait:?}");
            now = now + wait.max(Duration::from_millis(random.u64(1..500)));
        }
        if !under_way.is_empty() {
            let question = under_way.swap_remove(random.usize(..under_way.len()));
            let is_up = (step / 50) % 2 == 0;
            let heard = answer(&question, is_up, &mut random);
            let before = names.known(&question).is_some();
            let _ = names.hear(&question, heard, now);
            let after = names.known(&question).is_some();
            assert!(
                after || !before,
                "{context}: {question:?} has shrunk to nothing"
            );
        }
        check(&mut names, &mut ever, &context);
    }
    recovers(&mut names, under_way, now, seed);
}

/// What must hold after every step.
fn check(names: &mut Names, ever: &mut HashMap<String, bool>, context: &str) {
    let (addresses, _) = names.settle();
    let view = names.view();
    for (partner, known) in &view.partners {
        let mut has_any = false;
        for name in &known.names {
            assert!(name.addresses.len() <= ADDRESSES_MAX, "{context}");
            has_any |= !name.addresses.is_empty();
        }
        let had_any = ever.entry(partner.to_string()).or_default();
        assert!(
            has_any || !*had_any,
            "{context}: {partner} has shrunk to nothing"
        );
        *had_any |= has_any;
    }
    for (_, named) in addresses.iter() {
        let domain = format!(".{}.test", named.partner);
        assert!(named.name.ends_with(&domain), "{context}: {named:?}");
    }
}

/// When the servers are back, everything recovers within the longest wait.
fn recovers(names: &mut Names, mut under_way: Vec<Question>, mut now: Moment, seed: u64) {
    now = now + BACK_OFF_MAX;
    for _ in 0..8 {
        for question in std::mem::take(&mut under_way)
            .into_iter()
            .chain(names.ask(now, 99))
        {
            let heard = match &question {
                Question::Addresses(_) => found(&[1], 60),
                Question::Service(domain) => records(&[(1, 1, &format!("sip.{domain}"))]),
            };
            let _ = names.hear(&question, heard, now);
        }
        now = now + TTL_MAX;
    }
    let view = names.view();
    for known in view.partners.values() {
        assert!(
            known
                .names
                .iter()
                .all(|name| name.standing.failure.is_none()),
            "seed {seed}"
        );
        assert!(
            known
                .services
                .iter()
                .all(|each| each.standing.failure.is_none()),
            "seed {seed}"
        );
    }
}

fn answer(question: &Question, is_up: bool, random: &mut fastrand::Rng) -> Heard {
    if !is_up || random.u8(..) < 60 {
        return Heard::Failed(FAILURES[random.usize(..FAILURES.len())]);
    }
    match question {
        Question::Addresses(_) => {
            let count = random.usize(0..90);
            let found = (0..count).map(|_| ip(random.u8(..))).collect();
            let unheard = (random.u8(..) < 30).then_some(Family::V6);
            let ttl = Duration::from_secs(random.u64(0..200_000));
            Heard::Addresses {
                found,
                unheard,
                ttl,
            }
        }
        Question::Service(domain) => {
            let targets = ["sip", "a", "b", "x.y"].map(|host| format!("{host}.{domain}"));
            let evil = "sip.evil.test".to_owned();
            let list: Vec<(u16, u16, &str)> = (0..random.usize(0..5))
                .map(|_| {
                    let target = targets.get(random.usize(0..5)).unwrap_or(&evil);
                    (random.u16(0..3), random.u16(0..3), target.as_str())
                })
                .collect();
            records(&list)
        }
    }
}

#[test]
fn servers_that_fail_lie_and_move_never_take_away_what_is_known() {
    for seed in 0..150 {
        simulate(seed);
    }
}
