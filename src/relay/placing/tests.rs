//! One judge: what a drill foretells is what a failover does, and what sessions do by themselves.

use std::fmt::Write as _;

use super::*;
use crate::config::parse;
use crate::pool::affinity::Measure;
use crate::pool::pins::PinTable;
use crate::snapshot::{Leaver, Registry, Scope, Snapshot};

/// A pool with two listeners that share their pins, and each endpoint of its own.
fn snapshot(rng: &mut fastrand::Rng, partners: usize) -> Snapshot {
    let share = if rng.bool() { 100 } else { rng.u8(1..100) };
    let mut text = format!("version = 1\n[[pool]]\nname = \"edge\"\nmax_share = \"{share}%\"\n");
    for number in 0..rng.usize(2..6) {
        let (port, weight) = (1000 + number, rng.u8(1..4));
        let _ = write!(
            text,
            "[[pool.node]]\nname = \"edge{number}\"\naddress = \"127.0.0.1:{port}\"\n\
             weight = {weight}\n"
        );
    }
    for (name, kind) in [("inner", "tcp"), ("outer", "tls-hello")] {
        let _ = write!(
            text,
            "[[listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:0\"\nservice = \"federation\"\n\
             pool = \"edge\"\nprobe.kind = \"{kind}\"\n"
        );
    }
    for number in 0..partners {
        let legacy = rng.u8(..4) > 0;
        let _ = write!(
            text,
            "[[partner]]\nname = \"p{number:02}\"\naddresses = [\"192.0.2.{number}\"]\n\
             legacy = {legacy}\npin = \"partner\"\n"
        );
    }
    match parse("test.toml", &text) {
        Ok(loaded) => Registry::new(1).build(&Arc::new(loaded.config)),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// Puts every node into some state, the same on all listeners; "edge0" is up.
fn judge(rng: &mut fastrand::Rng, snapshot: &Snapshot) {
    use Standing::{Down, Draining, Held, Never, Suspect, Takes, Unproven};
    let any = [
        Takes, Takes, Takes, Takes, Suspect, Held, Draining, Unproven, Down, Never,
    ];
    let first = &snapshot.listeners[0];
    for (index, seat) in first.nodes.iter().enumerate() {
        let standing = if index == 0 {
            Takes
        } else {
            any[rng.usize(..any.len())]
        };
        let warmth = rng.u8(..=100);
        for listener in &snapshot.listeners {
            let endpoint = &listener.seat(&seat.endpoint.node).unwrap().endpoint;
            endpoint.set_standing(standing);
            endpoint.set_warmth(warmth);
        }
    }
}

fn claimant(known: &Arc<Known>) -> Claimant<'_> {
    Claimant {
        client: "192.0.2.1".parse().unwrap(),
        partner: Some(known),
        looks_legacy: false,
    }
}

/// The pins of all partners: those of `homes`, which are positions of nodes.
fn pinned(snapshot: &Snapshot, homes: &[usize]) -> PinTable {
    let (scope, pins) = (&snapshot.scopes()[0], PinTable::new(100));
    for (number, home) in homes.iter().enumerate() {
        let node = &snapshot.listeners[0].nodes[*home].endpoint.node;
        let new = NewPin {
            node: Arc::clone(node),
            by: PinnedBy::Placed,
            revision: 1,
            ttl: std::time::Duration::from_secs(60),
            looks_legacy: false,
        };
        let key = scope.key(&format!("p{number:02}").into());
        let _ = pins.pin(&key, new, Moment::START);
    }
    pins
}

struct Game {
    snapshot: Snapshot,
    key: PlacementKey,
    homes: Vec<usize>,
    foretold: Vec<Leaver>,
}

impl Game {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let count = rng.usize(1..20);
        let snapshot = snapshot(rng, count);
        judge(rng, &snapshot);
        let nodes = snapshot.listeners[0].nodes.len();
        let homes: Vec<_> = (0..count).map(|_| rng.usize(..nodes)).collect();
        let mut game = Self {
            snapshot,
            key: PlacementKey::from_bytes([rng.u8(..); 16]),
            homes,
            foretold: Vec::new(),
        };
        let pins = game.pins();
        game.foretold = game
            .scope()
            .leavers(game.who(&pins), "edge0", Moment::START);
        game
    }

    fn scope(&self) -> &Scope {
        assert_eq!(self.snapshot.scopes().len(), 1);
        &self.snapshot.scopes()[0]
    }

    fn pins(&self) -> PinTable {
        pinned(&self.snapshot, &self.homes)
    }

    fn who<'a>(&'a self, pins: &'a PinTable) -> Whereabouts<'a> {
        Whereabouts {
            key: &self.key,
            partners: &self.snapshot.partners,
            pins,
        }
    }

    fn set_standing_of_edge0(&self, standing: Standing) {
        for listener in &self.snapshot.listeners {
            listener.nodes[0].endpoint.set_standing(standing);
        }
    }

    fn check(&self, pins: &PinTable, what: &str) {
        for leaver in &self.foretold {
            let now = pins.look_up(&leaver.key, Moment::START);
            let expected = leaver.to.clone().or_else(|| Some("edge0".into()));
            assert_eq!(now, expected, "{what}: {}", leaver.known.name);
        }
        for (number, home) in self
            .homes
            .iter()
            .enumerate()
            .filter(|(_, home)| **home != 0)
        {
            let key = self.scope().key(&format!("p{number:02}").into());
            let stays = &self.snapshot.listeners[0].nodes[*home].endpoint.node;
            assert_eq!(pins.look_up(&key, Moment::START).as_ref(), Some(stays));
        }
    }

    /// A partner comes, and is refused by the node that is gone, unless that is known already.
    fn come(&self, pins: &PinTable, leaver: &Leaver, listener: &Listener, is_known: bool) {
        let who = self.who(pins);
        let mut claim = Claim::new((listener, who), claimant(&leaver.known), Moment::START);
        let mut tried = Positions::NONE;
        if !is_known {
            tried = tried.with(0);
            claim.full = claim.full(listener, who, Moment::START);
        }
        let request = claim.request(listener, &self.key, 7, tried);
        let choice = choose(listener.candidates(), &request);
        let Some(choice) = choice.filter(|choice| choice.why == Why::Placed) else {
            return;
        };
        let (to, from) = (&listener.nodes[choice.index].endpoint.node, "edge0".into());
        let by = PinnedBy::DialFailed;
        let _ = pins.move_from(&leaver.key, &from, to, by, Moment::START);
    }
}

#[test]
fn what_a_drill_foretells_is_what_a_failover_does() {
    for seed in 0..500 {
        let game = Game::new(&mut fastrand::Rng::with_seed(seed));
        game.set_standing_of_edge0(Standing::Down);
        let pins = game.pins();
        let moved = game
            .scope()
            .fail_over(game.who(&pins), &"edge0".into(), Moment::START);
        game.check(&pins, &format!("seed {seed}"));
        let gone = game.foretold.iter().filter(|leaver| leaver.to.is_some());
        assert_eq!(moved.moved.len(), gone.count(), "seed {seed}");
    }
}

#[test]
fn who_comes_before_the_failover_goes_where_it_would_have_sent_them_in_whatever_order() {
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let game = Game::new(&mut rng);
        let (is_known, pins) = (rng.bool(), game.pins());
        if is_known {
            game.set_standing_of_edge0(Standing::Down);
        }
        let mut order: Vec<_> = game.foretold.iter().collect();
        rng.shuffle(&mut order);
        let some = rng.usize(..=order.len());
        for leaver in order.into_iter().take(some) {
            let listener = &game.snapshot.listeners[rng.usize(..2)];
            game.come(&pins, leaver, listener, is_known);
        }
        game.set_standing_of_edge0(Standing::Down);
        let _ = game
            .scope()
            .fail_over(game.who(&pins), &"edge0".into(), Moment::START);
        game.check(&pins, &format!("seed {seed}"));
    }
}

#[test]
fn who_is_refused_while_the_failover_happens_goes_where_its_pin_has_gone() {
    for seed in 0..500 {
        let game = Game::new(&mut fastrand::Rng::with_seed(seed));
        let (pins, listener) = (game.pins(), &game.snapshot.listeners[0]);
        let who = game.who(&pins);
        let claim =
            |leaver: &Leaver| Claim::new((listener, who), claimant(&leaver.known), Moment::START);
        let claims: Vec<_> = game.foretold.iter().map(claim).collect();
        game.set_standing_of_edge0(Standing::Down);
        let _ = game.scope().fail_over(who, &"edge0".into(), Moment::START);
        for (leaver, mut claim) in game.foretold.iter().zip(claims) {
            claim.full = claim.full(listener, who, Moment::START);
            let request = claim.request(listener, &game.key, 7, Positions::NONE.with(0));
            let choice = choose(listener.candidates(), &request);
            if let Some(to) = &leaver.to {
                let at = &listener.nodes[choice.unwrap().index].endpoint.node;
                assert_eq!(at, to, "seed {seed}: {}", leaver.known.name);
            }
        }
    }
}

#[test]
fn one_who_is_sent_away_alone_goes_where_all_would_be_sent() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (game, scope) = (Game::new(&mut rng), 0);
        let pins = game.pins();
        let mut order: Vec<_> = game.foretold.iter().collect();
        rng.shuffle(&mut order);
        for leaver in order {
            let scope = &game.snapshot.scopes()[scope];
            let alone = scope.leaver(game.who(&pins), &leaver.known, "edge0", Moment::START);
            let to = alone.expect("it is there").to;
            assert_eq!(to, leaver.to, "seed {seed}: {}", leaver.known.name);
            if let Some(to) = to {
                pins.move_to(&leaver.key, &to, PinnedBy::Maintenance, Moment::START);
            }
        }
    }
}

#[test]
fn a_node_that_is_worse_on_one_listener_takes_nobody_while_another_is_good_on_all() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut game = loop {
        let game = Game::new(&mut rng);
        if game.snapshot.listeners[0].nodes.len() == 3 && game.homes.contains(&0) {
            break game;
        }
    };
    let set = |listener: usize, node: usize, standing| {
        let seat = &game.snapshot.listeners[listener].nodes[node];
        seat.endpoint.set_standing(standing);
    };
    let go = |game: &Game| -> Vec<Option<Arc<str>>> {
        let pins = game.pins();
        let leavers = game
            .scope()
            .leavers(game.who(&pins), "edge0", Moment::START);
        leavers.into_iter().map(|leaver| leaver.to).collect()
    };
    for (listener, node) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
        set(listener, node, Standing::Takes);
    }
    set(1, 1, Standing::Down);
    assert!(go(&game).iter().all(|to| to.as_deref() == Some("edge2")));
    // Good nowhere wholly: rather where it is good on one of them than where it is gone.
    set(0, 2, Standing::Down);
    assert!(go(&game).iter().all(Option::is_some));
    set(0, 1, Standing::Down);
    set(1, 2, Standing::Draining);
    assert!(go(&game).iter().all(Option::is_none));
    game.homes.clear();
    assert!(go(&game).is_empty());
}

/// What each listener says of a node, and it of all.
fn shared(game: &Game, node: usize) -> (Vec<Standing>, Option<Standing>) {
    let on = |listener: &Arc<Listener>| listener.nodes[node].endpoint.standing();
    let node = &game.snapshot.listeners[0].nodes[node].endpoint.node;
    let all = game.snapshot.listeners.iter().map(on).collect();
    (all, game.scope().standing(node))
}

/// How a partner that came was served, and by which node.
struct Visit {
    node: usize,
    /// Nodes that refused it, which was not known of them.
    refused: Vec<usize>,
}

impl Game {
    /// A partner comes by a listener, is served by the first node that does not refuse it (those of `dead` do), and
    /// the pin is settled.
    fn serve(
        &self,
        pins: &PinTable,
        known: &Arc<Known>,
        listener: &Listener,
        dead: &[u32],
    ) -> Visit {
        let who = self.who(pins);
        let mut claim = Claim::new((listener, who), claimant(known), Moment::START);
        let (mut tried, mut left, mut refused) = (Positions::NONE, Left::Judged, Vec::new());
        loop {
            let request = claim.request(listener, &self.key, 7, tried);
            let choice = choose(listener.candidates(), &request).unwrap();
            let endpoint = &listener.nodes[choice.index].endpoint;
            let is_last = tried.count() as usize + 1 == listener.nodes.len();
            if dead.contains(&endpoint.number) && endpoint.standing() != Standing::Down && !is_last
            {
                tried = tried.with(choice.index);
                refused.push(choice.index);
                if claim.pinned.as_ref() == Some(&endpoint.node) {
                    claim.full = claim.full(listener, who, Moment::START);
                    left = Left::Refused;
                }
                continue;
            }
            let key = claim.key.as_ref().unwrap();
            if let Some(from) = &claim.pinned
                && !stands_in(&choice, endpoint)
                && claim.leaves_pin(listener, left)
            {
                let by = PinnedBy::Placed;
                let _ = pins.move_from(key, from, &endpoint.node, by, Moment::START);
            }
            let node = choice.index;
            return Visit { node, refused };
        }
    }

    fn is_torn(&self) -> bool {
        let nodes = 0..self.snapshot.listeners[0].nodes.len();
        Measure::of(nodes.map(|node| shared(self, node).0)) == Measure::Best
    }

    /// What a visit must be like where nobody refused.
    fn check_visit(&self, visit: &Visit, listener: &Listener, pin: &str, what: &str) {
        let served = &listener.nodes[visit.node].endpoint;
        if self.is_torn() {
            let mut others = listener.nodes.iter();
            let is_better = others.any(|seat| seat.endpoint.standing().takes_pins());
            let is_bad = served.standing() == Standing::Down && is_better;
            assert!(!is_bad, "{what}: it is served where it can be");
        } else {
            assert_eq!(*served.node, *pin, "{what}: one answer for both listeners");
            assert_ne!(shared(self, visit.node).1, Some(Standing::Down), "{what}");
        }
    }
}

#[test]
fn whatever_listeners_see_a_pin_moves_no_more_often_than_that_changes_and_is_one_answer() {
    use Standing::{Down, Draining, Held, Suspect, Takes, Unproven};
    let any = [
        Takes, Takes, Takes, Suspect, Suspect, Held, Draining, Unproven, Down, Down,
    ];
    let (mut moves, mut torn, mut refusals) = (0, 0, 0);
    for seed in 0..100 {
        let (mut rng, what) = (fastrand::Rng::with_seed(seed), format!("seed {seed}"));
        let game = Game::new(&mut rng);
        let (pins, nodes) = (game.pins(), game.snapshot.listeners[0].nodes.len());
        let mut dead: Vec<u32> = Vec::new();
        for _ in 0..30 {
            let listener = &game.snapshot.listeners[rng.usize(..2)];
            let seat = &listener.nodes[rng.usize(..nodes)];
            let standing = any[rng.usize(..any.len())];
            seat.endpoint.set_standing(standing);
            dead.retain(|number| *number != seat.endpoint.number);
            if standing == Suspect && rng.bool() {
                dead.push(seat.endpoint.number);
            }
            let before = pins.list(Moment::START);
            if standing == Down && rng.bool() {
                let gone = &seat.endpoint.node;
                let _ = game.scope().fail_over(game.who(&pins), gone, Moment::START);
            }
            torn += usize::from(game.is_torn());
            let mut changes = 1;
            for (key, pin) in before {
                let name = key.subject.to_string();
                let known = game.snapshot.partners.by_name(&name).unwrap();
                let mut at = pins.look_up(&key, Moment::START).unwrap();
                let mut moved = usize::from(at != pin.node);
                for _ in 0..6 {
                    let listener = &game.snapshot.listeners[rng.usize(..2)];
                    let visit = game.serve(&pins, known, listener, &dead);
                    let now = pins.look_up(&key, Moment::START).unwrap();
                    moved += usize::from(now != at);
                    at = now;
                    if visit.refused.is_empty() {
                        game.check_visit(&visit, listener, &at, &what);
                    }
                    // Evidence, and soon the verdict.
                    for node in visit.refused {
                        listener.nodes[node].endpoint.set_standing(Down);
                        (changes, refusals) = (changes + 1, refusals + 1);
                    }
                }
                assert!(moved <= changes, "{what}: {name} moved {moved} times");
                moves += moved;
            }
        }
    }
    assert!(
        moves > 100 && torn > 100 && refusals > 20,
        "{moves}, {torn}, {refusals}"
    );
}
