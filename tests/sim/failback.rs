//! Plays the return of partners to the nodes that they were moved away from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pinfold::clock::Moment;
use pinfold::config::model::Failback;
use pinfold::partner::failback::{Arrival, Return, is_due};
use pinfold::pool::pins::{PinKey, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::pool::select::Standing;

use crate::driver::{Driver, Rule};

/// Returns under way, and when to look next.
#[derive(Default)]
pub(crate) struct Returns {
    next_look: Moment,
    under_way: BTreeMap<PinKey, Away>,
}

struct Away {
    sent: Return,
    from: Arc<str>,
}

/// How each partner returns: by its number.
pub(crate) fn rule(subject: &Subject) -> Failback {
    match subject {
        Subject::Partner(name) if name.ends_with('1') => Failback::Idle(Duration::from_millis(500)),
        Subject::Partner(name) if name.ends_with('2') => Failback::Idle(Duration::from_secs(1)),
        Subject::Partner(_) | Subject::Prefix(_) => Failback::Stay,
    }
}

impl Driver {
    /// Once a second of its time, as the governor does.
    pub(crate) fn send_back(&mut self) {
        let now = self.now;
        if self.returns.next_look > now {
            return;
        }
        self.returns.next_look = now + Duration::from_secs(1);
        self.follow_up();
        for (key, pin) in self.pin_list() {
            let Some(home) = pin.home.clone() else {
                continue;
            };
            if self.returns.under_way.contains_key(&key) || self.node(&home).is_none() {
                continue;
            }
            let takes = self.standings.get(&home) == Some(&Standing::Takes);
            if !takes && self.rule != Rule::SendsBackAnywhere {
                continue;
            }
            let of_partner = || {
                self.sessions
                    .iter()
                    .filter(|each| each.client.subject == key.subject)
            };
            let active_at = of_partner().map(|session| session.active_at).max();
            let idle = now.since(active_at.unwrap_or(pin.last_used));
            if !is_due(&rule(&key.subject), idle, Timestamp::UNIX_EPOCH) {
                continue;
            }
            if !takes {
                self.violation = Some(format!(
                    "{} is sent back to {home}, which takes nobody",
                    key.subject
                ));
            }
            let sent = Return {
                at: now,
                is_expected: of_partner().next().is_some(),
                patience: Duration::from_secs(2),
            };
            let from = Arc::clone(&pin.node);
            self.tally.sent_back += 1;
            self.move_with_sessions(&key, &home, PinnedBy::Failback);
            self.returns.under_way.insert(key, Away { sent, from });
        }
    }

    fn follow_up(&mut self) {
        let now = self.now;
        for (key, away) in std::mem::take(&mut self.returns.under_way) {
            let Some(pin) = self.pins.inspect(&key, now) else {
                continue;
            };
            if pin.by != PinnedBy::Failback {
                continue;
            }
            let is_served = self.sessions.iter().any(|session| {
                session.client.subject == key.subject
                    && session.node == pin.node
                    && session.answered
                    && session.since >= away.sent.at
            });
            match away.sent.arrival(is_served, now) {
                Arrival::Arrived => {}
                Arrival::Awaited => {
                    self.returns.under_way.insert(key, away);
                }
                Arrival::Missing => {
                    self.tally.reverted += 1;
                    if self.node(&away.from).is_some() {
                        self.move_with_sessions(&key, &away.from, PinnedBy::Reverted);
                    }
                }
            }
        }
    }

    fn move_with_sessions(&mut self, key: &PinKey, to: &Arc<str>, by: PinnedBy) {
        if let Some(from) = self.pins.move_to(key, to, by, self.now) {
            self.excused.push(from);
        }
        let is_stray = |session: &crate::driver::Session| {
            session.client.subject == key.subject
                && session.node != *to
                && session.orphan_until.is_none()
        };
        while let Some(index) = self.sessions.iter().position(is_stray) {
            let client = self.end(index);
            self.reconnecting.push_back(client);
        }
    }
}
