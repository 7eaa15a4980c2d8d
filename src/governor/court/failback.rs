//! Sending partners back to the nodes that they were moved away from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

pub use self::kept::KeptReturns;
use super::{Court, Told};
use crate::clock::Moment;
use crate::partner::failback::{Arrival, Return, is_due, is_expected, may_be_due};
use crate::partner::table::Known;
use crate::pool::pins::{Pin, PinKey, PinnedBy};
use crate::pool::placement::Subject;
use crate::pool::select::Standing;
use crate::relay::session::Survey;
use crate::worker::{Order, Strays, Surveyed};

mod kept;

/// Returns under way, and those that went wrong.
#[derive(Debug, Default)]
pub(super) struct Failbacks {
    under_way: HashMap<PinKey, Away>,
    /// When each may be tried again.
    declined: HashMap<PinKey, Moment>,
    /// Whether an answer is waited for.
    is_asking: bool,
    /// Who of those that are away is asked next.
    turn: usize,
    kept: KeptReturns,
}

/// A partner that was sent back.
#[derive(Debug)]
struct Away {
    sent: Return,
    from: Arc<str>,
    to: Arc<str>,
    is_served: bool,
}

impl Failbacks {
    /// How many partners are waited for.
    pub(super) fn awaited(&self) -> usize {
        self.under_way.len()
    }

    /// The partner whose pin `key` is was served by `node`, since `first_byte`.
    pub(super) fn served(&mut self, key: &PinKey, node: &str, first_byte: Moment) {
        if let Some(away) = self.under_way.get_mut(key) {
            away.is_served |= *away.to == *node && first_byte > away.sent.at;
        }
    }
}

impl Court {
    /// Brings back who does not come, and asks what those are doing whose time may have come.
    pub(super) fn look_at_failbacks(&mut self, now: Moment) {
        self.follow_up(now);
        if self.failbacks.is_asking {
            return;
        }
        let candidates = self.candidates(now);
        if candidates.is_empty() {
            return;
        }
        // A few at a time, since each answer has workers look at all of their sessions.
        let count = candidates.len();
        let first = self.failbacks.turn % count;
        self.failbacks.turn = first + ASKED_AT_ONCE;
        let some = candidates.into_iter().cycle().skip(first);
        let asked: Vec<_> = some
            .take(ASKED_AT_ONCE.min(count))
            .map(|(key, partner)| (key, self.survey(&Surveyed::Partner(partner))))
            .collect();
        self.failbacks.is_asking = true;
        let told = self.told.clone();
        tokio::task::spawn_local(async move {
            let mut surveys = Vec::with_capacity(asked.len());
            for (key, survey) in asked {
                surveys.push((key, survey.await));
            }
            let _ = told.try_send(Told::Partners(surveys));
        });
    }

    /// Partners that are away from their node and may return some day.
    fn candidates(&self, now: Moment) -> Vec<(PinKey, Arc<str>)> {
        let scopes = self.snapshot.scopes();
        let returning = self.snapshot.partners.returning();
        let keys = returning.flat_map(|known| scopes.iter().map(|scope| scope.key(&known.name)));
        let wall = Timestamp::now();
        keys.filter_map(|key| {
            let (_, _, known) = self.target(&key, now)?;
            may_be_due(&known.failback, wall).then_some(())?;
            Some((key, Arc::clone(&known.name)))
        })
        .collect()
    }

    /// The pin, and the node that it would return to now.
    fn target(&self, key: &PinKey, now: Moment) -> Option<(Pin, Arc<str>, Arc<Known>)> {
        if self.failbacks.under_way.contains_key(key) {
            return None;
        }
        if self
            .failbacks
            .declined
            .get(key)
            .is_some_and(|until| now < *until)
        {
            return None;
        }
        let Subject::Partner(name) = &key.subject else {
            return None;
        };
        let known = self.snapshot.partners.by_name(name)?;
        let pin = self.pins.inspect(key, now)?;
        // What an administrator has pinned stays until it is unpinned.
        if pin.by == PinnedBy::ByHand {
            return None;
        }
        let preferred = known.node.as_ref().or(pin.home.as_ref())?;
        let is_ready = |node: &Arc<str>| *node != pin.node && self.takes(key, node);
        let target = Arc::clone(preferred);
        is_ready(&target).then(|| (pin, target, Arc::clone(known)))
    }

    /// Whether a node takes sessions on every listener of the pin.
    fn takes(&self, key: &PinKey, node: &str) -> bool {
        let scope = self.snapshot.scope(&key.scope);
        scope.and_then(|scope| scope.standing(node)) == Some(Standing::Takes)
    }

    /// Sends back whose time it is, by what they are doing.
    pub(super) fn consider_all(&mut self, surveys: &[(PinKey, Survey)], now: Moment) {
        self.failbacks.is_asking = false;
        for (key, survey) in surveys {
            self.consider(key, survey, now);
        }
    }

    fn consider(&mut self, key: &PinKey, survey: &Survey, now: Moment) {
        let Some((pin, target, known)) = self.target(key, now) else {
            return;
        };
        let active_at = survey.active_at.unwrap_or(pin.last_used);
        if is_due(&known.failback, now.since(active_at), Timestamp::now()) {
            let was_connected = survey.sessions > 0;
            self.send_back(key, &pin.node, &target, &known, was_connected, now);
        }
    }

    fn send_back(
        &mut self,
        key: &PinKey,
        from: &Arc<str>,
        to: &Arc<str>,
        known: &Known,
        was_connected: bool,
        now: Moment,
    ) {
        let away = Away {
            sent: Return {
                at: now,
                is_expected: was_connected && is_expected(&known.failback),
                patience: known.alarm_after,
            },
            from: Arc::clone(from),
            to: Arc::clone(to),
            is_served: false,
        };
        self.failbacks.kept.sent(key, &away);
        self.failbacks.under_way.insert(key.clone(), away);
        // Before anybody is sent, so that who is back at once is not overlooked.
        self.tell_awaited();
        self.move_with_sessions(key, to, PinnedBy::Failback, now);
        tracing::warn!(
            partner = %key.subject, affinity = %key.scope.affinity, %from, %to, was_connected,
            "failback"
        );
    }

    /// Pins it elsewhere, and ends its sessions on other nodes.
    fn move_with_sessions(&self, key: &PinKey, to: &Arc<str>, by: PinnedBy, now: Moment) {
        self.pins.move_to(key, to, by, now);
        let strays = Arc::new(Strays::of(&self.snapshot, key, to, true));
        let (answer, _) = mpsc::channel(1);
        self.workers.give(|| Order::Gather {
            strays: Arc::clone(&strays),
            answer: answer.clone(),
        });
    }

    /// What became of those who were sent back.
    fn follow_up(&mut self, now: Moment) {
        let mut over = Vec::new();
        for (key, away) in &self.failbacks.under_way {
            let arrival = match self.pins.inspect(key, now) {
                // Something else has moved it meanwhile.
                Some(pin) if pin.by != PinnedBy::Failback => Arrival::Arrived,
                Some(_) => away.sent.arrival(away.is_served, now),
                None => Arrival::Arrived,
            };
            if arrival != Arrival::Awaited {
                over.push((key.clone(), arrival));
            }
        }
        for (key, arrival) in over {
            let Some(away) = self.failbacks.under_way.remove(&key) else {
                continue;
            };
            if arrival == Arrival::Missing {
                self.revert(&key, &away, now);
            } else {
                self.failbacks.kept.forget(&key);
            }
        }
        let Failbacks { declined, kept, .. } = &mut self.failbacks;
        let lapsed = declined.extract_if(|_, until| now >= *until);
        lapsed.for_each(|(key, _)| kept.forget(&key));
    }

    fn revert(&mut self, key: &PinKey, away: &Away, now: Moment) {
        let to = &away.from;
        tracing::error!(
            partner = %key.subject, affinity = %key.scope.affinity, %to,
            "failback-reverted: it did not come back to its node; see pinfold explain"
        );
        self.move_with_sessions(key, to, PinnedBy::Reverted, now);
        self.failbacks.kept.declined(key, DECLINED_FOR);
        self.failbacks
            .declined
            .insert(key.clone(), now + DECLINED_FOR);
    }
}

const ASKED_AT_ONCE: usize = 8;
/// Not again in the same window.
const DECLINED_FOR: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::pins::PinScope;

    #[test]
    fn who_came_back_on_one_affinity_is_still_awaited_on_the_other() {
        let key = |affinity: &str| {
            let scope = PinScope {
                pool: "edge".into(),
                affinity: affinity.into(),
            };
            PinKey::of_partner(&Arc::new(scope), &"fabrikam".into())
        };
        let at = Moment::from_micros(1_000_000);
        let mut failbacks = Failbacks::default();
        for affinity in ["federation", "xmpp"] {
            let away = Away {
                sent: Return {
                    at,
                    is_expected: true,
                    patience: Duration::from_secs(60),
                },
                from: "edge2".into(),
                to: "edge1".into(),
                is_served: false,
            };
            failbacks.under_way.insert(key(affinity), away);
        }
        let later = at + Duration::from_secs(1);
        failbacks.served(&key("federation"), "edge2", later);
        failbacks.served(&key("federation"), "edge1", at);
        let is_served = |failbacks: &Failbacks, affinity| {
            let away = failbacks.under_way.get(&key(affinity));
            away.is_some_and(|away| away.is_served)
        };
        assert!(
            !is_served(&failbacks, "federation"),
            "not there, and not since"
        );
        failbacks.served(&key("federation"), "edge1", later);
        assert!(is_served(&failbacks, "federation"));
        assert!(!is_served(&failbacks, "xmpp"));
    }
}
