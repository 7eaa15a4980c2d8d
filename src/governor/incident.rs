//! One node's downfall, told in one line once it is over.
//!
//! A node that dies is a failover on each group of its listeners, and a line for each partner. Whoever is
//! called at night reads one: how many were cut off, who is back, who is not. Owns which failovers belong
//! together and when they are summed up; what they say is the ledger's. Bounded by the nodes that there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Failover;
use crate::clock::Moment;

/// Failovers that are summed up in a while, by the name of the node: the same name is the same machine.
#[derive(Debug, Default)]
pub(super) struct Incidents(BTreeMap<Arc<str>, Incident>);

#[derive(Debug)]
struct Incident {
    began: Moment,
    failovers: Vec<u64>,
}

impl Incidents {
    /// A failover of `node` has happened.
    pub(super) fn note(&mut self, node: &Arc<str>, failover: u64, now: Moment) {
        let incident = self.0.entry(Arc::clone(node));
        let incident = incident.or_insert_with(|| Incident {
            began: now,
            failovers: Vec::new(),
        });
        if incident.failovers.len() < TOGETHER_MAX {
            incident.failovers.push(failover);
        }
    }

    /// The reports that are due, each once.
    pub(super) fn due(&mut self, failovers: &[Arc<Failover>], now: Moment) -> Vec<Report> {
        let due = |_: &Arc<str>, incident: &mut Incident| now.since(incident.began) >= AFTER;
        let due: Vec<_> = self.0.extract_if(.., due).collect();
        let report = |(node, incident): (Arc<str>, Incident)| {
            let its = failovers
                .iter()
                .filter(|each| incident.failovers.contains(&each.number));
            Report::of(node, its)
        };
        due.into_iter().map(report).collect()
    }

    /// Whether nothing is to be summed up.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What became of everybody.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    pub(super) node: Arc<str>,
    pub(super) failovers: Vec<u64>,
    pub(super) listeners: Vec<Arc<str>>,
    /// Sessions of anybody that were cut.
    pub(super) sessions: u64,
    /// Partners that lost a session, and of them those that are served again.
    pub(super) partners: usize,
    pub(super) back: usize,
    /// Who was cut off for longest of those that are back, and for how many milliseconds.
    pub(super) slowest: Option<(Arc<str>, f64)>,
    /// Partners that were active and are not back.
    pub(super) not_back: Vec<Arc<str>>,
    /// Partners that had been idle before, and need not come back soon.
    pub(super) idle: Vec<Arc<str>>,
}

impl Report {
    fn of<'a>(node: Arc<str>, failovers: impl Iterator<Item = &'a Arc<Failover>>) -> Self {
        let mut report = Self {
            node,
            ..Self::default()
        };
        // A partner counts once, and as missing where it misses on any listener.
        let mut partners = BTreeMap::<&Arc<str>, Vec<_>>::new();
        for failover in failovers {
            report.failovers.push(failover.number);
            report.sessions += u64::from(failover.sessions);
            report.listeners.extend(failover.listeners.iter().cloned());
            for gap in failover.partners.iter().filter(|gap| !gap.is_over) {
                partners.entry(&gap.partner).or_default().push(gap);
            }
        }
        report.listeners.sort();
        report.listeners.dedup();
        report.partners = partners.len();
        for (partner, gaps) in partners {
            let missing = || gaps.iter().filter(|gap| gap.node.is_none());
            if missing().any(|gap| gap.was_active) {
                report.not_back.push(Arc::clone(partner));
            } else if missing().next().is_some() {
                report.idle.push(Arc::clone(partner));
            } else {
                report.back += 1;
            }
            for after in gaps.iter().filter_map(|gap| gap.served_after_ms) {
                if report
                    .slowest
                    .as_ref()
                    .is_none_or(|(_, most)| after > *most)
                {
                    report.slowest = Some((Arc::clone(partner), after));
                }
            }
        }
        report
    }
}

/// Whoever talks is back by then, and it is soon enough to be read.
const AFTER: Duration = Duration::from_secs(30);
/// A node that comes and goes meanwhile says the same again and again.
const TOGETHER_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::governor::ledger::Gap;

    fn gap(partner: &str, listener: &str, was_active: bool, served_after_ms: Option<f64>) -> Gap {
        Gap {
            partner: partner.into(),
            listener: listener.into(),
            cut_off_since: jiff::Timestamp::UNIX_EPOCH,
            ended_after_ms: 1.0,
            node: served_after_ms.map(|_| "edge2".into()),
            connected_after_ms: served_after_ms,
            served_after_ms,
            served_at: None,
            was_active,
            is_alarmed: false,
            is_over: false,
        }
    }

    fn failover(number: u64, listener: &str, partners: Vec<Gap>) -> Arc<Failover> {
        let text = serde_json::json!({
            "number": number, "pool": "edge", "node": "edge1", "listeners": [listener],
            "first_evidence": "2026-12-08T02:14:07Z", "cut": "2026-12-08T02:14:07Z",
            "decided_in_ms": 1.0, "evidence": "probe refused", "sessions": 10, "pins_moved": 2,
        });
        let mut failover: Failover = serde_json::from_value(text).unwrap();
        failover.partners = partners;
        Arc::new(failover)
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_node_that_dies_on_all_its_listeners_is_told_of_once_with_who_is_missing() {
        let mut incidents = Incidents::default();
        let (edge1, edge2) = (Arc::from("edge1"), Arc::from("edge2"));
        for (number, second) in [(7, 100), (8, 101), (9, 129)] {
            incidents.note(&edge1, number, at(second));
        }
        incidents.note(&edge2, 10, at(120));
        let all = [
            failover(
                7,
                "federation",
                vec![
                    gap("fabrikam", "federation", true, Some(12.0)),
                    gap("litware", "federation", true, Some(950.0)),
                    gap("woodgrove", "federation", true, None),
                    gap("adatum", "federation", false, None),
                ],
            ),
            failover(8, "xmpp", vec![gap("fabrikam", "xmpp", true, None)]),
            failover(9, "federation", vec![]),
            failover(
                10,
                "federation",
                vec![gap("other", "federation", true, None)],
            ),
        ];
        assert_eq!(incidents.due(&all, at(129)), []);
        let told = incidents.due(&all, at(130));
        let expected = Report {
            node: edge1,
            failovers: vec![7, 8, 9],
            listeners: vec!["federation".into(), "xmpp".into()],
            sessions: 30,
            partners: 4,
            back: 1,
            slowest: Some(("litware".into(), 950.0)),
            not_back: vec!["fabrikam".into(), "woodgrove".into()],
            idle: vec!["adatum".into()],
        };
        assert_eq!(told, [expected], "fabrikam misses on one listener");
        assert_eq!(incidents.due(&all, at(131)), []);
        assert!(!incidents.is_empty(), "that of edge2 is not due yet");
        assert_eq!(incidents.due(&all, at(150)).len(), 1);
        assert!(incidents.is_empty());
    }

    #[test]
    fn what_the_ledger_has_forgotten_meanwhile_is_left_out() {
        let mut incidents = Incidents::default();
        incidents.note(&"edge1".into(), 7, at(0));
        let told = incidents.due(&[], at(60));
        assert_eq!((told.len(), told[0].partners), (1, 0));
    }
}
