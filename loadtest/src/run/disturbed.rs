//! Whose connections were lost though nothing had happened to their node.
//!
//! Pure. A node that something happens to answers for no end from then until half a second after it was
//! mended; at any other time its connections are nobody's to end.

use std::time::{Duration, Instant};

use super::{Happened, TimedGap};
use crate::load::Ends;

/// What a node's trouble causes may show itself a moment after it: a verdict that was on its way.
const AFTERWARDS: f64 = 0.5;

/// How many of `ends` cannot be explained by `events`, which are in the order of their times since
/// `start`.
pub(super) fn elsewhere(ends: &Ends, events: &[Happened], start: Instant) -> u64 {
    let disturbed = ends.iter().map(|(node, ends)| {
        let after = |end: &&Instant| {
            let at = end.saturating_duration_since(start);
            !is_explained(node, at, events)
        };
        ends.iter().filter(after).count() as u64
    });
    disturbed.sum()
}

/// Whether the node that had answered before `gap` was killed or frozen within it, or is still.
pub(super) fn is_by_event(gap: &TimedGap, events: &[Happened]) -> bool {
    let begin = gap.at - gap.ms / 1e3;
    let mut broken = events.iter().filter(|event| {
        let is_break = matches!(event.command.as_str(), "kill" | "freeze");
        event.to == gap.from && is_break && event.at <= gap.at
    });
    broken.any(|broken| {
        let mended = events.iter().find(|event| {
            event.to == broken.to && event.command == "mend" && event.at >= broken.at
        });
        mended.is_none_or(|mended| begin <= mended.at)
    })
}

fn is_explained(node: &str, at: Duration, events: &[Happened]) -> bool {
    let at = at.as_secs_f64();
    let mut before = events
        .iter()
        .rev()
        .filter(|event| event.to == node && event.at <= at);
    before.next().is_some_and(|event| {
        let is_over = event.command == "mend" && at > event.at + AFTERWARDS;
        !is_over
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: f64, to: &str, command: &str) -> Happened {
        Happened {
            at,
            to: to.to_owned(),
            command: command.to_owned(),
        }
    }

    #[test]
    fn a_gap_belongs_to_what_happened_to_its_node() {
        let events = [
            event(1.0, "edge1", "freeze"),
            event(2.0, "edge1", "mend"),
            event(4.0, "edge2", "kill"),
        ];
        for (from, at, ms, belongs) in [
            ("edge1", 1.2, 205.0, true),
            // Until it was mended, and with the first answer after that.
            ("edge1", 2.1, 1100.0, true),
            ("edge1", 3.0, 100.0, false),
            ("edge1", 0.9, 100.0, false),
            ("edge2", 9.0, 5002.0, true),
            ("edge2", 1.2, 205.0, false),
        ] {
            let gap = TimedGap {
                partner: "p".to_owned(),
                at,
                from: from.to_owned(),
                to: "edge3".to_owned(),
                ms,
            };
            assert_eq!(is_by_event(&gap, &events), belongs, "{from} {at}");
        }
    }

    #[test]
    fn an_end_is_charged_to_the_time_and_the_node_it_happened_on() {
        let start = Instant::now();
        let events = [
            event(1.0, "edge1", "kill"),
            event(1.5, "edge1", "mend"),
            event(4.0, "edge2", "freeze"),
            event(5.0, "balancer", "reload"),
            event(6.0, "edge3", "reset-after 100"),
        ];
        for (node, at_ms, disturbed) in [
            ("edge1", 999, 1),
            ("edge1", 1000, 0),
            ("edge1", 1999, 0),
            ("edge1", 2001, 1),
            ("edge2", 2000, 1),
            ("edge2", 90_000, 0),
            ("edge3", 5500, 1),
            ("edge3", 90_000, 0),
            ("edge4", 4000, 1),
        ] {
            let at = start + Duration::from_millis(at_ms);
            let ends = Ends::from([(node.to_owned(), vec![at])]);
            assert_eq!(
                elsewhere(&ends, &events, start),
                disturbed,
                "{node} {at_ms}"
            );
        }
    }

    #[test]
    fn every_end_of_every_node_counts() {
        let start = Instant::now();
        let ends = ["edge1", "edge2", "edge3"].map(|node| (node.to_owned(), vec![start; 3]));
        let events = [event(0.0, "edge2", "kill")];
        assert_eq!(elsewhere(&Ends::from(ends), &events, start), 6);
    }
}
