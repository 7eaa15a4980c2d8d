use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn client(number: u16) -> SocketAddr {
    ([192, 0, 2, 1], 1000 + number).into()
}

const LIVES: Lives = Lives {
    unanswered: Duration::from_secs(10),
    answered: Some(Duration::from_secs(60)),
};

#[test]
fn whoever_was_answered_outlives_a_flood() {
    let mut table = FlowTable::new(LIVES);
    let (old, _) = table.admit(client(0), 0, at(0));
    table.answer(old, at(0));
    for number in 1..1000 {
        if table.len() == 10 {
            assert!(table.make_room().is_some());
        }
        table.admit(client(number), number, at(1));
    }
    assert_eq!(table.get(old), Some(&0));
    assert_eq!(table.len(), 10);
}

#[test]
fn a_place_that_was_given_to_another_is_not_found_by_the_old_name() {
    let mut table = FlowTable::new(LIVES);
    let (first, _) = table.admit(client(1), 'a', at(0));
    assert_eq!(table.remove(first), Some('a'));
    let (second, _) = table.admit(client(2), 'b', at(0));
    assert_eq!(table.get(first), None);
    assert_eq!(table.remove(first), None);
    assert_eq!(FlowId::from_bits(second.to_bits()), second);
    assert_eq!(table.get(second), Some(&'b'));
}

#[test]
fn a_client_of_either_family_is_told_from_the_other() {
    let mut table = FlowTable::new(LIVES);
    table.admit(client(1), 4, at(0));
    assert_eq!(table.find("[2001:db8::1]:1001".parse().unwrap()), None);
    assert!(table.find(client(1)).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Admit(u16),
    Touch(u16),
    Answer(u16),
    Remove(u16),
    MakeRoom,
    Wait(u64),
    Live(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0_u16..12;
    let step = prop_oneof![
        3 => number().prop_map(Step::Admit),
        3 => number().prop_map(Step::Touch),
        3 => number().prop_map(Step::Answer),
        1 => number().prop_map(Step::Remove),
        1 => Just(Step::MakeRoom),
        2 => (0_u64..30).prop_map(Step::Wait),
        1 => (1_u64..90).prop_map(Step::Live),
    ];
    prop::collection::vec(step, 0..120)
}

/// One flow as anybody would write it down.
#[derive(Clone, Debug)]
struct Naive {
    client: u16,
    used: Moment,
    order: u64,
    is_answered: bool,
    value: u64,
}

proptest! {
    #[test]
    fn it_does_what_a_naive_list_does(steps in steps()) {
        let (mut table, mut list) = (FlowTable::new(LIVES), Vec::<Naive>::new());
        let (mut now, mut order, mut lives) = (at(0), 0_u64, LIVES);
        for step in steps {
            order += 1;
            match step {
                Step::Admit(number) => {
                    let earlier = list.iter().position(|flow| flow.client == number);
                    let earlier = earlier.map(|place| list.remove(place).value);
                    prop_assert_eq!(table.admit(client(number), order, now).1, earlier);
                    list.push(Naive { client: number, used: now, order, is_answered: false, value: order });
                }
                Step::Touch(number) | Step::Answer(number) => {
                    let answers = matches!(step, Step::Answer(_));
                    let found = list.iter_mut().find(|flow| flow.client == number);
                    prop_assert_eq!(table.find(client(number)).is_some(), found.is_some());
                    let (Some(flow), Some(id)) = (found, table.find(client(number))) else { continue };
                    if flow.used < now || (answers && !flow.is_answered) {
                        flow.order = order;
                    }
                    flow.used = now;
                    flow.is_answered |= answers;
                    if answers { table.answer(id, now) } else { table.touch(id, now) }
                }
                Step::Remove(number) => {
                    let place = list.iter().position(|flow| flow.client == number);
                    let value = place.map(|place| list.remove(place).value);
                    let id = table.find(client(number));
                    prop_assert_eq!(id.and_then(|id| table.remove(id)), value);
                }
                Step::MakeRoom => {
                    let unanswered = list.iter().filter(|flow| !flow.is_answered);
                    let oldest = unanswered.min_by_key(|flow| (flow.used, flow.order)).map(|flow| flow.value);
                    list.retain(|flow| Some(flow.value) != oldest);
                    prop_assert_eq!(table.make_room(), oldest);
                }
                Step::Wait(seconds) => now = now + Duration::from_secs(seconds),
                Step::Live(seconds) => {
                    lives.answered = Some(Duration::from_secs(seconds));
                    table.set_lives(lives);
                }
            }
            let lapse = |flow: &Naive| flow.used + match flow.is_answered {
                true => lives.answered.unwrap(),
                false => lives.unanswered,
            };
            prop_assert_eq!(table.next_expiry(), list.iter().map(lapse).min());
            let mut gone: Vec<_> = std::iter::from_fn(|| table.expire(now)).collect();
            gone.sort_unstable();
            let mut lapsed: Vec<_> = list.iter().filter(|flow| lapse(flow) <= now).map(|flow| flow.value).collect();
            lapsed.sort_unstable();
            prop_assert_eq!(&gone, &lapsed);
            list.retain(|flow| !lapsed.contains(&flow.value));
            let mut values: Vec<_> = table.iter().map(|(_, value)| *value).collect();
            values.sort_unstable();
            let mut expected: Vec<_> = list.iter().map(|flow| flow.value).collect();
            expected.sort_unstable();
            prop_assert_eq!(values, expected);
            prop_assert_eq!(table.len(), list.len());
        }
    }
}
