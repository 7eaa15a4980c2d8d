use std::collections::VecDeque;
use std::net::IpAddr;

use self::freezing::World;
use super::*;
use crate::config::model::{Flap, ProbeKind, ReturnAfter};

mod freezing;
mod refusals;
mod returning;

const FEDERATION: Timing = Timing {
    kind: ProbeKind::TlsHello,
    interval: Duration::from_millis(400),
    fast_interval: Duration::from_millis(50),
    timeout: Duration::from_millis(250),
    silence: Duration::from_millis(600),
    fall: 2,
    rise: 3,
    return_after: ReturnAfter::Healthy(Duration::from_secs(30)),
    warm_up: Duration::from_secs(60),
    flap: None,
};

fn calm() -> Timing {
    Timing {
        interval: Duration::from_secs(2),
        fast_interval: Duration::from_millis(250),
        timeout: Duration::from_secs(1),
        silence: Duration::from_secs(3),
        ..FEDERATION
    }
}

fn ms(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

/// An endpoint that is up, was probed at the start, and is looked at 10 ms later.
fn up() -> Health {
    let mut health = Health::new(FEDERATION, Moment::START, Duration::ZERO);
    assert!(health.poll(ms(0)));
    health.observe(Event::ProbeGood { started: ms(0) }, ms(1));
    assert_eq!(health.state(), State::Up);
    health
}

fn failed(started: u64, how: ProbeFailure) -> Event {
    Event::ProbeFailed {
        started: ms(started),
        how,
    }
}

fn down(at: u64) -> Health {
    let mut health = up();
    health.observe(failed(at, ProbeFailure::Refused), ms(at));
    health.observe(failed(at, ProbeFailure::Refused), ms(at));
    assert_eq!(health.state(), State::Down);
    health
}

#[test]
fn the_first_good_probe_proves_an_endpoint() {
    let mut health = Health::new(FEDERATION, ms(5), Duration::from_millis(15));
    assert_eq!(health.state(), State::Unproven);
    assert!(!health.poll(ms(19)));
    assert!(health.poll(ms(20)));
    health.observe(Event::ProbeGood { started: ms(20) }, ms(22));
    assert_eq!((health.state(), health.hold()), (State::Up, None));
}

#[test]
fn an_unproven_endpoint_is_condemned_by_refusals_and_by_silence() {
    let mut refusing = Health::new(FEDERATION, ms(0), Duration::ZERO);
    let mut now = 0;
    while refusing.state() != State::Down {
        if refusing.poll(ms(now)) {
            refusing.observe(failed(now, ProbeFailure::Refused), ms(now));
        }
        now += 5;
        assert!(now < 100);
    }
    let silent = World::new(FEDERATION, 5)
        .frozen(0, 10_000)
        .until_down(3_000);
    assert!(silent.is_some_and(|at| at < 1_000), "{silent:?}");
}

#[test]
fn fewer_failures_than_fall_never_take_it_down_and_a_good_probe_resets_them() {
    let mut health = up();
    for round in 1..50 {
        let at = round * 10;
        health.observe(failed(at, ProbeFailure::WrongAnswer), ms(at));
        assert_eq!(health.state(), State::Suspect);
        health.observe(
            Event::ProbeGood {
                started: ms(at + 1),
            },
            ms(at + 2),
        );
        assert_eq!((health.state(), health.failures()), (State::Up, 0));
    }
}

#[test]
fn what_sessions_are_told_brings_it_to_the_brink_and_only_a_probe_condemns() {
    for event in [Event::DialRefused, Event::Undelivered] {
        let mut health = up();
        for _ in 0..20 {
            health.observe(event, ms(10));
        }
        assert_eq!((health.state(), health.failures()), (State::Suspect, 1));
        assert!(health.poll(ms(10)), "evidence starts a probe at once");
        health.observe(failed(10, ProbeFailure::Refused), ms(11));
        assert_eq!(health.state(), State::Down);
    }
}

#[test]
fn an_answer_that_evidence_has_overtaken_settles_nothing() {
    let mut health = up();
    assert!(health.poll(ms(400)));
    health.observe(Event::DialRefused, ms(402));
    health.observe(Event::ProbeGood { started: ms(400) }, ms(403));
    assert_eq!((health.state(), health.failures()), (State::Suspect, 1));
    assert!(health.poll(ms(410)), "no closer than 10 ms");
    health.observe(Event::ProbeGood { started: ms(410) }, ms(411));
    assert_eq!(health.state(), State::Up);
}

#[test]
fn one_clients_resets_start_one_suspicion_and_count_for_nothing() {
    let mut health = up();
    let client = IpAddr::from([192, 0, 2, 66]);
    health.observe(Event::SessionReset { client }, ms(10));
    assert_eq!((health.state(), health.failures()), (State::Suspect, 0));
    health.observe(Event::ProbeGood { started: ms(10) }, ms(11));
    for at in 12..5_000 {
        health.observe(Event::SessionReset { client }, ms(at));
        assert_eq!(health.state(), State::Up);
    }
    let other = IpAddr::from([192, 0, 2, 67]);
    health.observe(Event::SessionReset { client: other }, ms(5_000));
    assert_eq!(health.state(), State::Suspect);
}

#[test]
fn many_clients_news_keep_probes_apart() {
    let mut health = up();
    let mut probes = 0;
    for at in 1..=1_000_u32 {
        let client = IpAddr::from(at.to_be_bytes());
        let at = u64::from(at);
        health.observe(Event::SessionReset { client }, ms(at));
        if health.poll(ms(at)) {
            probes += 1;
            health.observe(Event::ProbeGood { started: ms(at) }, ms(at));
        }
    }
    assert!((50..=101).contains(&probes), "{probes}");
}

#[test]
fn rest_keeps_the_interval_and_doubt_probes_fast_without_awaiting() {
    let mut health = up();
    let due: Vec<u64> = (1..=1_300)
        .filter(|at| {
            let due = health.poll(ms(*at));
            if due {
                health.observe(Event::ProbeGood { started: ms(*at) }, ms(*at));
            }
            due
        })
        .collect();
    assert_eq!(due, [400, 800, 1_200]);
    health.observe(Event::DialTimedOut, ms(1_310));
    let due: Vec<u64> = (1_310..=1_420).filter(|at| health.poll(ms(*at))).collect();
    assert_eq!(due, [1_310, 1_360, 1_410]);
}

#[test]
fn datagrams_that_are_said_to_be_undelivered_have_it_asked_and_condemn_nobody() {
    let mut health = up();
    for at in 10..2_000 {
        health.observe(Event::Undelivered, ms(at));
        if health.poll(ms(at)) {
            health.observe(Event::ProbeGood { started: ms(at) }, ms(at));
        }
        assert_ne!(health.state(), State::Down, "at {at}");
    }
}

#[test]
fn it_returns_after_rise_good_answers_in_time_and_is_held() {
    let mut health = down(10);
    for late in 0..10 {
        health.observe(
            Event::ProbeGood {
                started: ms(10 + late),
            },
            ms(900),
        );
    }
    assert_eq!(
        health.state(),
        State::Down,
        "late answers prove nothing about now"
    );
    for started in [1_000, 1_400] {
        health.observe(
            Event::ProbeGood {
                started: ms(started),
            },
            ms(started + 1),
        );
        assert_eq!(health.state(), State::Down);
    }
    health.observe(failed(1_800, ProbeFailure::Refused), ms(1_801));
    for started in [2_200, 2_600, 3_000] {
        assert_eq!(health.state(), State::Down);
        health.observe(
            Event::ProbeGood {
                started: ms(started),
            },
            ms(started + 1),
        );
    }
    assert_eq!(health.state(), State::Up);
    assert_eq!(health.hold(), Some(Hold::Until(ms(33_001))));
    health.poll(ms(33_000));
    assert!(health.hold().is_some());
    health.poll(ms(33_001));
    assert_eq!(health.hold(), None);
}

#[test]
fn answers_that_waited_and_come_at_once_are_one() {
    let mut health = down(10);
    let good = |started| Event::ProbeGood {
        started: ms(started),
    };
    for started in [800, 850, 900, 950] {
        health.observe(good(started), ms(1_000));
    }
    assert_eq!(health.state(), State::Down);
    assert!(health.is_rising());
    health.observe(good(1_400), ms(1_401));
    assert_eq!(health.state(), State::Down);
    health.observe(good(1_800), ms(1_801));
    assert_eq!(health.state(), State::Up);
}

#[test]
fn a_manual_hold_lasts_until_it_is_resumed() {
    let mut health = Health::new(
        Timing {
            return_after: ReturnAfter::Manual,
            rise: 1,
            fall: 1,
            ..FEDERATION
        },
        ms(0),
        Duration::ZERO,
    );
    health.poll(ms(0));
    health.observe(failed(0, ProbeFailure::Refused), ms(1));
    health.observe(Event::ProbeGood { started: ms(400) }, ms(401));
    health.poll(ms(900_000_000));
    assert_eq!(
        (health.state(), health.hold()),
        (State::Up, Some(Hold::Manual))
    );
    health.resume(ms(900_000_000));
    assert_eq!(health.hold(), None);
}

#[test]
fn shortages_and_stuns_count_for_nothing() {
    let mut health = up();
    for at in 10..500 {
        health.observe(Event::ProbeVoid { started: ms(at) }, ms(at));
    }
    assert_eq!(health.state(), State::Up);
    health.stunned(ms(10_000));
    for started in 500..600 {
        health.observe(failed(started, ProbeFailure::TimedOut), ms(10_001));
        health.observe(failed(started, ProbeFailure::Refused), ms(10_001));
    }
    assert_eq!((health.state(), health.failures()), (State::Up, 0));
    assert!(health.poll(ms(10_001)), "it is asked anew at once");
}

#[test]
fn a_stun_restarts_silence() {
    let mut health = up();
    health.observe(failed(400, ProbeFailure::TimedOut), ms(650));
    health.observe(failed(650, ProbeFailure::TimedOut), ms(900));
    assert_eq!(health.state(), State::Suspect);
    health.stunned(ms(999));
    health.poll(ms(5_000));
    assert_eq!(health.state(), State::Suspect);
}

#[test]
fn traffic_postpones_silence_but_not_doubt() {
    let mut health = up();
    let mut now = 400;
    while now < 5_000 {
        health.observe(Event::Heard { at: ms(now) }, ms(now + 50));
        if health.poll(ms(now)) && now > 700 {
            health.observe(failed(now - 250, ProbeFailure::TimedOut), ms(now));
        }
        now += 10;
    }
    assert_eq!(health.state(), State::Suspect);
}

#[test]
fn one_way_traffic_raises_one_suspicion_only() {
    let mut health = up();
    let mut suspicions = 0;
    for now in (10..10_000).step_by(10) {
        health.observe(Event::Asked { at: ms(now) }, ms(now));
        let before = health.state();
        if health.poll(ms(now)) {
            suspicions += u32::from(before != health.state());
            health.observe(Event::ProbeGood { started: ms(now) }, ms(now + 1));
        }
    }
    assert_eq!(suspicions, 1);
}

#[test]
fn an_endpoint_without_probes_is_up_whatever_happens() {
    let mut health = Health::new(
        Timing {
            kind: ProbeKind::None,
            ..FEDERATION
        },
        ms(0),
        Duration::ZERO,
    );
    for at in 0..100 {
        health.observe(Event::DialRefused, ms(at));
        health.observe(failed(at, ProbeFailure::Refused), ms(at));
        assert!(!health.poll(ms(at)));
    }
    assert_eq!((health.state(), health.next_wake()), (State::Up, None));
}

fn blind(kind: ProbeKind) -> Health {
    let timing = Timing { kind, ..FEDERATION };
    let mut health = Health::new(timing, ms(0), Duration::ZERO);
    health.poll(ms(0));
    health.observe(Event::ProbeGood { started: ms(0) }, ms(1));
    assert_eq!(health.state(), State::Up);
    health
}

#[test]
fn traffic_alone_condemns_only_where_no_probe_can_see() {
    let mut seeing = up();
    seeing.observe(Event::Mute, ms(5_000));
    assert_eq!(seeing.state(), State::Up);
    for kind in [ProbeKind::Tcp, ProbeKind::None] {
        let mut health = blind(kind);
        health.observe(Event::Mute, ms(5_000));
        assert_eq!(health.state(), State::Down, "{kind:?}");
        assert_eq!(health.first_evidence(), Some(ms(5_000)));
    }
}

#[test]
fn the_kernel_of_a_frozen_process_does_not_bring_it_back_and_its_farewell_does() {
    let mut health = blind(ProbeKind::Tcp);
    health.observe(Event::Mute, ms(5_000));
    for at in (5_400..9_000).step_by(400) {
        health.observe(Event::ProbeGood { started: ms(at) }, ms(at));
    }
    assert_eq!(health.state(), State::Down);
    health.observe(Event::Parted, ms(9_000));
    for at in [9_100, 9_500, 9_900] {
        health.observe(Event::ProbeGood { started: ms(at) }, ms(at));
    }
    assert_eq!(health.state(), State::Up);
    assert!(health.hold().is_some(), "and it is held like any other");
}

#[test]
fn who_never_shows_to_be_awake_is_tried_again_after_a_minute() {
    let mut asked = blind(ProbeKind::Tcp);
    asked.observe(Event::Mute, ms(5_000));
    for at in (64_000..66_500).step_by(400) {
        asked.observe(Event::ProbeGood { started: ms(at) }, ms(at));
    }
    assert_eq!(asked.state(), State::Up);
    let mut unasked = blind(ProbeKind::None);
    unasked.observe(Event::Mute, ms(5_000));
    assert_eq!(unasked.next_wake(), Some(ms(65_000)));
    unasked.poll(ms(64_999));
    assert_eq!(unasked.state(), State::Down);
    unasked.poll(ms(65_000));
    assert_eq!(unasked.state(), State::Up);
}
