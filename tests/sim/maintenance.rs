//! Plays the administrator who empties nodes for a patch, goes on, undoes it, or is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;
use pinfold::config::model::NodeState;
use pinfold::pool::evacuation::Evacuation;
use pinfold::pool::maintenance::Moves;
use pinfold::pool::pins::{Order, Pin, PinKey, PinnedBy};
use pinfold::pool::select::Standing;
use pinfold::store::{Administered, Maintenance, Wanted};

use crate::driver::{Driver, Rule};

/// What administrators want, and what must come of undoing it.
#[derive(Default)]
pub(crate) struct Conduct {
    /// Administrators never rest.
    pub(crate) is_busy: bool,
    words: Vec<Administered>,
    moves: Moves,
    under_way: Option<UnderWay>,
}

impl Conduct {
    pub(crate) fn new(is_busy: bool) -> Self {
        Self {
            is_busy,
            ..Self::default()
        }
    }
}

/// A maintenance, as a naive book has it.
struct UnderWay {
    node: Arc<str>,
    word: Option<Administered>,
    /// What each pin said, and what it said after it was moved.
    was: BTreeMap<PinKey, (Pin, Pin)>,
}

impl Driver {
    /// Nodes that the configuration has are as administrators want them.
    pub(crate) fn obey_words(&mut self) {
        for node in &mut self.nodes {
            let mut words = self.conduct.words.iter();
            let word = words.find(|word| *word.node == *node.name);
            node.admin = word.map_or(NodeState::Active, |word| word.state.into());
        }
    }

    pub(crate) fn is_maintained(&self, index: usize) -> bool {
        let under_way = self.conduct.under_way.as_ref();
        under_way.is_some_and(|under_way| {
            self.nodes
                .get(index)
                .is_some_and(|node| node.name == under_way.node)
        })
    }

    /// The time on the administrators' clock.
    fn wall(&self) -> Timestamp {
        let micros = i64::try_from(self.now.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap()
    }

    fn change_word(
        &mut self,
        index: usize,
        change: impl FnOnce(Option<Administered>) -> Option<Administered>,
    ) {
        let Some(name) = self.nodes.get(index).map(|node| Arc::clone(&node.name)) else {
            return;
        };
        let words = &mut self.conduct.words;
        let place = words.iter().position(|word| *word.node == *name);
        let word = change(place.map(|place| words.remove(place)));
        let state = word.as_ref().map(|word| word.state.into());
        words.extend(word);
        self.set_admin(index, state.unwrap_or(NodeState::Active));
    }

    /// An order of an administrator: `resume`, `drain` or `disable`.
    pub(crate) fn administer(&mut self, index: usize, admin: NodeState) {
        let since = self.wall();
        let name = self.nodes.get(index).map(|node| Arc::clone(&node.name));
        let Some(name) = name else { return };
        if admin == NodeState::Active {
            self.conduct.moves.forget(&name, |_| true);
            if self.is_maintained(index) {
                self.conduct.under_way = None;
            }
        }
        let (pool, node) = (self.pool.to_string(), name.to_string());
        self.change_word(index, |word| {
            let state = match admin {
                NodeState::Active => return None,
                NodeState::Draining => Wanted::Draining,
                NodeState::Disabled => Wanted::Disabled,
            };
            Some(Administered {
                pool,
                node,
                state,
                since,
                by: "ben".into(),
                reason: None,
                deadline: None,
                maintenance: word.and_then(|word| word.maintenance),
            })
        });
    }

    /// The next step of a maintenance, or the first of another.
    pub(crate) fn conduct(&mut self, rng: &mut Rng, index: usize) -> String {
        let Some(under_way) = &self.conduct.under_way else {
            return self.begin(index);
        };
        let name = Arc::clone(&under_way.node);
        let Some(maintained) = self.nodes.iter().position(|node| node.name == name) else {
            self.conduct.under_way = None;
            return format!("{name} is gone");
        };
        match rng.u8(..8) {
            0..4 => self.send_away(&name),
            4..6 => self.undo(maintained),
            6 => self.begin(index),
            _ => self.pin_by_hand(&name, rng),
        }
    }

    fn begin(&mut self, index: usize) -> String {
        let Some(node) = self.nodes.get(index) else {
            return String::new();
        };
        let (name, state, since) = (Arc::clone(&node.name), node.admin, self.wall());
        let is_there = |word: &Administered| self.node(&word.node).is_some();
        let other = Administered::in_the_way(&self.conduct.words, &name, is_there);
        if other.is_some() && self.rule != Rule::MaintainsTwo {
            self.tally.busy += 1;
            return format!("{name} is not maintained, since another is");
        }
        let mut words = self.conduct.words.iter();
        let before = words.find(|word| *word.node == *name).cloned();
        let begun = Maintenance {
            since,
            by: "anna".into(),
            reason: None,
            before: None,
        };
        let pool = Arc::clone(&self.pool);
        self.change_word(index, |word| {
            let place = (&*pool, &*name);
            Some(Administered::maintained(place, word, state, &begun))
        });
        if !self.is_maintained(index) {
            self.conduct.under_way = Some(UnderWay {
                node: Arc::clone(&name),
                word: before,
                was: BTreeMap::new(),
            });
        }
        format!("the maintenance of {name} begins")
    }

    /// Who is pinned to a node, and where each would go.
    fn leavers(&self, node: &Arc<str>) -> Vec<(PinKey, Option<Arc<str>>)> {
        let share = self.legacy_share();
        let mut evacuation = Evacuation::new(&self.key, node, self.candidates(), share);
        let pins = self.pin_list().into_iter();
        let there = pins.filter(|(key, pin)| key.subject.is_partner() && pin.node == *node);
        let place = |(key, _): (PinKey, Pin)| {
            let to = evacuation.next(&key.subject, true);
            let to = to.and_then(|to| self.nodes.get(to));
            (key, to.map(|node| Arc::clone(&node.name)))
        };
        there.map(place).collect()
    }

    /// Partner by partner, each as a drill has foretold.
    fn send_away(&mut self, node: &Arc<str>) -> String {
        let foretold = self.leavers(node);
        for (key, drill) in &foretold {
            let mut now = self.leavers(node).into_iter();
            let to = if self.rule == Rule::ForetellsWithoutTheOthers {
                let candidates: Vec<_> = self.candidates().collect();
                let alone =
                    Evacuation::new(&self.key, node, candidates, None).next(&key.subject, false);
                alone
                    .and_then(|to| self.nodes.get(to))
                    .map(|to| Arc::clone(&to.name))
            } else {
                now.find(|(other, _)| other == key).and_then(|(_, to)| to)
            };
            if to != *drill {
                let violation =
                    format!("{} was to go to {drill:?} and goes to {to:?}", key.subject);
                self.violation = Some(violation);
            }
            let anywhere = || {
                let other = self.nodes.iter().find(|other| other.name != *node);
                other.map(|other| Arc::clone(&other.name))
            };
            let to = match self.rule == Rule::SendsAwayAnywhere {
                true => anywhere(),
                false => to,
            };
            if let Some(to) = to {
                self.let_go(key, node, &to);
            }
        }
        format!("{} partners are sent away from {node}", foretold.len())
    }

    fn let_go(&mut self, key: &PinKey, from: &Arc<str>, to: &Arc<str>) {
        let standing = self.standings.get(to).copied();
        if !standing.is_some_and(Standing::takes_pins) {
            self.violation = Some(format!(
                "{} is sent to {to}, which is {standing:?}",
                key.subject
            ));
        }
        let word = Order {
            by: "anna".into(),
            reason: None,
            at: self.wall().as_microsecond(),
        };
        let Some(before) = self.pins.inspect(key, self.now) else {
            return;
        };
        let (moves, pins) = (&mut self.conduct.moves, &self.pins);
        let has_gone = moves.let_go(pins, key, (from, to), Arc::new(word), self.now);
        let after = self.pins.inspect(key, self.now);
        if let (true, Some(under_way), Some(after)) = (has_gone, &mut self.conduct.under_way, after)
        {
            under_way.was.insert(key.clone(), (before, after));
        }
        self.excused.push(Arc::clone(from));
        self.tally.sent_away += 1;
        let is_stray = |session: &crate::driver::Session| {
            session.client.subject == key.subject && session.node == *from
        };
        while let Some(index) = self.sessions.iter().position(is_stray) {
            let client = self.end(index);
            self.reconnecting.push_back(client);
        }
    }

    /// It gets worse: everything is as it was, save what others have done.
    fn undo(&mut self, index: usize) -> String {
        let Some(UnderWay { node, word, was }) = self.conduct.under_way.take() else {
            return String::new();
        };
        let before = self.pin_list();
        let mut words = self.conduct.words.iter();
        let begun = words.find(|word| *word.node == *node);
        let since = begun.and_then(|word| word.maintenance.as_ref());
        let since = since.map_or(i64::MIN, |begun| begun.since.as_microsecond());
        let is_of_this =
            |_: &PinKey, pin: &Pin| pin.order.as_ref().is_some_and(|order| order.at >= since);
        let (moves, pins) = (&mut self.conduct.moves, &self.pins);
        let restored = moves.put_back(pins, &node, |_| true, is_of_this, self.now);
        if self.rule == Rule::UndoesWhatOthersDid {
            for key in was.keys() {
                self.pins.move_to(key, &node, PinnedBy::Reverted, self.now);
            }
        }
        for each in &restored {
            self.excused.push(Arc::clone(&each.from));
            let moved = (Arc::clone(&node), self.now);
            self.books.moved.insert(each.key.clone(), moved);
        }
        for (key, pin) in before {
            self.check_undone(&key, &pin, was.get(&key));
        }
        let forgets = self.rule == Rule::ForgetsWhatWasWanted;
        self.change_word(index, |word| match forgets {
            true => None,
            false => Administered::as_before(word),
        });
        self.conduct.moves.forget(&node, |_| true);
        let mut words = self.conduct.words.iter();
        let now = words.find(|word| *word.node == *node);
        if now != word.as_ref() {
            let violation = format!("{node} was to be {word:?}, and is to be {now:?}");
            self.violation = Some(violation);
        }
        format!(
            "the maintenance of {node} is undone, {} return",
            restored.len()
        )
    }

    /// A pin says again what it said before, or what others have made it say.
    fn check_undone(&mut self, key: &PinKey, pin: &Pin, was: Option<&(Pin, Pin)>) {
        let what = |pin: &Pin| {
            (
                Arc::clone(&pin.node),
                pin.by,
                pin.order.clone(),
                pin.home.clone(),
            )
        };
        // Sessions may have come and gone under it.
        let untouched = |moved: &Pin| what(moved) == what(pin) && moved.since == pin.since;
        let expected = match was {
            Some((before, moved)) if untouched(moved) => {
                self.tally.put_back += 1;
                what(before)
            }
            Some(_) => {
                self.tally.left_alone += 1;
                what(pin)
            }
            None => what(pin),
        };
        let now = self.pins.inspect(key, self.now).map(|pin| what(&pin));
        if now.as_ref() != Some(&expected) {
            let violation = format!("{} was to be {expected:?}, and is {now:?}", key.subject);
            self.violation = Some(violation);
        }
    }

    /// An administrator sends a partner to the node all the same.
    fn pin_by_hand(&mut self, node: &Arc<str>, rng: &mut Rng) -> String {
        let partners = self.pin_list();
        let mut partners: Vec<_> = partners
            .iter()
            .filter(|(key, _)| key.subject.is_partner())
            .collect();
        rng.shuffle(&mut partners);
        let Some((key, _)) = partners.first() else {
            return "nobody is pinned".into();
        };
        if let Some(from) = self.pins.move_to(key, node, PinnedBy::ByHand, self.now) {
            self.excused.push(from);
        }
        format!("{} is pinned to {node} by hand", key.subject)
    }

    /// Never two nodes of the pool at once.
    pub(crate) fn one_is_maintained(&self) -> Result<(), String> {
        let words = self.conduct.words.iter();
        let maintained =
            words.filter(|word| word.maintenance.is_some() && self.node(&word.node).is_some());
        match maintained.count() {
            0 | 1 => Ok(()),
            count => Err(format!("{count} nodes are maintained at once")),
        }
    }
}
