//! Datagrams that nobody is there for, whose hosts say so to few.

use super::*;

fn datagrams(kind: ProbeKind) -> Timing {
    Timing { kind, ..calm() }
}

fn refused(client: u8) -> Event {
    let client = [192, 0, 2, client].into();
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
fn what_several_clients_are_told_condemns_where_a_probe_may_not_be_told() {
    for kind in [ProbeKind::None, ProbeKind::TurnAllocate] {
        let mut health = serving(kind);
        health.observe(refused(1), ms(1000));
        health.observe(refused(1), ms(1020));
        assert_ne!(health.state(), State::Down, "one client proves nothing");
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
fn as_many_clients_as_fall_says_are_needed() {
    let timing = Timing {
        fall: 4,
        ..datagrams(ProbeKind::None)
    };
    let mut health = Health::new(timing, Moment::START, Duration::ZERO);
    for client in 1..4 {
        health.observe(refused(client), ms(1000));
        assert_eq!(health.state(), State::Up);
    }
    health.observe(refused(4), ms(1000));
    assert_eq!(health.state(), State::Down);
}

#[test]
fn whoever_is_not_asked_is_tried_again_after_a_minute_and_condemned_anew() {
    let mut health = serving(ProbeKind::None);
    for at in [1000, 61_500] {
        health.observe(refused(1), ms(at));
        assert_eq!(health.state(), State::Up);
        health.observe(refused(2), ms(at));
        assert_eq!(health.state(), State::Down);
        assert_eq!(health.next_wake(), Some(ms(at + 60_000)));
        assert!(!health.poll(ms(at + 59_999)));
        assert_eq!(health.state(), State::Down);
        assert!(!health.poll(ms(at + 60_000)));
        assert_eq!(health.state(), State::Up);
    }
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
    for client in 1..50 {
        health.observe(refused(client), ms(100));
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
