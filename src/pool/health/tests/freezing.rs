//! How long a frozen endpoint goes unnoticed, and which pauses are forgiven, at every phase of its probes.

use super::*;

/// Drives one endpoint as the governor does: polls, probes with answers in a millisecond, late
/// answers after a pause, and traffic whose moments are sampled every 50 ms.
pub(super) struct World {
    health: Health,
    timeout: u64,
    tick: u64,
    traffic: bool,
    frozen: (u64, u64),
    /// Reports on their way: when, and what.
    reports: VecDeque<(u64, Event)>,
}

impl World {
    pub(super) fn new(timing: Timing, tick: u64) -> Self {
        Self {
            timeout: u64::try_from(timing.timeout.as_millis()).unwrap(),
            health: Health::new(timing, Moment::START, Duration::ZERO),
            tick,
            traffic: false,
            frozen: (u64::MAX, u64::MAX),
            reports: VecDeque::new(),
        }
    }

    pub(super) fn with_traffic(self) -> Self {
        Self {
            traffic: true,
            ..self
        }
    }

    /// Nothing is answered from `from` up to `until`; then everything that waits is.
    pub(super) fn frozen(self, from: u64, until: u64) -> Self {
        Self {
            frozen: (from, until),
            ..self
        }
    }

    fn answers_at(&self, asked: u64) -> u64 {
        let answer = asked + 1;
        if answer >= self.frozen.0 && answer < self.frozen.1 {
            self.frozen.1.saturating_add(2)
        } else {
            answer
        }
    }

    fn probe(&mut self, started: u64) {
        let answer = self.answers_at(started);
        if answer > started + self.timeout {
            let failure = failed(started, ProbeFailure::TimedOut);
            self.reports.push_back((started + self.timeout, failure));
        }
        self.reports.push_back((
            answer,
            Event::ProbeGood {
                started: ms(started),
            },
        ));
    }

    /// Runs up to `end`; when it was down, if it ever was.
    pub(super) fn until_down(mut self, end: u64) -> Option<u64> {
        for now in 0..end {
            let (due, later) = self.reports.iter().partition(|(at, _)| *at <= now);
            self.reports = later;
            let due: VecDeque<(u64, Event)> = due;
            for (_, event) in due {
                self.health.observe(event, ms(now));
            }
            if self.traffic && now % 50 == 0 && now > 0 {
                let asked = now - 1;
                let heard = if self.answers_at(asked) > now {
                    self.frozen.0.saturating_sub(1)
                } else {
                    asked
                };
                self.health.observe(
                    Event::Heard {
                        at: ms(heard.min(asked)),
                    },
                    ms(now),
                );
                self.health.observe(Event::Asked { at: ms(asked) }, ms(now));
            }
            if now % self.tick == 0 && self.health.poll(ms(now)) {
                self.probe(now);
            }
            if self.health.state() == State::Down {
                return Some(now);
            }
        }
        None
    }
}

/// The longest time to find out an endpoint frozen for good, over all phases of a second or more.
fn slowest(timing: &Timing, phases: u64, tick: u64, traffic: bool) -> u64 {
    let times = (0..phases).map(|phase| {
        let from = 1_000 + phase;
        let world = World::new(timing.clone(), tick).frozen(from, u64::MAX);
        let world = if traffic { world.with_traffic() } else { world };
        world
            .until_down(from + 20_000)
            .expect("a frozen endpoint is found out")
            - from
    });
    times.max().unwrap()
}

#[test]
fn a_frozen_endpoint_is_down_within_the_promised_time_at_every_phase() {
    for tick in [5, 10] {
        let busy = slowest(&FEDERATION, 450, tick, true);
        let idle = slowest(&FEDERATION, 450, tick, false);
        println!("federation, polled every {tick} ms: {busy} ms with traffic, {idle} ms idle");
        assert!(busy <= 900, "{busy} ms with traffic");
        assert!(idle <= 1_200, "{idle} ms idle");
    }
    let idle = slowest(&calm(), 2_050, 10, false);
    assert!(idle <= 5_100, "{idle} ms idle, calm");
}

#[test]
fn a_pause_of_500_ms_never_takes_it_down_at_any_phase() {
    for tick in [5, 10] {
        for traffic in [false, true] {
            for from in 1_000..1_450 {
                let world = World::new(FEDERATION, tick).frozen(from, from + 500);
                let world = if traffic { world.with_traffic() } else { world };
                let down = world.until_down(from + 2_000);
                assert_eq!(down, None, "paused at {from} ms, traffic: {traffic}");
            }
        }
    }
}

#[test]
fn calm_probes_forgive_a_pause_of_two_and_a_half_seconds() {
    for from in 2_000..4_050 {
        let world = World::new(calm(), 10).frozen(from, from + 2_500);
        assert_eq!(world.until_down(from + 8_000), None, "paused at {from} ms");
    }
}
