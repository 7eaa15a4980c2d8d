use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::ground::judge;
use super::*;
use crate::clock::Moment;

mod naive;

/// A session that ended.
#[derive(Clone, Debug)]
struct Seen {
    partner: Arc<str>,
    listener: Arc<str>,
    node: Arc<str>,
    is_good: bool,
    at: Moment,
}

impl Seen {
    fn on(mut self, listener: &str) -> Self {
        self.listener = listener.into();
        self
    }
}

fn seen(partner: &str, node: &str, is_good: bool, at: u64) -> Seen {
    Seen {
        partner: partner.into(),
        listener: "federation".into(),
        node: node.into(),
        is_good,
        at: Moment::from_micros(at),
    }
}

/// What is remembered of them, told in whatever order.
fn told(all: &[Seen], now: Moment) -> Picture {
    let mut records: BTreeMap<&Arc<str>, Record> = BTreeMap::new();
    for each in all {
        let record = records.entry(&each.partner).or_default();
        record.note(&each.listener, &each.node, each.is_good, each.at);
    }
    let mut picture = Picture::default();
    for (partner, record) in records {
        picture.add(partner, record.fared(now));
    }
    picture
}

/// The same, told in order.
fn picture(mut all: Vec<Seen>) -> Picture {
    all.sort_by_key(|seen| (seen.at, seen.is_good));
    told(&all, Moment::from_micros(1000))
}

fn others(node: &str, count: usize, is_good: bool) -> Vec<Seen> {
    let other = |number| seen(&format!("other{number}"), node, is_good, 5);
    (0..count).map(other).collect()
}

fn judged(mut of_it: Vec<Seen>, of_others: Vec<Seen>) -> Judgement {
    of_it.extend(of_others);
    picture(of_it).of_partner("fabrikam").unwrap()
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
    assert_eq!(picture(all).accused().len(), 1);
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
    assert_eq!(picture(normal()).of_partner("fabrikam"), None);
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
fn a_service_that_works_hides_neither_a_node_nor_a_partner_that_fails_on_another() {
    // Federation fails for everybody on edge2 and works on edge1; by XMPP all is well everywhere, and busy.
    let mut all = Vec::new();
    for name in ["fabrikam", "woodgrove", "litware"] {
        all.extend((0..3).map(|at| seen(name, "edge2", false, at)));
        all.extend((0..200).map(|at| seen(name, "edge2", true, 10 + at).on("xmpp")));
        all.extend((0..200).map(|at| seen(name, "edge1", true, 10 + at).on("xmpp")));
    }
    all.push(seen("contoso", "edge1", true, 4));
    let of_node = picture(all.clone());
    let accused = of_node.accused();
    let [(node, judgement)] = accused.as_slice() else {
        panic!("{accused:?}");
    };
    assert_eq!((&**node, &*judgement.listener), ("edge2", "federation"));
    let of_it = of_node.of_partner("fabrikam").unwrap();
    assert_eq!(of_it.verdict, Verdict::Node("edge2".into()));
    assert_eq!(&*of_it.listener, "federation");
    // Weighed together, as if there were one listener, nobody would be accused.
    let together = all.iter().cloned().map(|seen| seen.on("any")).collect();
    assert!(picture(together).accused().is_empty());
    // Who fails alone wherever it comes has trouble of its own, although its XMPP works.
    all.retain(|seen| &*seen.partner == "fabrikam");
    all.push(seen("fabrikam", "edge1", false, 4));
    for node in ["edge1", "edge2"] {
        all.extend(others(node, 3, true));
    }
    let of_it = picture(all).of_partner("fabrikam").unwrap();
    assert_eq!(of_it.verdict, Verdict::Partner, "{of_it:?}");
    assert_eq!(&*of_it.listener, "federation");
}

#[test]
fn what_is_old_is_forgotten_and_reloads_for_ever_fill_nothing() {
    let (listener, node): (Arc<str>, Arc<str>) = ("federation".into(), "edge1".into());
    let at = |minutes: u64| Moment::START + Duration::from_secs(60 * minutes);
    let mut record = Record::default();
    record.note(&listener, &node, false, at(0));
    record.note(&listener, &node, false, at(10));
    let failures = |record: &Record, now| record.fared(now).next().map(|fared| fared.failures);
    assert_eq!(failures(&record, at(69)), Some(2));
    assert_eq!(failures(&record, at(70)), None);
    record.note(&listener, &node, false, at(70));
    assert_eq!(
        failures(&record, at(71)),
        Some(1),
        "what was before is over"
    );
    for number in 0..10_000 {
        record.note(&listener, &Arc::from(format!("node{number}")), true, at(72));
    }
    assert_eq!(record.fared(at(72)).count(), Record::PLACES_MAX);
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
    let place = (
        0..3_u8,
        prop_oneof![3 => Just("federation"), 1 => Just("xmpp")],
    );
    let one = (0..5_u8, place, any::<bool>(), 0..1000_u64);
    vec(one, 0..40).prop_map(|all| {
        let one = |(partner, (node, listener), is_good, at)| {
            seen(&format!("p{partner}"), &format!("n{node}"), is_good, at).on(listener)
        };
        all.into_iter().map(one).collect()
    })
}

proptest! {
    #[test]
    fn nobody_is_accused_without_failing_or_without_a_comparison(all in any_seen()) {
        let picture = picture(all.clone());
        for partner in picture.partners() {
            let judgement = picture.of_partner(partner).unwrap();
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
    fn whether_somebody_fails_does_not_depend_on_the_order_in_which_it_is_told(
        all in any_seen(), seed in any::<u64>(),
    ) {
        let mut other = all.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut other);
        let (one, other) = (picture(all), told(&other, Moment::from_micros(1000)));
        prop_assert!(one.partners().eq(other.partners()));
        prop_assert!(one.failing().eq(other.failing()));
        let names = |picture: &Picture| {
            let accused = picture.accused().into_iter();
            accused.map(|(node, judgement)| (node, judgement.listener)).collect::<Vec<_>>()
        };
        prop_assert_eq!(names(&one), names(&other));
    }

    #[test]
    fn counting_says_what_looking_at_everything_says(all in any_seen()) {
        let picture = picture(all.clone());
        let mut accused = Vec::new();
        let mut failing = BTreeSet::new();
        for listener in ["federation", "xmpp"] {
            let here = all.iter().filter(|seen| &*seen.listener == listener);
            let naive = naive::Picture::new(here.cloned().collect());
            let listener = Arc::from(listener);
            let here = |judged: Judgement| Judgement {
                listener: Arc::clone(&listener),
                ..judged
            };
            for (node, evidence) in naive.accused() {
                let verdict = Verdict::Node(Arc::clone(&node));
                accused.push((node, judge(&listener, verdict, evidence)));
            }
            for partner in naive.partners() {
                let judgement = here(naive.of_partner(partner));
                let mut said = picture.judgements(partner).map(|(_, judgement)| judgement);
                prop_assert!(said.any(|said| said == judgement), "{:?}", judgement);
                let is_said = picture.accusations_of(partner).any(|said| said == judgement);
                prop_assert_eq!(is_said, judgement.verdict.is_accusation());
                if is_said {
                    failing.insert(Arc::clone(partner));
                    let gravest = picture.of_partner(partner).unwrap();
                    prop_assert!(gravest.verdict.is_accusation());
                }
            }
        }
        prop_assert_eq!(picture.accused(), accused);
        let all_failing: BTreeSet<_> = picture.failing().cloned().collect();
        prop_assert!(failing.is_subset(&all_failing));
        prop_assert_eq!(picture.of_partner("nobody"), None);
    }

    #[test]
    fn what_happens_on_one_listener_changes_nothing_that_is_said_of_another(all in any_seen()) {
        let alone = all.iter().filter(|seen| &*seen.listener == "federation");
        let (alone, both) = (picture(alone.cloned().collect()), picture(all.clone()));
        for partner in alone.partners() {
            let of_it = |picture: &Picture| {
                let judged = picture.judgements(partner).map(|(_, judgement)| judgement);
                judged.filter(|each| &*each.listener == "federation").collect::<Vec<_>>()
            };
            prop_assert_eq!(of_it(&alone), of_it(&both));
        }
    }

    #[test]
    fn at_most_one_node_of_a_listener_is_accused_of_failing_everybody(all in any_seen()) {
        let all: Vec<_> = all.into_iter().map(|seen| seen.on("federation")).collect();
        prop_assert!(picture(all).accused().len() <= 1);
    }
}
