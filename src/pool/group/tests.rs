use std::net::IpAddr;

use super::*;
use crate::config::model::{ProbeKind, ReturnAfter};
use crate::pool::health::ProbeFailure;

const TIMING: Timing = Timing {
    kind: ProbeKind::TlsHello,
    interval: Duration::from_millis(400),
    fast_interval: Duration::from_millis(50),
    timeout: Duration::from_millis(250),
    silence: Duration::from_millis(600),
    fall: 2,
    rise: 3,
    return_after: ReturnAfter::Healthy(Duration::from_secs(30)),
    warm_up: Duration::from_secs(60),
    flap: None,
};

fn ms(millis: u64) -> Moment {
    Moment::from_micros(millis * 1000)
}

fn member(name: &str) -> Member {
    let last = name.bytes().map(u32::from).sum::<u32>();
    Member {
        node: Arc::from(name),
        address: SocketAddr::new(IpAddr::from(last.to_be_bytes()), 5061),
        admin: NodeState::Active,
        is_removed: false,
    }
}

/// A group at work, with all effects it had so far.
struct Work {
    group: Group,
    effects: Vec<Effect>,
}

impl Work {
    fn new(timing: Timing, names: &[&str]) -> Self {
        let mut work = Self {
            group: Group::new(timing),
            effects: Vec::new(),
        };
        work.set(names, 0);
        work
    }

    /// `names`, none of which is asked.
    fn unasked(names: &[&str]) -> Self {
        let timing = Timing {
            kind: ProbeKind::None,
            ..TIMING
        };
        Self::new(timing, names)
    }

    /// All of `names` up at 100 ms.
    fn up(names: &[&str]) -> Self {
        let mut work = Self::new(TIMING, names);
        for name in names {
            work.good(name, 50, 100);
        }
        work.effects.clear();
        work
    }

    fn set(&mut self, names: &[&str], now: u64) {
        let members: Vec<Member> = names.iter().map(|name| member(name)).collect();
        self.group.set_members(&members, ms(now), &mut self.effects);
    }

    fn good(&mut self, name: &str, started: u64, now: u64) {
        let event = Event::ProbeGood {
            started: ms(started),
        };
        self.group.observe(name, event, ms(now), &mut self.effects);
    }

    fn refused(&mut self, name: &str, now: u64) {
        let how = ProbeFailure::Refused;
        let event = Event::ProbeFailed {
            started: ms(now),
            how,
        };
        self.group.observe(name, event, ms(now), &mut self.effects);
    }

    /// A client is told at `now` that nobody is there.
    fn datagram_refused(&mut self, name: &str, client: u8, now: u64) {
        let event = Event::DatagramRefused {
            client: [192, 0, 2, client].into(),
            at: ms(now),
        };
        self.group.observe(name, event, ms(now), &mut self.effects);
    }

    /// Down by refusals at `now`.
    fn die(&mut self, name: &str, now: u64) {
        self.refused(name, now);
        self.refused(name, now);
        assert_eq!(self.state(name), State::Down);
    }

    fn poll(&mut self, now: u64) {
        self.group.poll(ms(now), &mut self.effects);
    }

    fn admin(&mut self, name: &str, admin: NodeState) {
        self.group.set_admin(name, admin, ms(0), &mut self.effects);
    }

    fn state(&self, name: &str) -> State {
        let view = self.group.view();
        view.iter()
            .find(|member| *member.node == *name)
            .unwrap()
            .state
    }

    fn standing(&self, name: &str) -> Standing {
        self.group.standing(name).unwrap()
    }

    fn probed(&self) -> Vec<&str> {
        let probe = |effect: &'_ Effect| matches!(effect, Effect::Probe { .. });
        self.named(probe)
    }

    fn cut(&self) -> Vec<&str> {
        self.named(|effect| matches!(effect, Effect::Cut { .. }))
    }

    fn fail_static(&self) -> Vec<&str> {
        self.named(|effect| matches!(effect, Effect::FailStatic { .. }))
    }

    fn named(&self, wanted: impl Fn(&Effect) -> bool) -> Vec<&str> {
        let name = |effect: &'_ Effect| -> Arc<str> {
            match effect {
                Effect::Probe { node }
                | Effect::Standing { node, .. }
                | Effect::Changed { node, .. }
                | Effect::Cut { node, .. }
                | Effect::FailStatic { node }
                | Effect::Recovered { node } => Arc::clone(node),
            }
        };
        let names = ["edge1", "edge2", "edge3"];
        let found = self
            .effects
            .iter()
            .filter(|effect| wanted(effect))
            .map(name);
        found
            .filter_map(|node| names.into_iter().find(|name| **name == *node))
            .collect()
    }
}

#[test]
fn where_nobody_is_asked_a_cut_follows_what_a_sibling_says_after_the_first_refusal() {
    let mut work = Work::unasked(&["edge1", "edge2"]);
    work.datagram_refused("edge1", 1, 200);
    work.datagram_refused("edge1", 2, 203);
    assert_eq!(work.group.next_wake(), Some(ms(206)));
    work.poll(206);
    assert_eq!(work.state("edge1"), State::Down);
    assert_eq!(work.group.next_wake(), Some(ms(208)), "to look for it soon");
    work.poll(456);
    let back = Some(ms(1206));
    assert_eq!(work.group.next_wake(), back, "perhaps there is no traffic");
    let heard = |at| Event::Heard { at: ms(at) };
    work.group
        .observe("edge2", heard(200), ms(457), &mut work.effects);
    assert!(work.cut().is_empty(), "that may have been before");
    work.group
        .observe("edge2", heard(201), ms(458), &mut work.effects);
    let cut = Effect::Cut {
        node: Arc::from("edge1"),
        first_evidence: ms(200),
    };
    assert!(work.effects.contains(&cut));
}

#[test]
fn a_pool_has_recovered_once_somebody_was_heard_not_when_one_is_tried_again() {
    let mut work = Work::unasked(&["edge1", "edge2"]);
    for name in ["edge1", "edge2"] {
        work.datagram_refused(name, 1, 200);
        work.datagram_refused(name, 2, 200);
    }
    work.poll(206);
    assert_eq!(work.fail_static(), ["edge1", "edge2"]);
    let recovered = |work: &Work| {
        let is_such = |effect: &Effect| matches!(effect, Effect::Recovered { .. });
        work.effects.iter().any(is_such)
    };
    work.poll(1206);
    assert_eq!(work.state("edge1"), State::Up);
    assert!(!recovered(&work) && work.cut().is_empty());
    let heard = Event::Heard { at: ms(1300) };
    work.group
        .observe("edge1", heard, ms(1301), &mut work.effects);
    assert!(recovered(&work));
}

#[test]
fn a_dead_node_is_cut_once_a_sibling_has_outlived_it() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.group
        .observe("edge1", Event::DialRefused, ms(200), &mut work.effects);
    work.poll(200);
    assert_eq!(
        work.probed(),
        ["edge1", "edge2"],
        "the sibling is asked at once"
    );
    work.refused("edge1", 201);
    assert_eq!(work.state("edge1"), State::Down);
    assert!(work.cut().is_empty(), "nobody is known to have outlived it");
    work.good("edge2", 200, 202);
    let cut = Effect::Cut {
        node: Arc::from("edge1"),
        first_evidence: ms(200),
    };
    assert_eq!(work.effects.last(), Some(&cut));
    work.poll(203);
    work.good("edge2", 203, 204);
    assert_eq!(work.cut(), ["edge1"], "once");
}

#[test]
fn all_nodes_down_at_once_cut_nobody_until_one_is_back() {
    let mut work = Work::up(&["edge1", "edge2", "edge3"]);
    for name in ["edge1", "edge2", "edge3"] {
        work.refused(name, 200);
    }
    for name in ["edge1", "edge2", "edge3"] {
        work.refused(name, 210);
    }
    assert_eq!(work.fail_static(), ["edge1", "edge2", "edge3"]);
    work.poll(700);
    assert!(work.cut().is_empty());
    assert_eq!(work.fail_static().len(), 3, "said once");
    for at in [1_000, 1_400, 1_800] {
        work.poll(at);
        work.good("edge2", at, at + 1);
    }
    assert_eq!(work.cut(), ["edge1", "edge3"]);
    assert_eq!(work.standing("edge2"), Standing::Held);
}

#[test]
fn who_answers_again_is_not_cut_because_another_was_proven_a_moment_sooner() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.die("edge1", 1000);
    work.die("edge2", 1000);
    for started in [1400, 1800] {
        work.good("edge1", started, started + 2);
        work.good("edge2", started, started + 4);
    }
    work.good("edge1", 2200, 2202);
    assert_eq!(work.state("edge1"), State::Up);
    assert!(work.cut().is_empty(), "edge2 serves, and is about to be up");
    work.refused("edge2", 2300);
    assert_eq!(work.cut(), ["edge2"], "it has failed again");
}

#[test]
fn the_only_node_of_a_pool_is_never_cut() {
    let mut work = Work::up(&["edge1"]);
    work.die("edge1", 200);
    assert_eq!((work.cut().len(), work.fail_static().len()), (0, 1));
}

#[test]
fn a_draining_sibling_is_a_survivor_only_when_no_active_one_may_be() {
    let mut work = Work::up(&["edge1", "edge2", "edge3"]);
    work.admin("edge3", NodeState::Draining);
    work.die("edge1", 200);
    work.good("edge3", 201, 202);
    assert!(work.cut().is_empty(), "edge2 is undecided");
    work.die("edge2", 210);
    assert!(work.cut().contains(&"edge1"));
    work.good("edge3", 211, 212);
    assert_eq!(work.cut(), ["edge1", "edge2"]);
    work.admin("edge3", NodeState::Active);
    assert_eq!(
        work.cut(),
        ["edge1", "edge2", "edge1", "edge2"],
        "so that pins follow"
    );
}

#[test]
fn a_cut_is_repeated_when_siblings_were_in_doubt_meanwhile() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.die("edge1", 200);
    work.good("edge2", 201, 202);
    work.refused("edge2", 300);
    work.good("edge2", 301, 302);
    assert_eq!(work.cut(), ["edge1", "edge1"]);
}

#[test]
fn standings_are_told_before_the_cut_that_relies_on_them() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.die("edge2", 150);
    work.die("edge1", 160);
    work.effects.clear();
    for at in [1_000, 1_400, 1_800] {
        work.good("edge2", at, at + 1);
    }
    let held = Effect::Standing {
        node: Arc::from("edge2"),
        standing: Standing::Held,
    };
    let told = work.effects.iter().position(|effect| *effect == held);
    let cut = work
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Cut { .. }));
    assert!(told.is_some() && told < cut, "{:?}", work.effects);
}

#[test]
fn a_reload_keeps_the_health_of_who_stays_and_forgets_who_goes() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.die("edge1", 200);
    work.set(&["edge3", "edge2", "edge1"], 300);
    assert_eq!(work.state("edge1"), State::Down);
    assert_eq!(work.state("edge2"), State::Up);
    assert_eq!(work.state("edge3"), State::Unproven);
    work.set(&["edge3"], 301);
    assert_eq!(work.group.standing("edge2"), None);
    work.good("edge2", 300, 302);
    work.set(&["edge1", "edge3"], 303);
    assert_eq!(
        work.state("edge1"),
        State::Unproven,
        "it was gone in between"
    );
}

#[test]
fn a_new_address_or_another_kind_of_probe_is_proven_anew() {
    let mut work = Work::up(&["edge1", "edge2"]);
    let mut moved = member("edge1");
    moved.address.set_port(443);
    work.group
        .set_members(&[moved, member("edge2")], ms(200), &mut work.effects);
    assert_eq!(
        (work.state("edge1"), work.state("edge2")),
        (State::Unproven, State::Up)
    );
    let faster = Timing {
        interval: Duration::from_millis(100),
        ..TIMING
    };
    work.group.set_timing(faster, ms(201), &mut work.effects);
    assert_eq!(work.state("edge2"), State::Up);
    let other = Timing {
        kind: ProbeKind::Tcp,
        ..TIMING
    };
    work.group.set_timing(other, ms(202), &mut work.effects);
    assert_eq!(work.standing("edge2"), Standing::Unproven);
    let none = Timing {
        kind: ProbeKind::None,
        ..TIMING
    };
    work.group.set_timing(none, ms(203), &mut work.effects);
    assert_eq!(
        (work.standing("edge2"), work.group.next_wake()),
        (Standing::Takes, None)
    );
}

#[test]
fn the_administrators_wish_is_part_of_the_standing() {
    let mut work = Work::up(&["edge1", "edge2"]);
    assert_eq!(work.standing("edge1"), Standing::Takes);
    work.admin("edge1", NodeState::Draining);
    assert_eq!(work.standing("edge1"), Standing::Draining);
    work.admin("edge1", NodeState::Disabled);
    assert_eq!(work.standing("edge1"), Standing::Never);
    work.die("edge1", 200);
    work.good("edge2", 201, 202);
    assert!(
        work.cut().is_empty(),
        "disabled nodes are the governor's to cut"
    );
    work.group.resume("edge1", ms(1_900), &mut work.effects);
    assert_eq!(work.standing("edge1"), Standing::Down);
    for at in [1_000, 1_400, 1_800] {
        work.good("edge1", at, at + 1);
    }
    assert_eq!(work.standing("edge1"), Standing::Held);
    work.group.resume("edge1", ms(1_900), &mut work.effects);
    assert_eq!(work.standing("edge1"), Standing::Takes);
}

#[test]
fn siblings_are_first_probed_apart_from_each_other() {
    let mut work = Work {
        group: Group::new(TIMING),
        effects: Vec::new(),
    };
    work.set(&["edge1", "edge2", "edge3"], 0);
    let mut due = Vec::new();
    while due.len() < 3 {
        let now = work.group.next_wake().unwrap();
        work.effects.clear();
        work.group.poll(now, &mut work.effects);
        due.extend(work.probed().into_iter().map(|name| (name.to_owned(), now)));
    }
    let expected = [("edge1", 0), ("edge2", 15), ("edge3", 30)];
    assert_eq!(due, expected.map(|(name, at)| (name.to_owned(), ms(at))));
}

#[test]
fn a_gap_that_nobody_announced_condemns_nobody() {
    let mut work = Work::up(&["edge1", "edge2"]);
    let timed_out = |started: u64| Event::ProbeFailed {
        started: ms(started),
        how: ProbeFailure::TimedOut,
    };
    for started in [400, 450] {
        let now = ms(started + 250);
        work.poll(started);
        work.group
            .observe("edge1", timed_out(started), now, &mut work.effects);
    }
    work.poll(705);
    assert_eq!(work.state("edge1"), State::Suspect);
    work.group
        .observe("edge1", timed_out(705), ms(60_000), &mut work.effects);
    work.poll(60_001);
    assert_eq!(work.state("edge1"), State::Suspect);
    work.good("edge1", 60_001, 60_002);
    assert_eq!(work.state("edge1"), State::Up);
}

#[test]
fn a_removed_member_is_cut_like_others_and_saves_nobody() {
    let mut work = Work::up(&["edge1", "edge2"]);
    let removed = Member {
        admin: NodeState::Disabled,
        is_removed: true,
        ..member("edge2")
    };
    let members = [member("edge1"), removed];
    work.group.set_members(&members, ms(150), &mut work.effects);
    work.die("edge1", 200);
    work.good("edge2", 210, 211);
    work.poll(220);
    assert_eq!(work.cut(), Vec::<&str>::new(), "nobody can go to edge2");

    let mut work = Work::up(&["edge1", "edge2"]);
    work.group.set_members(&members, ms(150), &mut work.effects);
    work.die("edge2", 200);
    work.good("edge1", 210, 211);
    work.poll(220);
    assert_eq!(work.cut(), ["edge2"]);
}

#[test]
fn a_node_that_is_down_where_it_is_needed_is_cut_here_in_favour_of_one_that_is_not() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.group
        .set_lacking("edge1", true, ms(200), &mut work.effects);
    assert_eq!(
        (work.state("edge1"), work.standing("edge1")),
        (State::Down, Standing::Down)
    );
    work.good("edge2", 201, 202);
    assert_eq!(work.cut(), ["edge1"]);
    // Its own probes are good all the while, and change nothing.
    work.good("edge1", 300, 301);
    assert_eq!(work.standing("edge1"), Standing::Down);
    work.group
        .set_lacking("edge1", false, ms(5_000), &mut work.effects);
    assert_eq!(
        work.standing("edge1"),
        Standing::Held,
        "it returns as if it had been down itself"
    );
    work.poll(36_000);
    assert_eq!(work.standing("edge1"), Standing::Takes);
}

#[test]
fn when_all_lack_what_they_need_nobody_is_cut() {
    let mut work = Work::up(&["edge1", "edge2"]);
    for name in ["edge1", "edge2"] {
        work.group
            .set_lacking(name, true, ms(200), &mut work.effects);
    }
    work.good("edge1", 300, 301);
    work.good("edge2", 300, 301);
    assert!(work.cut().is_empty());
    assert_eq!(work.fail_static(), ["edge1", "edge2"]);
}

#[test]
fn the_last_that_answers_comes_back_although_it_flaps() {
    let mut work = Work::up(&["edge1", "edge2"]);
    let flap = crate::config::model::Flap {
        downs: 2,
        within: Duration::from_secs(600),
        hold: Duration::from_secs(300),
    };
    let timing = Timing {
        flap: Some(flap),
        ..TIMING
    };
    work.group.set_timing(timing, ms(150), &mut work.effects);
    for round in [1_000, 3_000] {
        work.die("edge1", round);
        for at in [round + 400, round + 800, round + 1_200] {
            work.good("edge1", at, at + 1);
        }
    }
    assert_eq!(work.state("edge1"), State::Down, "edge2 is up");
    work.die("edge2", 5_000);
    assert_eq!(work.state("edge1"), State::Up);
}

#[test]
fn who_is_resumed_after_a_drain_takes_its_share_little_by_little() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.admin("edge1", NodeState::Draining);
    work.group.resume("edge1", ms(10_000), &mut work.effects);
    assert_eq!(work.group.warmth("edge1", ms(10_000)), 1);
    assert_eq!(work.group.warmth("edge1", ms(70_000)), 100);
    work.group.resume("edge2", ms(80_000), &mut work.effects);
    assert_eq!(
        work.group.warmth("edge2", ms(80_000)),
        100,
        "it was never away"
    );
}

#[test]
fn a_node_that_answers_again_but_lacks_what_it_needs_is_cut_once_another_is_up() {
    let mut work = Work::up(&["edge1", "edge2"]);
    work.die("edge1", 200);
    work.die("edge2", 210);
    assert_eq!(work.fail_static(), ["edge1", "edge2"]);
    work.good("edge1", 300, 301);
    work.group
        .set_lacking("edge1", true, ms(310), &mut work.effects);
    for at in [1_000, 1_400, 1_800] {
        work.good("edge2", at, at + 1);
    }
    assert_eq!(work.state("edge2"), State::Up);
    assert_eq!(
        work.cut(),
        ["edge1"],
        "it rises, but nobody on it is served"
    );
}

#[test]
fn a_dead_node_that_is_resumed_is_cut_again_since_its_pins_may_have_been_put_back() {
    let mut work = Work::up(&["a", "b"]);
    let (a, drains) = (Arc::<str>::from("a"), NodeState::Draining);
    work.group.set_admin(&a, drains, ms(110), &mut work.effects);
    work.refused("a", 120);
    work.refused("a", 130);
    work.good("b", 140, 150);
    let is_cut = |effect: &Effect| matches!(effect, Effect::Cut { node, .. } if **node == *"a");
    assert!(work.effects.iter().any(is_cut));
    work.effects.clear();
    work.group.resume(&a, ms(160), &mut work.effects);
    assert!(work.effects.iter().any(is_cut));
}
