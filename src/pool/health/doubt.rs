//! What speaks against an endpoint, and when it is enough to condemn it.

use std::net::IpAddr;
use std::time::Duration;

use super::{Evidence, Health, ProbeFailure, State};
use crate::clock::Moment;
use crate::config::model::ProbeKind;

impl Health {
    pub(super) fn failed(&mut self, started: Moment, how: ProbeFailure, now: Moment) {
        if started < self.void_before {
            return;
        }
        match how {
            ProbeFailure::Refused | ProbeFailure::WrongAnswer => self.refusals += 1,
            ProbeFailure::TimedOut => {
                if self.last_good.is_some_and(|good| good >= started) {
                    return;
                }
                let from = self.last_life.map_or(started, |life| life.max(started));
                self.silent_since = Some(self.silent_since.map_or(from, |since| since.min(from)));
            }
        }
        self.failures += 1;
        self.rises = 0;
        if self.is_damped() {
            self.hold = None;
        }
        self.suspect(Evidence::Probe(how), now);
        self.judge(now);
    }

    /// What sessions are told brings an endpoint to the brink; only a probe may push it over.
    pub(super) fn bring_to_the_brink(&mut self, evidence: Evidence, now: Moment) {
        let brink = self.timing.fall.saturating_sub(1);
        self.refusals = self.refusals.max((self.refusals + 1).min(brink));
        self.failures = self.failures.max((self.failures + 1).min(brink));
        self.suspect(evidence, now);
    }

    pub(super) fn session_reset(&mut self, client: IpAddr, now: Moment) {
        if self.soft.is_news(client, now) {
            self.suspect(Evidence::SessionReset, now);
        }
    }

    /// Traffic alone condemns where no probe can: a connection is accepted by a frozen process's kernel.
    pub(super) fn mute(&mut self, now: Moment) {
        let is_blind = matches!(self.timing.kind, ProbeKind::Tcp | ProbeKind::None);
        if !is_blind || !matches!(self.state, State::Up | State::Suspect) {
            return;
        }
        self.evidence = Some((Evidence::Mute, now));
        self.first_evidence.get_or_insert(now);
        self.away_until = Some(now + MUTE_HOLD);
        self.condemn(now);
    }

    /// Nobody was there for a datagram of a client. A host says so for six datagrams to one address and then for one a
    /// second (`icmp(7)`, `icmp_ratelimit`), so a probe's may not be among them, and most clients wait in vain.
    pub(super) fn datagram_refused(&mut self, client: IpAddr, at: Moment, now: Moment) {
        if at < self.void_before {
            return;
        }
        if self.is_rationed() {
            self.refused.note(client, at, self.last_life);
        }
        if self.timing.probes() {
            self.untold = self.untold.max(Some(at));
            self.bring_to_the_brink(Evidence::DatagramsRefused, now);
        }
    }

    /// Condemns the endpoint if enough clients were told that nobody is there. Only as time passes, since what it has
    /// said meanwhile may be reported late.
    pub(super) fn judge_refusals(&mut self, now: Moment) {
        if self.refusals_due().is_none_or(|due| now < due) {
            return;
        }
        let since = self.refused.since();
        self.evidence = Some((Evidence::DatagramsRefused, now));
        self.first_evidence.get_or_insert(since);
        self.condemn(now);
        let until = self.refused.leave_alone(now);
        self.away_until = (!self.timing.probes()).then_some(until);
    }

    /// When they condemn it, if no sign of life comes before.
    pub(super) fn refusals_due(&self) -> Option<Moment> {
        let counts = matches!(self.state, State::Up | State::Suspect);
        self.refused.due(self.timing.fall).filter(|_| counts)
    }

    /// Whether hosts may keep from a probe that nobody is there.
    pub(super) const fn is_rationed(&self) -> bool {
        matches!(self.timing.kind, ProbeKind::TurnAllocate | ProbeKind::None)
    }

    /// Notes evidence against the endpoint, and has it probed fast.
    pub(super) fn suspect(&mut self, evidence: Evidence, now: Moment) {
        self.evidence = Some((evidence, now));
        self.first_evidence.get_or_insert(now);
        match self.state {
            State::Up => {
                self.enter(State::Suspect, now);
                self.probe_soon(now);
            }
            State::Unproven => {
                let first_fast = self
                    .last_probe
                    .map_or(now, |last| last + self.timing.fast_interval);
                self.next_probe = self.next_probe.min(first_fast.max(now));
            }
            State::Suspect | State::Down => {}
        }
    }

    /// Condemns the endpoint if enough speaks against it.
    pub(super) fn judge(&mut self, now: Moment) {
        let refused = self.refusals >= self.timing.fall;
        let silent = self.silence_due().is_some_and(|due| due <= now);
        if self.in_doubt() && (refused || silent) {
            self.condemn(now);
        }
    }

    pub(super) fn condemn(&mut self, now: Moment) {
        self.rises = 0;
        self.hold = None;
        self.warming = None;
        // Whoever was tried again and not heard has not come back, so that it cannot go.
        if self.state != State::Unproven && !self.refused.is_unheard() {
            self.downs.note(now);
        }
        self.trial = None;
        self.enter(State::Down, now);
        self.next_probe = self
            .last_probe
            .map_or(now, |last| last + self.timing.interval);
    }

    /// When silence condemns it, if no sign of life comes before.
    pub(super) fn silence_due(&self) -> Option<Moment> {
        let counts = self.in_doubt() && self.failures >= self.timing.fall;
        self.silent_since
            .filter(|_| counts)
            .map(|since| since + self.timing.silence)
    }

    pub(super) fn in_doubt(&self) -> bool {
        match self.state {
            State::Suspect => true,
            State::Unproven => self.first_evidence.is_some(),
            State::Up | State::Down => false,
        }
    }
}

/// What was condemned by traffic alone is tried again after this time, if nothing shows before that it is awake.
const MUTE_HOLD: Duration = Duration::from_secs(60);
