//! The alarm *never came back*.
//!
//! Federated links are made on demand: at night most partners have no reason to come back soon, and an alarm
//! about each would soon be read by nobody. So it is raised for those only that were in use when their node
//! died.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Gap, Ledger, Loss, failover_of, wall};
use crate::clock::Moment;
use crate::relay::report::Lost;

/// A partner that should be back and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBack {
    /// Who.
    pub partner: Arc<str>,
    /// On which listener.
    pub listener: Arc<str>,
    /// The node that it lost.
    pub node: Arc<str>,
    /// The failover that took it, if one did.
    pub failover: Option<u64>,
    /// Since when it goes without a node.
    pub cut_off_since: Timestamp,
}

impl Ledger {
    /// Who has been missing for longer than `alarm_after` says for it, told once; partners of which that says
    /// nothing are nobody's any more. Whoever `is_connected` all the same misses nothing: it lost one of
    /// several connections.
    pub fn raise_alarms(
        &mut self,
        alarm_after: impl Fn(&str) -> Option<Duration>,
        is_connected: impl Fn(&Lost) -> bool,
        now: Moment,
    ) -> Vec<NotBack> {
        self.give_up(|loss| alarm_after(&loss.lost.partner).is_none());
        let mut missing = Vec::new();
        for loss in self.awaited.values_mut() {
            let lost = &loss.lost;
            let is_due =
                alarm_after(&lost.partner).is_some_and(|limit| now.since(lost.ended) >= limit);
            // A node that merely closed a connection has wronged nobody.
            let is_missing = loss.is_fault && loss.was_active() && !loss.is_alarmed;
            if !is_missing || !is_due || is_connected(lost) {
                continue;
            }
            let failover = failover_of(&mut self.failovers, lost);
            loss.is_alarmed = true;
            let number = failover.map(|failover| {
                let mut partners = failover.partners.iter_mut();
                let is_whom =
                    |gap: &&mut Gap| gap.partner == lost.partner && gap.listener == lost.listener;
                if let Some(gap) = partners.find(is_whom) {
                    gap.is_alarmed = true;
                    self.kept.gap(failover.number, gap);
                }
                failover.number
            });
            missing.push(NotBack {
                partner: Arc::clone(&lost.partner),
                listener: Arc::clone(&lost.listener),
                node: Arc::clone(&lost.node),
                failover: number,
                cut_off_since: wall(lost.cut_off_since),
            });
        }
        missing.sort_by(|a, b| (&a.partner, &a.listener).cmp(&(&b.partner, &b.listener)));
        missing
    }

    /// Partners for which the alarm was raised and that are not back yet.
    #[must_use]
    pub fn alarmed(&self) -> usize {
        self.awaited.values().filter(|loss| loss.is_alarmed).count()
    }
}

impl Loss {
    /// Whether it was in use before it ended.
    pub(super) fn was_active(&self) -> bool {
        self.lost.ended.since(self.lost.active_at) < ACTIVE
    }
}

/// Whoever had not said or heard a word for so long has no reason to come back soon.
const ACTIVE: Duration = Duration::from_secs(15 * 60);
