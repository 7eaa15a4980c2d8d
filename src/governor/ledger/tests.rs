use super::*;
use crate::store::Store;

fn at(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn lost(partner: &str, ended: u64) -> Lost {
    Lost {
        partner: partner.into(),
        listener: "federation".into(),
        endpoint: 1,
        node: "edge1".into(),
        cut_off_since: at(ended - 10),
        ended: at(ended),
        active_at: at(ended - 10),
        outcome: Outcome::NodeReset,
    }
}

fn served(partner: &str, connected: u64) -> Served {
    Served {
        partner: partner.into(),
        listener: "federation".into(),
        endpoint: 2,
        connected: at(connected),
        first_byte: at(connected + 2),
        is_home: true,
    }
}

fn cut() -> Cut {
    Cut {
        pool: "edge".into(),
        node: "edge1".into(),
        endpoint: 1,
        listeners: vec!["federation".into()],
        first_evidence: at(1000),
        evidence: "probe refused",
        sessions: 3,
        pins_moved: 1,
    }
}

fn node() -> Arc<str> {
    "edge2".into()
}

#[test]
fn a_partner_cut_by_a_failover_is_timed_from_its_cut_off_since_to_its_next() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    ledger.forget(at(1602));
    assert_eq!(ledger.awaited(), 1);
    assert!(ledger.failovers()[0].partners[0].served_after_ms.is_none());
    let gap = ledger.served(served("fabrikam", 1605), &node());
    assert_eq!(gap, Some(Duration::from_millis(16)));
    ledger.forget(at(1700));
    assert_eq!(ledger.awaited(), 0);
    let failovers = ledger.failovers();
    let gap = &failovers[0].partners[0];
    assert_eq!(
        (gap.connected_after_ms, gap.served_after_ms),
        (Some(14.0), Some(16.0))
    );
    assert_eq!(gap.node.as_deref(), Some("edge2"));
    assert_eq!(ledger.totals().gaps_count, 1);
}

#[test]
fn a_partner_that_loses_its_node_twice_before_the_verdict_has_one_gap_and_it_ends() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1001));
    assert!(ledger.served(served("fabrikam", 1003), &node()).is_none());
    ledger.lost(lost("fabrikam", 1010));
    ledger.cut(cut(), at(1020));
    assert!(ledger.served(served("fabrikam", 1030), &node()).is_some());
    let failovers = ledger.failovers();
    let gaps = &failovers[0].partners;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].served_after_ms, Some(32.0));
}

#[test]
fn who_is_served_by_a_node_that_only_stands_in_is_back_and_not_at_home() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    let served = Served {
        is_home: false,
        ..served("fabrikam", 1605)
    };
    assert!(ledger.served(served, &node()).is_some());
    let failovers = ledger.failovers();
    assert_eq!(failovers[0].partners[0].node, Some(node()));
    assert!(ledger.last_served().is_empty(), "its pin is elsewhere");
}

#[test]
fn a_partner_that_was_faster_than_the_verdict_belongs_to_the_failover_all_the_same() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1001));
    assert_eq!(
        ledger.served(served("fabrikam", 1003), &node()),
        None,
        "no verdict yet"
    );
    let (number, back) = ledger.cut(cut(), at(1006));
    assert_eq!(number, 1);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].cut_off, Duration::from_millis(14));
    assert_eq!(ledger.failovers()[0].partners.len(), 1);
    assert_eq!(ledger.totals().gaps_count, 1);
}

#[test]
fn a_node_that_only_closed_a_connection_makes_no_failover() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1001));
    assert_eq!(ledger.served(served("fabrikam", 1003), &node()), None);
    assert!(ledger.failovers().is_empty());
    assert_eq!(ledger.totals().gaps_count, 0);
}

#[test]
fn a_session_that_began_before_the_loss_does_not_end_it() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    assert_eq!(ledger.served(served("fabrikam", 1590), &node()), None);
    ledger.forget(at(1602));
    assert_eq!(ledger.awaited(), 1);
}

#[test]
fn the_first_of_several_lost_sessions_starts_the_clock() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    ledger.lost(lost("fabrikam", 1603));
    let gap = ledger.served(served("fabrikam", 1605), &node());
    assert_eq!(gap, Some(Duration::from_millis(16)));
    assert_eq!(ledger.failovers()[0].partners.len(), 1);
}

#[test]
fn who_never_comes_back_is_forgotten_after_a_day_but_stays_written_down() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1001));
    ledger.cut(cut(), at(1006));
    let day = 24 * 3600 * 1000;
    ledger.forget(at(day));
    assert_eq!(ledger.awaited(), 1);
    ledger.forget(at(day + 2000));
    assert_eq!(ledger.awaited(), 0);
    assert_eq!(ledger.failovers()[0].partners.len(), 1);
}

#[test]
fn the_ledger_is_bounded() {
    let mut ledger = Ledger::default();
    for number in 0..2 * FAILOVERS_MAX as u64 {
        ledger.lost(lost(&format!("partner{number}"), 1001));
        ledger.cut(cut(), at(1006 + number * 60_000));
        ledger.served(served(&format!("partner{number}"), 1003), &node());
    }
    assert_eq!(ledger.failovers().len(), FAILOVERS_MAX);
    assert!(ledger.ended.len() <= ENDED_MAX);
}

#[test]
fn a_link_that_its_node_closed_in_order_is_not_missing_unless_the_node_then_died() {
    let mut ledger = Ledger::default();
    let outcome = Outcome::NodeClosed;
    ledger.lost(Lost {
        outcome,
        ..lost("fabrikam", 1001)
    });
    assert_eq!((ledger.awaited(), ledger.missing()), (1, 0));
    ledger.cut(cut(), at(1006));
    assert_eq!((ledger.awaited(), ledger.missing()), (1, 1));
}

#[test]
fn what_is_kept_is_read_back_as_it_was_and_the_bound_holds_for_it_too() {
    let name = format!(
        "pinfold-ledger-{}-{}",
        std::process::id(),
        fastrand::u64(..)
    );
    let path = std::env::temp_dir().join(name);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let started = || {
        let (store, mut contents) = Store::start(&path).unwrap();
        let kept = Kept::open(&store, &mut contents);
        (store, Ledger::go_on(kept, Moment::now()))
    };
    let shown = |ledger: &Ledger| {
        let failovers = ledger.failovers().into_iter();
        let essence = failovers.map(|failover| {
            let mut gaps: Vec<_> = failover
                .partners
                .iter()
                .map(|gap| {
                    (
                        gap.partner.to_string(),
                        gap.node.clone(),
                        gap.served_after_ms,
                    )
                })
                .collect();
            gaps.sort_by(|a, b| a.0.cmp(&b.0));
            (
                failover.number,
                failover.node.clone(),
                failover.evidence.clone(),
                gaps,
            )
        });
        essence.collect::<Vec<_>>()
    };
    let present = || Moment::now().as_micros() / 1000;
    let (store, mut ledger) = started();
    for number in 0..FAILOVERS_MAX as u64 + 20 {
        let now = present() + number * 60_000;
        ledger.cut(cut(), at(now));
        for partner in ["odd", "\u{0} \"strange\"", "lasting"] {
            ledger.lost(lost(&format!("{partner}{number}"), now + 1));
        }
        ledger.served(served(&format!("odd{number}"), now + 5), &node());
    }
    let before = shown(&ledger);
    let awaited = ledger.awaited();
    runtime.block_on(store.finish()).unwrap();
    let (store, mut ledger) = started();
    assert_eq!(shown(&ledger), before);
    assert_eq!(before.len(), FAILOVERS_MAX);
    // Those of failovers that are forgotten are forgotten with them.
    assert!(
        ledger.awaited() >= awaited - 2 * 20 - 2,
        "{}",
        ledger.awaited()
    );
    let (number, _) = ledger.cut(cut(), Moment::now());
    assert_eq!(number, FAILOVERS_MAX as u64 + 21);
    runtime.block_on(store.finish()).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_partner_that_comes_back_after_two_downfalls_of_its_node_is_missing_in_neither() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1001));
    ledger.cut(cut(), at(1006));
    ledger.cut(cut(), at(9000));
    let missing = |ledger: &Ledger| {
        let failovers = ledger.failovers().into_iter();
        let gaps = failovers.flat_map(|failover| failover.partners.clone());
        gaps.filter(|gap| gap.node.is_none()).count()
    };
    assert_eq!(missing(&ledger), 2);
    ledger.served(served("fabrikam", 9500), &node());
    assert_eq!(missing(&ledger), 0);
}

/// Everybody may be missing for a second.
fn a_second(_: &str) -> Option<Duration> {
    Some(Duration::from_secs(1))
}

/// None has another session.
fn nobody(_: &Lost) -> bool {
    false
}

#[test]
fn a_connection_that_was_closed_in_order_hides_no_later_loss() {
    let mut ledger = Ledger::default();
    ledger.lost(Lost {
        outcome: Outcome::NodeClosed,
        ..lost("fabrikam", 1_000)
    });
    // Hours later its node dies under its other connection.
    let later = 10_000_000;
    ledger.lost(lost("fabrikam", later));
    let dead = Cut {
        first_evidence: at(later),
        ..cut()
    };
    ledger.cut(dead, at(later + 5));
    assert_eq!(ledger.failovers()[0].partners.len(), 1);
    assert_eq!(ledger.missing(), 1);
    ledger.served(served("fabrikam", later + 10), &node());
    assert!(ledger.failovers()[0].partners[0].served_after_ms.is_some());
}

#[test]
fn who_lost_one_of_several_connections_is_not_missing() {
    let mut ledger = Ledger::default();
    ledger.lost(lost("fabrikam", 1601));
    assert_eq!(ledger.raise_alarms(a_second, |_| true, at(90_000)), []);
}

#[test]
fn whoever_is_given_up_is_told_of_no_more() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    assert_eq!(ledger.raise_alarms(a_second, nobody, at(3_000)).len(), 1);
    // A reload has removed it.
    ledger.raise_alarms(|_| None, nobody, at(4_000));
    assert_eq!((ledger.awaited(), ledger.alarmed()), (0, 0));
    assert!(ledger.failovers()[0].partners[0].is_over);
}

#[test]
fn who_was_active_and_does_not_come_back_in_time_is_told_of_once() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(1600));
    ledger.lost(lost("fabrikam", 1601));
    assert_eq!(ledger.raise_alarms(a_second, nobody, at(2600)), []);
    let alarms = ledger.raise_alarms(a_second, nobody, at(2601));
    let [missing] = alarms.as_slice() else {
        panic!("{alarms:?}")
    };
    assert_eq!(
        (&*missing.partner, &*missing.node, missing.failover),
        ("fabrikam", "edge1", Some(1))
    );
    assert!(ledger.failovers()[0].partners[0].is_alarmed);
    assert_eq!(ledger.alarmed(), 1);
    assert_eq!(ledger.raise_alarms(a_second, nobody, at(9_000)), []);
    ledger.served(served("fabrikam", 9_001), &node());
    assert_eq!(ledger.alarmed(), 0, "it is over when it comes");
    assert!(
        ledger.failovers()[0].partners[0].is_alarmed,
        "and stays written down"
    );
}

#[test]
fn who_was_idle_or_is_back_or_configured_no_more_raises_no_alarm() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(2_000_000));
    ledger.lost(Lost {
        active_at: at(2_000_000 - 16 * 60 * 1000),
        ..lost("idle", 2_000_001)
    });
    ledger.lost(lost("back", 2_000_001));
    ledger.served(served("back", 2_000_002), &node());
    ledger.lost(lost("gone", 2_000_001));
    let limits = |partner: &str| (partner != "gone").then_some(Duration::from_secs(1));
    assert_eq!(ledger.raise_alarms(limits, nobody, at(2_100_000)), []);
}

#[test]
fn who_or_whose_listener_is_configured_no_more_is_not_awaited() {
    let mut ledger = Ledger::default();
    ledger.cut(cut(), at(2_000));
    ledger.lost(lost("gone", 2_001));
    ledger.lost(lost("stays", 2_001));
    ledger.lost(Lost {
        listener: "removed".into(),
        ..lost("stays", 2_001)
    });
    ledger.keep_awaited(|partner, listener| partner != "gone" && listener != "removed");
    assert_eq!(ledger.awaited(), 1);
    let gap = ledger.served(served("stays", 2_010), &node());
    assert!(gap.is_some(), "who is still configured still is");
}

#[test]
fn a_node_that_only_closed_a_connection_raises_no_alarm() {
    let mut ledger = Ledger::default();
    ledger.lost(Lost {
        outcome: Outcome::NodeClosed,
        ..lost("fabrikam", 1601)
    });
    assert_eq!(ledger.raise_alarms(a_second, nobody, at(100_000)), []);
}
