//! When a partner that was moved away returns to the node it came from.
//!
//! Pure. Never behind a partner's back: only where the configuration says so, only to a node that takes
//! sessions, and undone where the partner does not come back.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Moment;
use crate::config::model::Failback;

/// Whether it is time to return, for a partner that has not sent or got a byte for `idle`, at `wall`.
#[must_use]
pub fn is_due(rule: &Failback, idle: Duration, wall: Timestamp) -> bool {
    match rule {
        Failback::Stay => false,
        Failback::Idle(limit) => idle >= *limit,
        Failback::Window(window) => window.contains(wall),
    }
}

/// Whether it may be time by the clock alone, whatever the partner is doing.
#[must_use]
pub fn may_be_due(rule: &Failback, wall: Timestamp) -> bool {
    is_due(rule, Duration::MAX, wall)
}

/// Whether a partner that was sent back by `rule`, and was connected, has a reason to come at once. One that
/// was idle has none.
#[must_use]
pub const fn is_expected(rule: &Failback) -> bool {
    matches!(rule, Failback::Window(_))
}

/// What is known of a partner that was sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// When its pin moved.
    pub at: Moment,
    /// Whether it had sessions that were ended for it, and a reason to come again at once.
    pub is_expected: bool,
    /// How long it may take to be there.
    pub patience: Duration,
}

/// What came of a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nobody can tell yet, or nobody has to: it had no sessions.
    Awaited,
    /// It is served by its node.
    Arrived,
    /// It was connected and has not come: it goes back to where it was served.
    Missing,
}

impl Return {
    /// What came of it by `now`.
    #[must_use]
    pub fn arrival(&self, is_served: bool, now: Moment) -> Arrival {
        if is_served {
            return Arrival::Arrived;
        }
        let is_late = now.since(self.at) >= self.patience;
        match (is_late, self.is_expected) {
            (false, _) => Arrival::Awaited,
            (true, true) => Arrival::Missing,
            // It has no reason to come soon, and nothing was taken from it.
            (true, false) => Arrival::Arrived,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Config;

    fn rule(lines: &str) -> Failback {
        let text = format!(
            "version = 1\n[[partner]]\nname = \"p\"\naddresses = [\"192.0.2.1\"]\n{lines}\n"
        );
        let Config { partners, .. } = crate::config::parse("a.toml", &text).unwrap().config;
        partners[0].failback.clone()
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_partner_stays_unless_its_rule_says_otherwise() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let saturday = at("2026-11-28T03:00:00Z");
        assert!(!is_due(&rule(""), s(100_000), saturday));
        let idle = rule("failback = \"idle\"\nfailback_idle = \"10m\"");
        assert!(is_due(&idle, s(600), saturday));
        assert!(!is_due(&idle, s(599), saturday));
        let window = rule("failback = \"window\"\nfailback_window = \"Sat 02:00-05:00 UTC\"");
        assert!(is_due(&window, s(0), saturday), "busy or not");
        assert!(!is_due(&window, s(100_000), at("2026-11-28T05:00:00Z")));
    }

    #[test]
    fn who_was_connected_and_does_not_come_is_missing() {
        let moment = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        let sent = Return {
            at: moment(100),
            is_expected: true,
            patience: s(60),
        };
        assert_eq!(sent.arrival(false, moment(159)), Arrival::Awaited);
        assert_eq!(sent.arrival(false, moment(160)), Arrival::Missing);
        assert_eq!(sent.arrival(true, moment(160)), Arrival::Arrived);
        let idle = Return {
            is_expected: false,
            ..sent
        };
        assert_eq!(idle.arrival(false, moment(500)), Arrival::Arrived);
    }
}
