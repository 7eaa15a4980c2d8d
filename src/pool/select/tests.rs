use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Node {
    name: Arc<str>,
    weight: u32,
    standing: Standing,
    warmth: u8,
    sessions: u32,
}

fn offered(nodes: &[Node]) -> impl Iterator<Item = Candidate<'_>> {
    nodes.iter().map(|node| Candidate {
        name: &node.name,
        weight: node.weight,
        standing: node.standing,
        warmth: node.warmth,
        sessions: node.sessions,
    })
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let node = (1..4_u32, 0..7_u8, 0..5_u32);
    proptest::collection::vec(node, 0..8).prop_map(|nodes| {
        let node = |(index, (weight, standing, sessions)): (usize, (u32, u8, u32))| Node {
            name: Arc::from(format!("edge{index}")),
            weight,
            standing: Standing::from_u8(standing),
            warmth: WARM,
            sessions,
        };
        nodes.into_iter().enumerate().map(node).collect()
    })
}

fn key() -> PlacementKey {
    PlacementKey::from_bytes([7; 16])
}

fn balances() -> impl Strategy<Value = Balance> {
    prop_oneof![
        Just(Balance::LeastSessions),
        Just(Balance::RoundRobin),
        Just(Balance::SourceHash)
    ]
}

fn subjects() -> impl Strategy<Value = Subject> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(|name| Subject::Partner(Arc::from(name))),
        any::<[u8; 4]>().prop_map(|ip| {
            let prefix = crate::config::model::PinPrefix { v4: 32, v6: 64 };
            Subject::of_client(ip.into(), prefix)
        }),
    ]
}

/// The rules written down one after the other, with vectors.
fn oracle(nodes: &[Node], request: &Request<'_>) -> Option<Choice> {
    use Standing::{Draining, Held, Never, Suspect, Takes, Unproven};
    let left: Vec<usize> = (0..nodes.len())
        .filter(|index| nodes[*index].standing != Never && !request.tried.contains(*index))
        .collect();
    let pinned = request.pinned.filter(|index| left.contains(index));
    if let Some(index) = pinned
        && [Takes, Suspect, Held, Unproven].contains(&nodes[index].standing)
    {
        return Some(Choice {
            index,
            why: Why::Pinned,
        });
    }
    let best = left.iter().map(|index| nodes[*index].standing).min()?;
    let why = match best {
        Draining => Why::Draining,
        Unproven => Why::Unproven,
        Takes | Suspect | Held => Why::Placed,
        Standing::Down | Never => Why::FailStatic,
    };
    let equals: Vec<usize> = left
        .into_iter()
        .filter(|index| nodes[*index].standing == best)
        .collect();
    if let Some(index) = pinned.filter(|index| equals.contains(index)) {
        return Some(Choice { index, why });
    }
    let score = |index: usize| {
        request
            .key
            .score(request.subject, &nodes[index].name, nodes[index].weight)
    };
    let hashed = |of: &[usize]| *of.iter().max_by_key(|index| score(**index)).unwrap();
    let index = if request.subject.is_partner() || request.balance == Balance::SourceHash {
        hashed(&equals)
    } else if request.balance == Balance::RoundRobin {
        let turns: Vec<usize> = equals
            .iter()
            .flat_map(|index| std::iter::repeat_n(*index, nodes[*index].weight as usize))
            .collect();
        turns[usize::try_from(request.turn).unwrap() % turns.len()]
    } else {
        let load = |index: usize| f64::from(nodes[index].sessions) / f64::from(nodes[index].weight);
        let least = equals
            .iter()
            .map(|index| load(*index))
            .min_by(f64::total_cmp)
            .unwrap();
        let idle: Vec<usize> = equals
            .into_iter()
            .filter(|index| load(*index) - least < 1e-9)
            .collect();
        hashed(&idle)
    };
    Some(Choice { index, why })
}

proptest! {
    #[test]
    fn it_chooses_as_the_rules_say_and_ends(
        nodes in nodes(), balance in balances(), subject in subjects(),
        pinned in proptest::option::of(0..9_usize), turn in 0..1_000_u64,
    ) {
        let key = key();
        let mut request = Request { key: &key, subject: &subject, balance, pinned, turn, tried: Positions::NONE, full: Positions::NONE };
        let mut seen = BTreeSet::new();
        loop {
            let choice = choose(offered(&nodes), &request);
            prop_assert_eq!(choice, oracle(&nodes, &request));
            let Some(choice) = choice else { break };
            prop_assert!(seen.insert(choice.index), "offered twice");
            request.tried = request.tried.with(choice.index);
        }
        let dialled = nodes.iter().filter(|node| node.standing != Standing::Never).count();
        prop_assert_eq!(seen.len(), dialled);
    }
}

#[test]
fn a_pinned_client_stays_on_a_held_node_and_leaves_a_draining_or_dead_one() {
    let key = key();
    let subject = Subject::Partner(Arc::from("fabrikam"));
    let cases = [
        (Standing::Held, 0, Why::Pinned),
        (Standing::Suspect, 0, Why::Pinned),
        (Standing::Unproven, 0, Why::Pinned),
        (Standing::Draining, 1, Why::Placed),
        (Standing::Down, 1, Why::Placed),
        (Standing::Never, 1, Why::Placed),
    ];
    for (standing, index, why) in cases {
        let node = |name: &str, standing| Node {
            name: Arc::from(name),
            weight: 1,
            standing,
            warmth: WARM,
            sessions: 0,
        };
        let nodes = [node("edge1", standing), node("edge2", Standing::Takes)];
        let request = Request {
            key: &key,
            subject: &subject,
            balance: Balance::LeastSessions,
            pinned: Some(0),
            turn: 0,
            tried: Positions::NONE,
            full: Positions::NONE,
        };
        assert_eq!(
            choose(offered(&nodes), &request),
            Some(Choice { index, why }),
            "{standing:?}"
        );
    }
}

#[test]
fn positions_beyond_the_limit_are_not_offered() {
    let node = |index: usize| Node {
        name: Arc::from(format!("edge{index}")),
        weight: 1,
        standing: if index < NODES_MAX {
            Standing::Never
        } else {
            Standing::Takes
        },
        warmth: WARM,
        sessions: 0,
    };
    let nodes: Vec<Node> = (0..NODES_MAX + 6).map(node).collect();
    let key = key();
    let subject = Subject::Partner(Arc::from("fabrikam"));
    let tried = Positions::NONE.with(NODES_MAX + 1);
    assert_eq!((tried.count(), tried.contains(NODES_MAX + 1)), (0, false));
    let balance = Balance::RoundRobin;
    let request = Request {
        key: &key,
        subject: &subject,
        balance,
        pinned: Some(65),
        turn: 1,
        tried,
        full: Positions::NONE,
    };
    assert_eq!(choose(offered(&nodes), &request), None);
}

#[test]
fn standings_survive_an_atomic() {
    for byte in 0..=6 {
        assert_eq!(Standing::from_u8(byte).as_u8(), byte);
    }
    assert_eq!(Standing::from_u8(200), Standing::Unproven);
}

/// Two nodes that take sessions, the second of which has just come back.
fn warming(warmth: u8) -> [Node; 2] {
    let node = |name: &str, warmth, sessions| Node {
        name: Arc::from(name),
        weight: 1,
        standing: Standing::Takes,
        warmth,
        sessions,
    };
    [node("edge1", WARM, 3_000), node("edge2", warmth, 0)]
}

#[test]
fn a_cold_node_gets_its_share_of_new_clients_and_no_more() {
    let key = key();
    for balance in [
        Balance::LeastSessions,
        Balance::RoundRobin,
        Balance::SourceHash,
    ] {
        for warmth in [1_u8, 10, 50, 100] {
            let nodes = warming(warmth);
            let taken = (0..10_000_u32).filter(|turn| {
                let subject = Subject::Prefix(std::net::IpAddr::from(turn.to_be_bytes()).into());
                let request = Request {
                    key: &key,
                    subject: &subject,
                    balance,
                    pinned: None,
                    turn: u64::from(*turn),
                    tried: Positions::NONE,
                    full: Positions::NONE,
                };
                choose(offered(&nodes), &request).unwrap().index == 1
            });
            let count = u32::try_from(taken.count()).unwrap();
            // Least sessions sends everybody it may; the others would give the node half.
            let most = u32::from(warmth) * 100;
            let fair = if balance == Balance::LeastSessions {
                most
            } else {
                most / 2
            };
            assert!(
                count.abs_diff(fair) <= 250,
                "{balance:?} at {warmth} %: {count}"
            );
        }
    }
}

#[test]
fn a_partner_goes_to_a_node_that_is_not_full_unless_all_are() {
    let (key, nodes) = (key(), warming(WARM));
    let subject = Subject::Partner(Arc::from("fabrikam"));
    let mut request = Request {
        key: &key,
        subject: &subject,
        balance: Balance::LeastSessions,
        pinned: None,
        turn: 0,
        tried: Positions::NONE,
        full: Positions::NONE,
    };
    let home = choose(offered(&nodes), &request).unwrap().index;
    request.full = Positions::NONE.with(home);
    assert_eq!(choose(offered(&nodes), &request).unwrap().index, 1 - home);
    request.pinned = Some(home);
    assert_eq!(
        choose(offered(&nodes), &request).unwrap().index,
        home,
        "a pin holds"
    );
    request.pinned = None;
    request.full = Positions::NONE.with(0).with(1);
    assert_eq!(choose(offered(&nodes), &request).unwrap().index, home);
}
