use proptest::prelude::*;

use super::*;

const SPOKEN: Spoken = Spoken {
    offered: 0x0303,
    negotiated: 0x0301,
};

fn at(hours: u64) -> Moment {
    Moment::START + Duration::from_secs(hours * 3600)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn names(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|name| Box::from(*name)).collect()
}

fn known(learned: &Learned, last: u8, now: Moment) -> Option<String> {
    let names = learned.names(address(last), now)?;
    names.first().map(ToString::to_string)
}

#[test]
fn a_name_is_learned_renewed_and_forgotten_in_time() {
    let learned = Learned::default();
    let fabrikam = names(&["sip.fabrikam.com"]);
    assert_eq!(
        learned.observe(address(1), &fabrikam, SPOKEN, at(0)),
        Lesson::New
    );
    assert_eq!(
        known(&learned, 1, at(700)).as_deref(),
        Some("sip.fabrikam.com")
    );
    learned.renew(address(1), SPOKEN, at(700));
    assert!(known(&learned, 1, at(1400)).is_some());
    assert_eq!(known(&learned, 1, at(1421)), None);
    assert_eq!(known(&learned, 2, at(1)), None);
    // What expires goes as others come by.
    for last in 0..=255 {
        learned.observe(address(last), &fabrikam, SPOKEN, at(2000));
    }
    assert_eq!(learned.len(), 256);
}

#[test]
fn two_names_on_one_address_teach_nothing_for_a_day() {
    let learned = Learned::default();
    let (a, b) = (names(&["a.example"]), names(&["b.example"]));
    learned.observe(address(1), &a, SPOKEN, at(0));
    assert_eq!(
        learned.observe(address(1), &b, SPOKEN, at(1)),
        Lesson::Ambiguous
    );
    assert_eq!(known(&learned, 1, at(1)), None);
    // However they take turns.
    assert_eq!(
        learned.observe(address(1), &a, SPOKEN, at(20)),
        Lesson::Ambiguous
    );
    assert_eq!(
        learned.observe(address(1), &a, SPOKEN, at(30)),
        Lesson::Ambiguous
    );
    assert_eq!(known(&learned, 1, at(43)), None);
    // Whoever has shown one name for a day has that name.
    assert_eq!(learned.observe(address(1), &a, SPOKEN, at(45)), Lesson::New);
    assert_eq!(known(&learned, 1, at(45)).as_deref(), Some("a.example"));
}

#[test]
fn a_certificate_that_was_renewed_is_the_same_while_it_shares_a_name() {
    let learned = Learned::default();
    learned.observe(
        address(1),
        &names(&["a.example", "b.example"]),
        SPOKEN,
        at(0),
    );
    let renewed = names(&["c.example", "b.example"]);
    assert_eq!(
        learned.observe(address(1), &renewed, SPOKEN, at(1)),
        Lesson::Renewed
    );
    assert_eq!(known(&learned, 1, at(1)).as_deref(), Some("c.example"));
}

#[test]
fn a_certificate_without_names_teaches_and_disturbs_nothing() {
    let learned = Learned::default();
    learned.observe(address(1), &names(&["a.example"]), SPOKEN, at(0));
    assert_eq!(
        learned.observe(address(1), &[], SPOKEN, at(1)),
        Lesson::Nameless
    );
    assert!(known(&learned, 1, at(1)).is_some());
}

#[test]
fn what_is_kept_is_bounded_and_who_would_go_first_goes() {
    let learned = Learned::with_shards(1, 3);
    for last in 0..10 {
        learned.observe(
            address(last),
            &names(&["a.example"]),
            SPOKEN,
            at(u64::from(last)),
        );
    }
    assert_eq!(learned.len(), 3);
    assert!(known(&learned, 9, at(9)).is_some() && known(&learned, 6, at(9)).is_none());
    let many: Vec<Box<str>> = (0..1000).map(|at| format!("{at}.example").into()).collect();
    assert_eq!(kept(&many).len(), NAMES_MAX);
    let long: Vec<Box<str>> = (0..20)
        .map(|at| format!("{at}{}", "a".repeat(250)).into())
        .collect();
    assert!(kept(&long).iter().map(|name| name.len()).sum::<usize>() <= NAMES_BYTES_MAX);
}

#[test]
fn what_is_exported_can_be_imported_and_what_is_known_stands() {
    let learned = Learned::default();
    learned.observe(address(1), &names(&["a.example"]), SPOKEN, at(0));
    learned.observe(address(2), &names(&["b.example"]), SPOKEN, at(0));
    learned.observe(address(2), &names(&["c.example"]), SPOKEN, at(1));
    let mut exported = learned.export(at(20));
    exported.sort_by_key(|each| each.address);
    assert_eq!(exported.len(), 2, "what is in doubt stays so");
    assert_eq!(exported[0].remaining, Duration::from_secs(700 * 3600));
    assert_eq!(exported[0].doubt, Duration::ZERO);
    assert_eq!(exported[1].doubt, Duration::from_secs(5 * 3600));

    let restarted = Learned::default();
    restarted.observe(address(1), &names(&["now.example"]), SPOKEN, at(0));
    let mut more = exported.clone();
    more.extend([
        Exported {
            address: address(3),
            remaining: Duration::MAX,
            ..exported[0].clone()
        },
        Exported {
            address: address(4),
            remaining: Duration::ZERO,
            ..exported[0].clone()
        },
        Exported {
            address: address(5),
            names: Vec::new(),
            ..exported[0].clone()
        },
    ]);
    restarted.import(more, at(0));
    assert_eq!(known(&restarted, 1, at(0)).as_deref(), Some("now.example"));
    assert!(known(&restarted, 3, at(719)).is_some() && known(&restarted, 3, at(721)).is_none());
    assert_eq!(restarted.len(), 3);
    assert_eq!(known(&restarted, 2, at(4)), None);
    assert_eq!(known(&restarted, 2, at(25)).as_deref(), Some("c.example"));
}

proptest! {
    #[test]
    fn an_address_never_has_a_name_that_it_did_not_show_last(
        events in proptest::collection::vec((0..4_u8, 0..3_usize, 1..40_u64), 1..60),
    ) {
        let shown = ["a.example", "b.example", "c.example"];
        let learned = Learned::with_shards(2, 8);
        let mut last = HashMap::new();
        let mut hours = 0;
        for (client, name, pause) in events {
            hours += pause;
            learned.observe(address(client), &names(&[shown[name]]), SPOKEN, at(hours));
            last.insert(client, name);
            for (client, name) in &last {
                let known = known(&learned, *client, at(hours));
                prop_assert!(known.is_none_or(|known| known == shown[*name]));
            }
            for shard in &learned.shards {
                let shard = shard.lock().unwrap();
                prop_assert_eq!(shard.queue.len(), shard.entries.len());
            }
        }
    }
}

#[test]
fn where_a_name_was_seen_is_told_as_the_export_has_it() {
    let learned = Learned::default();
    for last in 0..200 {
        let name = format!("sip{}.fabrikam.com", last % 3);
        learned.observe(address(last), &names(&[&name]), SPOKEN, at(0));
    }
    // In doubt, and too old.
    learned.observe(address(1), &names(&["sip.contoso.com"]), SPOKEN, at(1));
    for now in [at(2), at(800)] {
        let wanted = "sip1.fabrikam.com";
        let is_wanted = |names: &Names| names.iter().any(|name| **name == *wanted);
        let mut seen: Vec<_> = learned.seen_from(now, is_wanted);
        seen.sort();
        let mut exported: Vec<_> = learned
            .export(now)
            .into_iter()
            .filter(|each| each.doubt.is_zero())
            .filter(|each| each.names.iter().any(|name| name == wanted))
            .map(|each| each.address)
            .collect();
        exported.sort();
        assert!(seen.iter().map(|(address, _)| *address).eq(exported));
        assert_eq!(seen.len(), if now == at(2) { 66 } else { 0 });
    }
}
