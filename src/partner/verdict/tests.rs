use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

mod naive;

fn seen(partner: &str, node: &str, is_good: bool, at: u64) -> Seen {
    Seen {
        partner: partner.into(),
        node: node.into(),
        is_good,
        at: Moment::from_micros(at),
    }
}

fn others(node: &str, count: usize, is_good: bool) -> Vec<Seen> {
    let other = |number| seen(&format!("other{number}"), node, is_good, 5);
    (0..count).map(other).collect()
}

fn judged(mut of_it: Vec<Seen>, of_others: Vec<Seen>) -> Judgement {
    of_it.extend(of_others);
    Picture::new(of_it).of_partner("fabrikam")
}

#[test]
fn who_fails_everywhere_while_others_are_normal_has_trouble_of_its_own() {
    let own = vec![
        seen("fabrikam", "edge1", false, 1),
        seen("fabrikam", "edge2", false, 2),
    ];
    let mut normal = others("edge1", 14, true);
    normal.extend(others("edge2", 14, true));
    let judged = judged(own, normal);
    assert_eq!(judged.verdict, Verdict::Partner);
    assert_eq!(
        judged.evidence,
        "fabrikam failed 2 times on edge1 and edge2, where 14 other partners are normal: \
         their side, or the way to them"
    );
}

#[test]
fn a_node_on_which_everybody_fails_is_at_fault() {
    let own = vec![
        seen("fabrikam", "edge1", false, 1),
        seen("fabrikam", "edge1", false, 2),
    ];
    let mut rest = others("edge1", 8, false);
    rest.extend((20..30).map(|number| seen(&format!("other{number}"), "edge2", true, 1)));
    let judged = judged(own.clone(), rest.clone());
    assert_eq!(judged.verdict, Verdict::Node("edge1".into()));
    assert_eq!(
        judged.evidence,
        "9 of 9 partners fail on edge1 and none on edge2: edge1"
    );
    let mut all = own;
    all.extend(rest);
    assert_eq!(Picture::new(all).accused().len(), 1);
}

#[test]
fn who_fails_on_one_node_alone_and_not_on_its_sibling_is_asked_something_else_there() {
    let own = vec![
        seen("fabrikam", "edge1", false, 1),
        seen("fabrikam", "edge1", false, 2),
        seen("fabrikam", "edge2", true, 3),
    ];
    let judged = judged(own, others("edge1", 3, true));
    assert_eq!(judged.verdict, Verdict::Node("edge1".into()));
    assert!(
        judged.evidence.contains("normal on edge2"),
        "{}",
        judged.evidence
    );
}

#[test]
fn little_accuses_nobody() {
    let fails = |times| {
        (0..times)
            .map(|at| seen("fabrikam", "edge1", false, at))
            .collect::<Vec<_>>()
    };
    let normal = || others("edge1", 3, true);
    assert_eq!(judged(Vec::new(), normal()).verdict, Verdict::Unknown);
    assert_eq!(judged(fails(1), normal()).verdict, Verdict::Unknown, "once");
    assert_eq!(
        judged(fails(9), Vec::new()).verdict,
        Verdict::Unknown,
        "nobody to compare with"
    );
    let everywhere = [others("edge1", 3, false), others("edge2", 3, false)].concat();
    assert_eq!(
        judged(fails(9), everywhere).verdict,
        Verdict::Unknown,
        "all fail everywhere"
    );
    let mut since = fails(9);
    since.push(seen("fabrikam", "edge1", true, 100));
    assert_eq!(
        judged(since, normal()).verdict,
        Verdict::Neither,
        "it was served since"
    );
}

#[test]
fn outcomes_speak_for_or_against_or_not_at_all() {
    assert_eq!(speaks_for(Outcome::ClientClosed, true), Some(true));
    assert_eq!(
        speaks_for(Outcome::ClientClosed, false),
        None,
        "a look at the port"
    );
    assert_eq!(speaks_for(Outcome::TlsAlertNode, true), Some(false));
    assert_eq!(speaks_for(Outcome::NodeClosed, false), Some(false));
    assert_eq!(
        speaks_for(Outcome::RefusedAccess, false),
        None,
        "our own rule"
    );
}

fn any_seen() -> impl Strategy<Value = Vec<Seen>> {
    let one = (0..5_u8, 0..3_u8, any::<bool>(), 0..1000_u64);
    vec(one, 0..40).prop_map(|all| {
        let one = |(partner, node, is_good, at)| {
            seen(&format!("p{partner}"), &format!("n{node}"), is_good, at)
        };
        all.into_iter().map(one).collect()
    })
}

proptest! {
    #[test]
    fn nobody_is_accused_without_failing_or_without_a_comparison(all in any_seen()) {
        let picture = Picture::new(all.clone());
        for partner in picture.partners() {
            let judgement = picture.of_partner(partner);
            let of_it = |good: bool| {
                all.iter().filter(|seen| seen.partner == *partner && seen.is_good == good).count()
            };
            let is_normal_somewhere = all.iter().any(|seen| seen.is_good);
            match &judgement.verdict {
                Verdict::Partner => {
                    prop_assert!(of_it(false) >= 2);
                    let others = all.iter().any(|seen| seen.partner != *partner && seen.is_good);
                    prop_assert!(others, "{}", judgement.evidence);
                }
                Verdict::Node(node) => {
                    let fails = |seen: &&Seen| !seen.is_good && seen.node == *node;
                    prop_assert!(all.iter().any(|seen| fails(&seen)));
                    prop_assert!(is_normal_somewhere);
                }
                Verdict::Neither => prop_assert!(of_it(true) > 0),
                Verdict::Unknown => {}
            }
        }
    }

    #[test]
    fn the_order_in_which_it_is_told_does_not_matter(all in any_seen(), seed in any::<u64>()) {
        let mut other = all.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut other);
        let (one, other) = (Picture::new(all), Picture::new(other));
        for partner in one.partners() {
            prop_assert_eq!(one.of_partner(partner), other.of_partner(partner));
        }
    }

    #[test]
    fn counting_says_what_looking_at_everything_says(all in any_seen()) {
        let (picture, naive) = (Picture::new(all.clone()), naive::Picture::new(all));
        prop_assert_eq!(picture.accused(), naive.accused());
        prop_assert!(picture.partners().eq(naive.partners()));
        for partner in naive.partners() {
            let judgement = picture.of_partner(partner);
            prop_assert_eq!(&judgement, &naive.of_partner(partner));
            let is_failing = picture.failing().any(|failing| failing == partner);
            prop_assert!(is_failing || !judgement.verdict.is_accusation());
        }
        prop_assert_eq!(picture.of_partner("nobody"), naive.of_partner("nobody"));
    }

    #[test]
    fn at_most_one_node_of_a_pool_is_accused_of_failing_everybody(all in any_seen()) {
        prop_assert!(Picture::new(all).accused().len() <= 1);
    }
}
