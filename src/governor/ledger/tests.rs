use super::*;

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
