//! Datagrams that nobody is there for, whose hosts say so to few.

use super::*;

fn datagrams(kind: ProbeKind) -> Timing {
    Timing { kind, ..calm() }
}

fn refused(port: u16) -> Event {
    let client = ([192, 0, 2, 1], port).into();
    Event::DatagramRefused { client }
}

/// An endpoint whose clients send datagrams; it is up and was just probed, if it is at all.
fn serving(kind: ProbeKind) -> Health {
    let mut health = Health::new(datagrams(kind), Moment::START, Duration::ZERO);
    if health.poll(ms(0)) {
        health.observe(Event::ProbeGood { started: ms(0) }, ms(1));
    }
    assert_eq!(health.state(), State::Up);
    health
}

#[test]
fn what_several_flows_are_told_condemns_where_a_probe_may_not_be_told() {
    for kind in [ProbeKind::None, ProbeKind::TurnAllocate] {
        let mut health = serving(kind);
        health.observe(refused(1), ms(1000));
        health.observe(refused(1), ms(1020));
        assert_ne!(health.state(), State::Down, "one flow proves little");
        health.observe(refused(2), ms(1021));
        assert_eq!(health.state(), State::Down);
        let evidence = Some((Evidence::DatagramsRefused, ms(1021)));
        assert_eq!(health.evidence(), evidence);
    }
}

#[test]
fn a_sign_of_life_between_makes_them_count_anew() {
    for kind in [ProbeKind::None, ProbeKind::TurnAllocate] {
        let mut health = serving(kind);
        health.observe(refused(1), ms(1000));
        health.observe(Event::Heard { at: ms(1001) }, ms(1002));
        health.observe(refused(2), ms(1003));
        assert_ne!(health.state(), State::Down);
        health.observe(Event::Heard { at: ms(1002) }, ms(1004));
        health.observe(refused(3), ms(1005));
        assert_eq!(health.state(), State::Down, "it was heard before both");
    }
}

#[test]
fn as_many_flows_as_fall_says_are_needed() {
    let timing = Timing {
        fall: 4,
        ..datagrams(ProbeKind::None)
    };
    let mut health = Health::new(timing, Moment::START, Duration::ZERO);
    for port in 1..4 {
        health.observe(refused(port), ms(1000));
        assert_eq!(health.state(), State::Up);
    }
    health.observe(refused(4), ms(1000));
    assert_eq!(health.state(), State::Down);
}

#[test]
fn whoever_is_not_asked_is_tried_again_soon_and_then_more_rarely_until_it_says_something() {
    let mut health = serving(ProbeKind::None);
    let mut at = 1000;
    for (round, pause) in [1, 2, 4, 8, 16, 32, 60, 60, 1, 2].into_iter().enumerate() {
        if round == 8 {
            health.observe(Event::Heard { at: ms(at - 1) }, ms(at - 1));
        }
        health.observe(refused(1), ms(at));
        assert_eq!(health.state(), State::Up);
        health.observe(refused(2), ms(at));
        assert_eq!(health.state(), State::Down);
        let back = at + pause * 1000;
        assert_eq!(health.next_wake(), Some(ms(back)));
        assert!(!health.poll(ms(back - 1)));
        assert_eq!(health.state(), State::Down);
        assert!(!health.poll(ms(back)));
        assert_eq!(health.state(), State::Up);
        // Its hold is over, too.
        at = back + 40_000;
        assert!(!health.poll(ms(at)));
    }
}

#[test]
fn whoever_is_not_asked_comes_back_by_what_it_says_once_nothing_older_can_come() {
    let mut health = serving(ProbeKind::None);
    health.observe(refused(1), ms(1000));
    health.observe(refused(2), ms(1000));
    for at in [1001, 1099] {
        health.observe(Event::Heard { at: ms(at) }, ms(at));
        assert_eq!(health.state(), State::Down);
    }
    health.observe(Event::Heard { at: ms(1100) }, ms(1100));
    assert_eq!(health.state(), State::Up);
    assert!(health.hold().is_some());
}

#[test]
fn whoever_is_asked_comes_back_by_its_answers() {
    let mut health = serving(ProbeKind::TurnAllocate);
    health.observe(refused(1), ms(1000));
    health.observe(refused(2), ms(1000));
    let mut now = 1000;
    while health.state() == State::Down {
        if health.poll(ms(now)) {
            health.observe(Event::ProbeGood { started: ms(now) }, ms(now));
        }
        now += 10;
        assert!(now < 20_000);
    }
    assert_eq!(health.state(), State::Up);
}

#[test]
fn where_every_probe_is_told_only_a_probe_condemns() {
    let mut health = up();
    for port in 1..50 {
        health.observe(refused(port), ms(100));
    }
    assert_eq!(health.state(), State::Suspect);
    assert!(health.poll(ms(100)), "which begins at once");
    health.observe(failed(100, ProbeFailure::Refused), ms(101));
    assert_eq!(health.state(), State::Down);
}

/// The distances of the first probes after `evidence` at a second, in milliseconds.
fn probes_after(evidence: Event, kind: ProbeKind, until: u64) -> Vec<u64> {
    let mut health = serving(kind);
    health.observe(evidence, ms(1000));
    let mut began = Vec::new();
    for now in 1000..until {
        if health.poll(ms(now)) {
            began.push(now - 1000);
        }
    }
    began
}

#[test]
fn a_probe_whose_refusal_may_be_kept_back_is_soon_repeated_for_as_long_as_one_may_take() {
    let insisting = probes_after(Event::Undelivered, ProbeKind::TurnAllocate, 2600);
    let mut expected: Vec<_> = (0..=50).map(|step| step * 20).collect();
    expected.extend([1250, 1500]);
    assert_eq!(insisting, expected);
    let others = probes_after(Event::DialTimedOut, ProbeKind::TurnAllocate, 1600);
    assert_eq!(others, [0, 250, 500]);
    let told = probes_after(Event::DialRefused, ProbeKind::TlsHello, 1600);
    assert_eq!(told, [0, 250, 500]);
}
