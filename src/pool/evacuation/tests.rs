use super::*;

fn names(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|at| format!("edge{at}").into()).collect()
}

fn candidates<'a>(
    names: &'a [Arc<str>],
    standings: &'a [Standing],
) -> impl Iterator<Item = Candidate<'a>> {
    names
        .iter()
        .zip(standings)
        .map(|(name, standing)| Candidate {
            name,
            weight: 1,
            standing: *standing,
            warmth: 0,
            sessions: 9,
        })
}

fn partner(number: usize) -> Subject {
    Subject::Partner(format!("partner{number:03}").into())
}

fn go(standings: &[Standing], leaving: &str, share: Option<Share>) -> Option<usize> {
    let (names, key) = (names(standings.len()), PlacementKey::from_bytes([7; 16]));
    let candidates = candidates(&names, standings);
    Evacuation::new(&key, leaving, candidates, share).next(&partner(1), true)
}

#[test]
fn a_partner_goes_to_another_node_that_takes_sessions_or_stays() {
    use Standing::{Down, Draining, Never, Suspect, Takes, Unproven};
    assert_eq!(go(&[Takes, Takes], "edge0", None), Some(1));
    assert_eq!(go(&[Takes, Takes], "edge1", None), Some(0));
    assert_eq!(go(&[Takes, Suspect], "edge0", None), Some(1));
    for nobody in [Down, Draining, Never, Unproven] {
        assert_eq!(go(&[Takes, nobody], "edge0", None), None, "{nobody:?}");
    }
    assert_eq!(go(&[Takes], "edge0", None), None);
}

#[test]
fn a_node_with_its_share_is_the_last_that_is_taken() {
    use Standing::Takes;
    let full_of = |node: &str| {
        let pinned = ["edge0", node, node].map(Arc::from);
        Some(Share::new(50, pinned))
    };
    assert_eq!(
        go(&[Takes, Takes, Takes], "edge0", full_of("edge1")),
        Some(2)
    );
    assert_eq!(
        go(&[Takes, Takes, Takes], "edge0", full_of("edge2")),
        Some(1)
    );
    let alone = go(&[Takes, Takes], "edge0", full_of("edge1"));
    assert_eq!(alone, Some(1), "rather than nobody");
}

#[test]
fn who_does_not_count_neither_finds_a_node_full_nor_makes_it_so() {
    let standings = [Standing::Takes; 3];
    let (names, key) = (names(3), PlacementKey::from_bytes([7; 16]));
    let share = Share::new(34, (0..9).map(|at| Arc::clone(&names[at % 3])));
    let new = |share| Evacuation::new(&key, "edge0", candidates(&names, &standings), share);
    let (mut limited, mut free) = (new(Some(share.clone())), new(None));
    for number in 0..50 {
        let subject = partner(number);
        assert_eq!(limited.next(&subject, false), free.next(&subject, false));
    }
    assert_eq!(limited.full(), new(Some(share)).full());
}

#[test]
fn where_each_goes_does_not_depend_on_who_has_gone_already() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (names, count) = (names(rng.usize(2..7)), rng.usize(1..30));
        let any = [Standing::Takes, Standing::Takes, Standing::Down];
        let standings: Vec<_> = names.iter().map(|_| any[rng.usize(..3)]).collect();
        let key = PlacementKey::from_bytes([rng.u8(..); 16]);
        let percent = rng.u8(1..100);
        let new = |homes: &[usize]| {
            let homes = homes.iter().map(|home| Arc::clone(&names[*home]));
            let share = Share::new(percent, homes);
            Evacuation::new(&key, "edge0", candidates(&names, &standings), Some(share))
        };
        let mut homes: Vec<_> = (0..count).map(|_| rng.usize(..names.len())).collect();
        let mut all = new(&homes);
        let leavers: Vec<_> = (0..count).filter(|number| homes[*number] == 0).collect();
        let plan: Vec<_> = leavers
            .iter()
            .map(|number| all.next(&partner(*number), true))
            .collect();

        let mut order: Vec<_> = (0..leavers.len()).collect();
        rng.shuffle(&mut order);
        for place in order {
            let number = leavers[place];
            let mut again = new(&homes);
            for before in (0..number).filter(|before| homes[*before] == 0) {
                let _ = again.next(&partner(before), true);
            }
            let to = again.next(&partner(number), true);
            assert_eq!(to, plan[place], "seed {seed}, partner {number}");
            homes[number] = to.unwrap_or(0);
        }
    }
}
