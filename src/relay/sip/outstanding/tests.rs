use super::*;
use proptest::prelude::*;

fn key(head: &str) -> Key {
    Key::of(&Message::read(head.as_bytes()).unwrap())
}

fn head(start: &str, via: &str, cseq: &str) -> String {
    format!("{start}\r\nVia: SIP/2.0/TLS {via}\r\nCall-ID: a\r\nCSeq: {cseq}\r\n\r\n")
}

#[test]
fn a_response_is_known_by_branch_sender_and_method() {
    let invite = key(&head(
        "INVITE sip:b@c SIP/2.0",
        "h;branch=z9hG4bK1",
        "1 INVITE",
    ));
    let response = |via, cseq| key(&head("SIP/2.0 200 OK", via, cseq));
    assert_eq!(
        response("h;received=192.0.2.1;branch=z9hG4bK1", "1 INVITE"),
        invite
    );
    assert_ne!(response("h;branch=z9hG4bK2", "1 INVITE"), invite);
    assert_ne!(response("g;branch=z9hG4bK1", "1 INVITE"), invite);
    assert_ne!(response("h;branch=z9hG4bK1", "1 CANCEL"), invite);
    let ack = key(&head("ACK sip:b@c SIP/2.0", "h;branch=z9hG4bK1", "1 ACK"));
    assert_eq!(ack, invite, "it acknowledges that");
    let old = |cseq| key(&head("INVITE sip:b@c SIP/2.0", "h", cseq));
    assert_eq!(response("h", "7 INVITE"), old("7 INVITE"));
    assert_ne!(response("h", "8 INVITE"), old("7 INVITE"));
}

#[test]
fn what_nobody_can_be_told_is_not_outstanding() {
    let mut outstanding = Outstanding::default();
    outstanding.begin(Key(1), false, |text| {
        text.extend(b"half");
        false
    });
    outstanding.begin(Key(2), false, |text| {
        text.extend(vec![b'x'; TEXT_MAX + 1]);
        true
    });
    assert_eq!(outstanding.len(), 0);
    outstanding.answer(|_, _| panic!("there is none"));
}

#[test]
fn idle_it_holds_little() {
    let mut outstanding = Outstanding::default();
    for number in 0..100 {
        outstanding.begin(Key(number), false, |text| {
            text.extend([b'x'; 500]);
            true
        });
    }
    assert!(outstanding.held() >= 50_000);
    (0..100).for_each(|number| assert!(outstanding.end(Key(number))));
    assert!(outstanding.held() <= KEPT_MAX, "{}", outstanding.held());
}

#[test]
fn what_it_holds_is_counted_to_the_entry() {
    let mut outstanding = Outstanding::default();
    for number in 0..REQUESTS_MAX as u64 {
        outstanding.begin(Key(number), false, |text| {
            text.push(b'x');
            true
        });
    }
    assert!(outstanding.held() >= REQUESTS_MAX * (1 + size_of::<Entry>()));
}

#[test]
fn only_what_is_acknowledged_is_told_by_its_key() {
    let mut outstanding = Outstanding::default();
    for number in 0..4 {
        outstanding.begin(Key(number), number % 2 == 0, |text| {
            text.extend(number.to_be_bytes());
            true
        });
    }
    let mut told = Vec::new();
    outstanding.answer(|key, text| told.push((key, text.to_vec())));
    let expected = (0..4_u64).map(|number| {
        let key = Some(Key(number)).filter(|_| number % 2 == 0);
        (key, number.to_be_bytes().to_vec())
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn of_too_many_keys_the_oldest_goes() {
    let (mut keys, mut others) = (Keys::default(), Keys::default());
    (0..=Keys::MAX as u64).for_each(|number| keys.add(Key(number)));
    assert!(!keys.has(Key(0)) && keys.has(Key(1)));
    assert!(keys.take(Key(1)) && !keys.take(Key(1)));
    others.add(Key(7000));
    others.take_over(&mut keys);
    assert!(others.has(Key(2)) && others.has(Key(7000)) && !keys.has(Key(2)));
}

/// What one may do with it.
#[derive(Clone, Debug)]
enum Step {
    Begin(u64, usize),
    End(u64),
    Answer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u64, prop_oneof![0..600_usize, 60_000..70_000_usize])
            .prop_map(|(key, length)| Step::Begin(key, length)),
        6 => (0..40_u64).prop_map(Step::End),
        1 => Just(Step::Answer),
    ]
}

/// The same, as simply as can be said.
#[derive(Default)]
struct Naive(Vec<(Key, Vec<u8>)>);

impl Naive {
    fn begin(&mut self, key: Key, text: Vec<u8>) {
        if self.0.iter().all(|(known, _)| *known != key) {
            self.0.push((key, text));
        }
        let bytes = |all: &[(Key, Vec<u8>)]| all.iter().map(|(_, text)| text.len()).sum::<usize>();
        while self.0.len() > REQUESTS_MAX || bytes(&self.0) > TEXT_MAX {
            self.0.remove(0);
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_a_naive_list_does(steps in proptest::collection::vec(step(), 0..300)) {
        let (mut outstanding, mut naive) = (Outstanding::default(), Naive::default());
        for (turn, step) in (0_usize..).zip(steps) {
            match step {
                Step::Begin(key, length) => {
                    let text = vec![u8::try_from(turn % 251).unwrap(); length];
                    outstanding.begin(Key(key), true, |all| {
                        all.extend(&text);
                        true
                    });
                    naive.begin(Key(key), text);
                }
                Step::End(key) => {
                    let known = naive.0.iter().position(|(known, _)| known.0 == key);
                    prop_assert_eq!(outstanding.end(Key(key)), known.is_some());
                    known.map(|at| naive.0.remove(at));
                }
                Step::Answer => {
                    let mut told = Vec::new();
                    outstanding.answer(|key, text| told.push((key.unwrap(), text.to_vec())));
                    prop_assert_eq!(&told, &naive.0);
                    naive.0.clear();
                }
            }
            prop_assert_eq!(outstanding.len(), naive.0.len());
            let live: usize = naive.0.iter().map(|(_, text)| text.len()).sum();
            let texts = outstanding.texts.len();
            prop_assert!(texts <= 2 * live + KEPT_MAX + 1, "{texts} bytes for {live}");
        }
    }
}
