//! Who comes and goes, and how its share grows.

use super::*;

const FLAP: Flap = Flap {
    downs: 3,
    within: Duration::from_secs(600),
    hold: Duration::from_secs(300),
};

/// Goes down and answers again as often as it takes; when the last answer came.
fn come_and_go(health: &mut Health, times: u64, from: u64) -> u64 {
    let mut now = from;
    for _ in 0..times {
        health.observe(failed(now, ProbeFailure::Refused), ms(now));
        health.observe(failed(now, ProbeFailure::Refused), ms(now));
        assert_eq!(health.state(), State::Down);
        for _ in 0..FEDERATION.rise {
            now += 400;
            health.observe(Event::ProbeGood { started: ms(now) }, ms(now));
        }
        now += 10;
    }
    now
}

fn flapping() -> (Health, u64) {
    let mut health = up();
    health.set_timing(
        &Timing {
            flap: Some(FLAP),
            ..FEDERATION
        },
        ms(5),
    );
    let now = come_and_go(&mut health, 2, 1_000);
    assert_eq!(health.state(), State::Up);
    let now = come_and_go(&mut health, 1, now);
    (health, now)
}

#[test]
fn who_came_and_went_too_often_stays_down_for_its_hold_although_it_answers() {
    let (mut health, now) = flapping();
    assert!(health.is_damped());
    assert_eq!(health.state(), State::Down);
    let Some(Hold::Flapping(until)) = health.hold() else {
        panic!("{:?}", health.hold())
    };
    assert!(until >= ms(now - 10) + FLAP.hold);
    assert!(health.next_wake().is_some_and(|wake| wake <= until));
    health.poll(ms(now) + Duration::from_secs(299));
    assert_eq!(health.state(), State::Down);
    health.poll(until);
    assert_eq!(health.state(), State::Up);
    assert!(
        matches!(health.hold(), Some(Hold::Until(_))),
        "and then it returns like any other"
    );
}

#[test]
fn a_failure_while_it_is_damped_begins_the_hold_anew() {
    let (mut health, now) = flapping();
    health.observe(failed(now, ProbeFailure::Refused), ms(now));
    assert!(!health.is_damped());
    let later = now + 200_000;
    for at in [later, later + 400, later + 800] {
        health.observe(Event::ProbeGood { started: ms(at) }, ms(at));
    }
    assert_eq!(
        health.hold(),
        Some(Hold::Flapping(ms(later + 800) + FLAP.hold))
    );
}

#[test]
fn downs_that_lie_far_apart_are_no_flapping() {
    let mut health = up();
    let timing = Timing {
        flap: Some(FLAP),
        ..FEDERATION
    };
    health.set_timing(&timing, ms(5));
    for round in 0..10 {
        come_and_go(&mut health, 1, 1_000 + round * 301_000);
        assert_eq!(health.state(), State::Up, "round {round}");
    }
}

#[test]
fn an_administrator_brings_back_who_flaps_and_its_past_is_forgotten() {
    let (mut health, now) = flapping();
    health.resume(ms(now));
    assert_eq!((health.state(), health.hold()), (State::Up, None));
    come_and_go(&mut health, 1, now + 10);
    assert_eq!(health.state(), State::Up);
}

#[test]
fn the_share_of_who_came_back_grows_once_its_hold_has_ended() {
    let mut health = up();
    assert_eq!(health.warmth(ms(10)), 100, "who was always there is warm");
    let now = come_and_go(&mut health, 1, 1_000);
    let Some(Hold::Until(end)) = health.hold() else {
        panic!("{:?}", health.hold())
    };
    assert_eq!(
        health.warmth(ms(now)),
        100,
        "held, it takes no new ones anyway"
    );
    health.poll(end);
    assert_eq!(health.warmth(end), 1);
    assert_eq!(health.warmth(end + Duration::from_secs(30)), 50);
    assert_eq!(health.warmth(end + Duration::from_secs(60)), 100);
    assert_eq!(health.warmth(end + Duration::from_secs(6000)), 100);
    let cold = Timing {
        warm_up: Duration::ZERO,
        ..FEDERATION
    };
    health.set_timing(&cold, end);
    assert_eq!(health.warmth(end), 100);
}
