//! Whether one endpoint lives, as one kind of probe sees it.
//!
//! Owns the state, the count of failures, the clock of silence and the schedule of probes of one
//! endpoint. Knows no siblings and cuts nobody ([`super::group`] does); sends nothing (it says when
//! a probe is due).
//!
//! ```text
//!             first good probe            evidence, a failed probe
//!  unproven ───────────────────► up ─────────────────────────────► suspect
//!      │                         ▲ ▲             a good probe         │
//!      │                         │ └──────────────────────────────────┤
//!      │ condemned          `rise` good in time                       │ condemned
//!      └───────────────────────► down ◄───────────────────────────────┘
//! ```
//!
//! Condemned means: `fall` refusals without a good probe between, or `fall` failures of any kind
//! when nothing was heard for `silence`. Silence runs from the start of the first probe that found
//! no answer, or from the last sign of life where that is later. Client bytes left unanswered
//! only start probes: a node that thinks about an answer for a while must not have that time
//! counted against it when it is paused next.
//!
//! Where no probe can see a frozen process (`tcp`, `none`), whoever sees all the traffic may condemn by
//! it ([`Event::Mute`]); then the answers of its kernel bring nothing back. Where a probe may not be told
//! what clients are told, since hosts ration what they say by ICMP (`turn-allocate`, `none`), `fall`
//! clients condemn whose datagrams were refused without a sign of life between. An endpoint that nobody
//! asks comes back after a time, or when it says something.
//!
//! Invariants: the failure that condemns is always a probe's, save in these two cases; a suspicion is
//! settled only by probes that began after it; soft evidence counts for nothing but a probe; shortages
//! of our own and what was begun or told before a stun count for nothing at all.

use std::time::Duration;

use self::downs::Downs;
use self::refusals::Refusals;
use self::soft::SoftMemory;
use crate::clock::Moment;
use crate::config::model::ProbeKind;

mod doubt;
mod downs;
mod evidence;
mod refusals;
mod returning;
mod soft;
mod timing;

pub use evidence::{Event, Evidence, ProbeFailure};
pub use returning::Hold;
pub use timing::Timing;

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not probed successfully since it appeared.
    Unproven,
    /// It answers.
    Up,
    /// Something spoke against it; probes are settling it.
    Suspect,
    /// It does not answer.
    Down,
}

impl State {
    /// For logs and the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// One endpoint. Feed it with [`Health::observe`], ask it with [`Health::poll`].
#[derive(Clone, Debug)]
pub struct Health {
    timing: Timing,
    state: State,
    since: Moment,
    hold: Option<Hold>,
    /// Since when its share of new sessions grows.
    warming: Option<Moment>,
    downs: Downs,
    /// Failures, of probes and of dials, since the last good probe.
    failures: u32,
    /// Those among them that were not mere silence.
    refusals: u32,
    /// Good answers in a row while down.
    rises: u32,
    /// When the last of them came.
    risen_at: Option<Moment>,
    evidence: Option<(Evidence, Moment)>,
    /// The first thing that spoke against it in this suspicion.
    first_evidence: Option<Moment>,
    last_life: Option<Moment>,
    last_good: Option<Moment>,
    /// Since when it owes an answer; of failed probes only.
    silent_since: Option<Moment>,
    /// Earliest client byte after the last byte heard.
    unheard_since: Option<Moment>,
    /// A good probe has shown that the unheard traffic means nothing.
    unheard_explained: bool,
    /// Condemned by traffic alone, it comes back at this moment, or once it shows to be awake.
    away_until: Option<Moment>,
    soft: SoftMemory,
    /// Clients whose datagrams were refused.
    refused: Refusals,
    /// When a client was last told that a datagram did not arrive.
    untold: Option<Moment>,
    /// It has come back by the clock alone: until when it may be refused again before that is believed.
    trial: Option<Moment>,
    /// Results of probes begun before this moment count for nothing: they asked another endpoint
    /// of the same name, or we were stunned since.
    void_before: Moment,
    last_probe: Option<Moment>,
    next_probe: Moment,
}

impl Health {
    /// An endpoint that appears at `now` and is first probed after `delay`.
    #[must_use]
    pub fn new(timing: Timing, now: Moment, delay: Duration) -> Self {
        let asked = timing.probes();
        Self {
            state: if asked { State::Unproven } else { State::Up },
            evidence: (!asked).then_some((Evidence::Unasked, now)),
            timing,
            since: now,
            hold: None,
            warming: None,
            downs: Downs::default(),
            failures: 0,
            refusals: 0,
            rises: 0,
            risen_at: None,
            first_evidence: None,
            last_life: None,
            last_good: None,
            silent_since: None,
            unheard_since: None,
            unheard_explained: false,
            away_until: None,
            soft: SoftMemory::default(),
            refused: Refusals::default(),
            untold: None,
            trial: None,
            void_before: now,
            last_probe: None,
            next_probe: now + delay,
        }
    }

    /// What is known of it.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it came to this state.
    #[must_use]
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// Failures since the last good probe.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it is down and its latest probe was good.
    #[must_use]
    pub const fn is_rising(&self) -> bool {
        self.rises > 0 && matches!(self.state, State::Down)
    }

    /// Whether it has come back by the clock alone, just now: it may be as dead as before.
    #[must_use]
    pub const fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// The last thing that spoke for or against it, and when.
    #[must_use]
    pub const fn evidence(&self) -> Option<(Evidence, Moment)> {
        self.evidence
    }

    /// The first thing that spoke against it since it last was well.
    #[must_use]
    pub const fn first_evidence(&self) -> Option<Moment> {
        self.first_evidence
    }

    /// When it last gave a sign of life: a good probe, or a byte of traffic.
    #[must_use]
    pub const fn last_life(&self) -> Option<Moment> {
        self.last_life
    }

    /// Takes note of `event`.
    pub fn observe(&mut self, event: Event, now: Moment) {
        match event {
            Event::Heard { at } => self.heard(at, now),
            Event::Mute => self.mute(now),
            Event::DatagramRefused { client, at } => self.datagram_refused(client, at, now),
            _ if !self.timing.probes() => {}
            Event::ProbeGood { started } => self.good(started, now),
            Event::ProbeFailed { started, how } => self.failed(started, how, now),
            Event::ProbeVoid { .. } => {}
            Event::DialRefused => self.bring_to_the_brink(Evidence::DialRefused, now),
            Event::DialTimedOut => self.suspect(Evidence::DialTimedOut, now),
            Event::Undelivered => {
                self.untold = self.untold.max(Some(now));
                self.bring_to_the_brink(Evidence::Undelivered, now);
            }
            Event::SessionReset { client } => self.session_reset(client, now),
            Event::Asked { at } => self.asked(at),
            // Whoever ends a connection in turn is awake.
            Event::Parted => self.away_until = None,
        }
    }

    /// Lets time pass; whether a probe is to begin at `now`.
    pub fn poll(&mut self, now: Moment) -> bool {
        self.judge_refusals(now);
        if !self.timing.probes() {
            if self.away_until.is_some_and(|until| until <= now) {
                self.try_to_come_back(Evidence::Retried, now);
                self.trial = (self.state == State::Up).then(|| now + TRIAL);
            }
            self.trial = self.trial.filter(|end| now < *end);
            self.end_hold(now);
            return false;
        }
        self.end_hold(now);
        if self.unheard_due().is_some_and(|due| due <= now) {
            self.suspect(Evidence::Unheard, now);
        }
        self.judge(now);
        let due = self.next_probe <= now;
        if due {
            self.last_probe = Some(now);
            self.next_probe = now + self.pace(now);
        }
        due
    }

    /// When [`Health::poll`] is to be called next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        let hold = match self.hold {
            Some(Hold::Until(end)) if self.state != State::Down => Some(end),
            Some(Hold::Flapping(end)) => Some(end),
            Some(Hold::Until(_) | Hold::Manual) | None => None,
        };
        if !self.timing.probes() {
            let away = self
                .away_until
                .filter(|_| self.state == State::Down && !self.is_damped());
            return [hold, away, self.trial, self.refusals_due()]
                .into_iter()
                .flatten()
                .min();
        }
        let others = [
            hold,
            self.unheard_due(),
            self.silence_due(),
            self.refusals_due(),
        ];
        Some(
            others
                .into_iter()
                .flatten()
                .fold(self.next_probe, Moment::min),
        )
    }

    /// Has it probed at once, if it was not just probed.
    pub fn probe_soon(&mut self, now: Moment) {
        let earliest = self
            .last_probe
            .map_or(now, |last| (last + PROBE_GAP_MIN).max(now));
        self.next_probe = self.next_probe.min(earliest);
    }

    /// We were stopped for a while: what is in flight says nothing, and silence begins anew.
    pub fn stunned(&mut self, now: Moment) {
        self.void_before = now;
        self.refused.forget();
        self.silent_since = None;
        self.unheard_since = None;
        self.probe_soon(now);
    }

    /// Takes another timing; one that asks something else begins anew.
    pub fn set_timing(&mut self, timing: &Timing, now: Moment) {
        if self.timing.kind == timing.kind {
            self.next_probe = self.next_probe.min(now + timing.interval);
            self.timing = timing.clone();
        } else {
            *self = Self::new(timing.clone(), now, Duration::ZERO);
        }
    }

    fn good(&mut self, started: Moment, now: Moment) {
        if started < self.void_before {
            return;
        }
        self.life(now);
        self.last_good = Some(now);
        self.silent_since = None;
        let overtaken = self.first_evidence.is_some_and(|against| started < against);
        if self.state == State::Suspect && overtaken {
            // It may have been answered just before what was then seen.
            return;
        }
        self.failures = 0;
        self.refusals = 0;
        self.evidence = Some((Evidence::Answered, now));
        match self.state {
            State::Unproven => self.enter(State::Up, now),
            State::Up => {}
            State::Suspect => {
                self.unheard_explained |= self.unheard_since.take().is_some();
                self.enter(State::Up, now);
            }
            // What a frozen process answers is its kernel's word.
            State::Down if self.away_until.is_some_and(|until| now < until) => {}
            State::Down => {
                // Answers that waited in a frozen node's queue all arrive at once. They are one
                // answer: a node that came back in an instant would have its siblings cut, which
                // thaw in the same instant and were not yet heard.
                let is_next = self.risen_at.is_none_or(|risen| risen <= started);
                if now.since(started) <= self.timing.timeout && is_next {
                    self.rises += 1;
                    self.risen_at = Some(now);
                }
                if self.rises >= self.timing.rise {
                    self.try_to_come_back(Evidence::Answered, now);
                }
            }
        }
        if self.state == State::Up {
            self.first_evidence = None;
        }
    }

    fn heard(&mut self, at: Moment, now: Moment) {
        self.life(at);
        let is_news = at.since(self.since) >= STRAGGLERS;
        if self.state == State::Down && !self.timing.probes() && is_news {
            // Clients ask it all the same where no other is there.
            self.try_to_come_back(Evidence::Heard, now);
        }
        self.silent_since = self.silent_since.map(|since| since.max(at));
        self.unheard_explained = false;
        if self.unheard_since.is_some_and(|asked| asked <= at) {
            self.unheard_since = None;
        }
    }

    fn asked(&mut self, at: Moment) {
        if self.unheard_explained
            || at < self.void_before
            || self.last_life.is_some_and(|life| life >= at)
        {
            return;
        }
        self.unheard_since = Some(self.unheard_since.map_or(at, |since| since.min(at)));
    }

    fn life(&mut self, at: Moment) {
        self.refused.note_life(at);
        self.trial = None;
        self.last_life = Some(self.last_life.map_or(at, |life| life.max(at)));
    }

    /// When unheard traffic raises a suspicion.
    fn unheard_due(&self) -> Option<Moment> {
        self.unheard_since
            .filter(|_| self.state == State::Up)
            .map(|since| since + UNHEARD)
    }

    fn pace(&self, now: Moment) -> Duration {
        if !self.in_doubt() {
            return self.timing.interval;
        }
        let fast = self.timing.fast_interval;
        match self.is_refusal_due(now) {
            true => fast.min(RATIONED),
            false => fast,
        }
    }

    /// Whether a probe may have been refused and not told so, as clients were just before.
    fn is_refusal_due(&self, now: Moment) -> bool {
        let is_lately = |at: Moment| now.since(at) < UNTOLD;
        self.timing.kind == ProbeKind::TurnAllocate && self.untold.is_some_and(is_lately)
    }

    /// Changes the state; back at rest, the next probe keeps its distance to the last.
    fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.since = now;
        if state == State::Up {
            self.next_probe = self
                .last_probe
                .map_or(now, |last| last + self.timing.interval);
        }
    }
}

/// Client bytes unanswered for this long raise a suspicion: longer than a node's usual thinking,
/// short enough that a frozen node is found out within 0.9 s while traffic flows.
const UNHEARD: Duration = Duration::from_millis(100);

/// Longer than a host whose messages are rationed takes to tell two clients.
const TRIAL: Duration = Duration::from_secs(5);

/// What an endpoint said before it was condemned may be read for so long.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// For how long after a client was told: some steps of a host's allowance, and few probes that wait in vain.
const UNTOLD: Duration = Duration::from_millis(200);

/// Distance of probes whose refusals a host may keep to itself: in such steps Linux allows itself more
/// of them (`icmp(7)`, `icmp_msgs_per_sec`).
const RATIONED: Duration = Duration::from_millis(20);

/// Distance of probes that evidence starts at once, so that many clients with bad news cannot make
/// us flood a node.
const PROBE_GAP_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
