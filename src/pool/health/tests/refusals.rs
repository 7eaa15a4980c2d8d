//! Datagrams that nobody is there for, whose hosts say so to few.

use proptest::prelude::*;

use super::*;

/// Who is asked so that a refusal may be kept back.
const RATIONED: [ProbeKind; 2] = [ProbeKind::None, ProbeKind::TurnAllocate];

fn datagrams(kind: ProbeKind) -> Timing {
    Timing { kind, ..calm() }
}

/// Whoever goes down three times in ten minutes is kept there.
fn damped_after_three() -> Timing {
    Timing {
        flap: Some(Flap {
            downs: 3,
            within: Duration::from_secs(600),
            hold: Duration::from_secs(300),
        }),
        ..datagrams(ProbeKind::None)
    }
}

/// An endpoint whose clients send datagrams; it is up, and was probed at the start if it is at all.
fn serving(timing: Timing) -> Health {
    let mut health = Health::new(timing, Moment::START, Duration::ZERO);
    if health.poll(ms(0)) {
        health.observe(Event::ProbeGood { started: ms(0) }, ms(1));
    }
    assert_eq!(health.state(), State::Up);
    health
}

/// A client is told at `at` that nobody is there.
fn refuse(health: &mut Health, client: u8, at: u64) {
    refuse_late(health, client, at, at);
}

/// The same, which is known at `now`.
fn refuse_late(health: &mut Health, client: u8, at: u64, now: u64) {
    let client = [192, 0, 2, client].into();
    health.observe(Event::DatagramRefused { client, at: ms(at) }, ms(now));
}

/// Two clients are told so, and nobody hears anything else.
fn die(health: &mut Health, at: u64) {
    refuse(health, 1, at);
    refuse(health, 2, at);
    let _ = health.poll(ms(at + 6));
    assert_eq!(health.state(), State::Down);
}

#[test]
fn what_several_clients_are_told_condemns_where_a_probe_may_not_be_told() {
    for kind in RATIONED {
        let mut health = serving(datagrams(kind));
        refuse(&mut health, 1, 1000);
        refuse(&mut health, 1, 1020);
        let _ = health.poll(ms(1030));
        assert_ne!(health.state(), State::Down, "one client proves nothing");
        refuse(&mut health, 2, 1030);
        assert_ne!(health.state(), State::Down, "a byte may be on its way");
        let _ = health.poll(ms(1030));
        assert_eq!(health.state(), State::Down);
        let evidence = Some((Evidence::DatagramsRefused, ms(1030)));
        assert_eq!(health.evidence(), evidence);
        assert_eq!(health.first_evidence(), Some(ms(1000)));
    }
}

#[test]
fn it_is_given_six_milliseconds_to_say_something_to_anybody() {
    for kind in RATIONED {
        let mut silent = serving(datagrams(kind));
        for client in 1..50 {
            refuse(&mut silent, client, 1000);
        }
        assert!(silent.next_wake() <= Some(ms(1006)));
        let _ = silent.poll(ms(1005));
        assert_ne!(silent.state(), State::Down);
        let mut heard = silent.clone();
        let _ = silent.poll(ms(1006));
        assert_eq!(silent.state(), State::Down);
        heard.observe(Event::Heard { at: ms(1002) }, ms(1006));
        let _ = heard.poll(ms(1006));
        assert_ne!(heard.state(), State::Down);
        refuse(&mut heard, 1, 1007);
        let _ = heard.poll(ms(1020));
        assert_ne!(heard.state(), State::Down, "they count anew");
    }
}

#[test]
fn what_was_said_before_the_refusal_or_just_then_is_no_sign_of_life() {
    for kind in RATIONED {
        let mut health = serving(datagrams(kind));
        refuse(&mut health, 1, 1000);
        health.observe(Event::Heard { at: ms(1001) }, ms(1001));
        refuse(&mut health, 2, 1001);
        let _ = health.poll(ms(1006));
        assert_eq!(health.state(), State::Down);
    }
}

#[test]
fn what_is_read_late_is_weighed_by_when_it_was() {
    for kind in RATIONED {
        let mut health = serving(datagrams(kind));
        health.observe(Event::Heard { at: ms(2000) }, ms(3000));
        for client in 1..50 {
            refuse_late(&mut health, client, 1000, 3000);
        }
        health.observe(Event::Heard { at: ms(2999) }, ms(3001));
        let _ = health.poll(ms(3100));
        assert_ne!(health.state(), State::Down);
        health.stunned(ms(3200));
        for client in 1..50 {
            refuse_late(&mut health, client, 3150, 3201);
        }
        let _ = health.poll(ms(3210));
        assert_ne!(health.state(), State::Down, "we stood still ourselves");
    }
}

#[test]
fn as_many_clients_as_fall_says_are_needed_two_at_least_and_within_ten_seconds() {
    for (fall, enough) in [(4, 4), (1, 2)] {
        let timing = Timing {
            fall,
            ..datagrams(ProbeKind::None)
        };
        let mut health = serving(timing);
        for client in 1..enough {
            refuse(&mut health, client, 1000);
            let _ = health.poll(ms(1100));
            assert_eq!(health.state(), State::Up);
        }
        let mut late = health.clone();
        refuse(&mut health, enough, 11_000);
        assert!(!health.poll(ms(11_000)));
        assert_eq!(health.state(), State::Down);
        refuse(&mut late, enough, 11_001);
        let _ = late.poll(ms(12_000));
        assert_eq!(late.state(), State::Up);
    }
}

#[test]
fn whoever_is_not_asked_is_tried_again_soon_and_then_more_rarely_until_it_says_something() {
    let mut health = serving(datagrams(ProbeKind::None));
    let mut at = 1000;
    for (round, pause) in [1, 2, 4, 8, 16, 32, 60, 60, 1, 2].into_iter().enumerate() {
        if round == 8 {
            health.observe(Event::Heard { at: ms(at - 1) }, ms(at - 1));
        }
        die(&mut health, at);
        let back = at + 6 + pause * 1000;
        assert_eq!(health.next_wake(), Some(ms(back)));
        assert!(!health.poll(ms(back - 1)));
        assert_eq!(health.state(), State::Down);
        assert!(!health.poll(ms(back)));
        assert_eq!(health.state(), State::Up);
        assert_eq!(health.evidence(), Some((Evidence::Retried, ms(back))));
        // Its hold is over, too.
        at = back + 40_000;
        assert!(!health.poll(ms(at)));
    }
}

#[test]
fn whoever_is_not_asked_comes_back_by_what_it_says_once_nothing_older_can_come() {
    let mut health = serving(datagrams(ProbeKind::None));
    die(&mut health, 1000);
    for at in [1007, 1105] {
        health.observe(Event::Heard { at: ms(at) }, ms(at));
        assert_eq!(health.state(), State::Down);
    }
    health.observe(Event::Heard { at: ms(1106) }, ms(1106));
    assert_eq!(health.state(), State::Up);
    assert!(health.hold().is_some());
}

#[test]
fn whoever_is_not_asked_and_comes_and_goes_is_kept_down() {
    let mut health = serving(damped_after_three());
    for at in [1000, 3000] {
        die(&mut health, at);
        health.observe(Event::Heard { at: ms(at + 500) }, ms(at + 500));
        assert_eq!(health.state(), State::Up);
    }
    die(&mut health, 5000);
    health.observe(Event::Heard { at: ms(5500) }, ms(5500));
    for now in [7000, 200_000, 305_499] {
        assert!(!health.poll(ms(now)));
        assert_eq!(health.state(), State::Down);
        assert_eq!(health.next_wake(), Some(ms(305_500)));
    }
    assert!(!health.poll(ms(305_500)));
    assert_eq!(health.state(), State::Up);
}

#[test]
fn whoever_is_tried_again_and_not_heard_neither_comes_nor_goes() {
    let mut health = serving(damped_after_three());
    let mut at = 1000;
    for _ in 0..8 {
        die(&mut health, at);
        while health.state() == State::Down {
            at = health.next_wake().unwrap().as_micros() / 1000;
            assert!(!health.poll(ms(at)));
            assert!(!health.is_damped());
        }
        assert!(health.is_on_trial());
        let mut heard = health.clone();
        heard.observe(Event::Heard { at: ms(at + 9) }, ms(at + 10));
        assert!(!heard.is_on_trial());
        assert!(!health.poll(ms(at + 4999)));
        assert!(health.is_on_trial());
        assert!(!health.poll(ms(at + 5000)));
        assert!(!health.is_on_trial());
        at += 30_000;
    }
}

#[test]
fn whoever_is_asked_comes_back_by_its_answers() {
    let mut health = serving(datagrams(ProbeKind::TurnAllocate));
    die(&mut health, 1000);
    let mut now = 1005;
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
        refuse(&mut health, client, 100);
    }
    assert!(health.poll(ms(100)), "it begins at once");
    let _ = health.poll(ms(149));
    assert_eq!(health.state(), State::Suspect);
    health.observe(failed(100, ProbeFailure::Refused), ms(150));
    assert_eq!(health.state(), State::Down);
}

/// How long after a second probes begin, in milliseconds, where these events come then.
fn probes_after(events: &[(u64, Event)], kind: ProbeKind, until: u64) -> Vec<u64> {
    let mut health = serving(datagrams(kind));
    let mut began = Vec::new();
    for now in 1000..1000 + until {
        for (_, event) in events.iter().filter(|(at, _)| 1000 + at == now) {
            health.observe(*event, ms(now));
        }
        if health.poll(ms(now)) {
            began.push(now - 1000);
        }
    }
    began
}

#[test]
fn a_probe_is_soon_repeated_while_clients_are_told_what_it_may_not_be_told() {
    let turn = ProbeKind::TurnAllocate;
    let mut expected: Vec<_> = (0..=10).map(|step| step * 20).collect();
    expected.extend([450, 700]);
    let once = [(0, Event::Undelivered)];
    assert_eq!(probes_after(&once, turn, 900), expected);
    let late = [(0, Event::DialTimedOut), (100, Event::Undelivered)];
    assert_eq!(probes_after(&late, turn, 300), [0, 250, 270, 290]);
    assert_eq!(
        probes_after(&[(0, Event::DialTimedOut)], turn, 600),
        [0, 250, 500]
    );
    let told = [(0, Event::DialRefused)];
    assert_eq!(probes_after(&told, ProbeKind::TlsHello, 600), [0, 250, 500]);
}

/// A client that is told so, and when.
fn refusals() -> impl Strategy<Value = Vec<(u64, u8)>> {
    proptest::collection::vec((0..400_u64, 1..20_u8), 0..120)
}

/// Plays four tenths of a second, a millisecond at a time: what is told and what is said is known with the next look, of
/// which there is one every few milliseconds. When the endpoint went down.
fn play(told: &[(u64, u8)], said: &[u64], looks_apart: u64) -> Option<u64> {
    let mut health = serving(datagrams(ProbeKind::None));
    let mut heard = None;
    for now in 0..=500 {
        if said.contains(&now) {
            heard = Some(now);
        }
        for (_, client) in told.iter().filter(|(at, _)| *at == now) {
            refuse(&mut health, *client, 1000 + now);
        }
        let is_due = health
            .next_wake()
            .is_some_and(|wake| wake <= ms(1000 + now));
        if now % looks_apart == 0 || is_due {
            if let Some(at) = heard.take() {
                let at = ms(1000 + at);
                health.observe(Event::Heard { at }, ms(1000 + now));
            }
            let _ = health.poll(ms(1000 + now));
        }
        if health.state() == State::Down {
            return Some(now);
        }
    }
    None
}

proptest! {
    #[test]
    fn whoever_says_something_every_few_milliseconds_is_never_condemned(
        told in refusals(),
        first in 0..3_usize,
        looks_apart in 1..26_u64,
    ) {
        let said: Vec<_> = (0..500).skip(first).step_by(4).collect();
        prop_assert_eq!(play(&told, &said, looks_apart), None);
    }

    #[test]
    fn whoever_says_nothing_is_condemned_six_milliseconds_after_the_first_refusal_or_with_the_second_client(
        told in refusals(),
        looks_apart in 1..26_u64,
    ) {
        let first = told.iter().map(|(at, _)| *at).min();
        let second = first.and_then(|first| {
            let (_, client) = told.iter().find(|(at, _)| *at == first)?;
            told.iter().filter(|(_, other)| other != client).map(|(at, _)| *at).min()
        });
        let expected = first.zip(second).map(|(first, second)| second.max(first + 6));
        prop_assert_eq!(play(&told, &[], looks_apart), expected);
    }
}
