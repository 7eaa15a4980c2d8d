//! Plays the workers: dials, pins, leases, ends sessions.

use std::sync::Arc;

use pinfold::pool::health::Event;
use pinfold::pool::pins::{Lease, NewPin, PinKey, Pinned, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::pool::select::{Candidate, Choice, Positions, Request, Standing, Why, choose};
use pinfold::telemetry::outcome::Outcome;

use crate::driver::{Client, Driver, PIN_TTL, Rule, Session};

impl Driver {
    /// Nodes that live send their first byte; those that died reset their sessions.
    pub(crate) fn node_bytes(&mut self) {
        let mut index = 0;
        while let Some(session) = self.sessions.get(index) {
            let name = Arc::clone(&session.node);
            let node = self
                .nodes
                .iter()
                .find(|node| node.name == name && node.address == session.address);
            let (dead, answers) = node.map_or((false, true), |node| (node.dead, node.answers()));
            if dead {
                self.lose(index, Outcome::NodeReset);
                let client = self.end(index);
                if !client.subject.is_partner() {
                    self.recovery.lose(self.now);
                }
                self.observe(&name, Event::SessionReset { client: client.ip });
                self.reconnecting.push_back(client);
                continue;
            }
            if answers && !session.answered {
                self.first_byte(index);
            }
            index += 1;
        }
    }

    pub(crate) fn end_orphans(&mut self) {
        while let Some(index) = self
            .sessions
            .iter()
            .position(|session| session.orphan_until.is_some_and(|until| until <= self.now))
        {
            self.end(index);
        }
    }

    pub(crate) fn reconnect(&mut self) {
        // Nobody redials for ever within one step, however many nodes refuse.
        for _ in 0..self.reconnecting.len() {
            if let Some(client) = self.reconnecting.pop_front() {
                self.connect(client);
            }
        }
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.nodes.iter().map(|node| {
            let sessions = self
                .sessions
                .iter()
                .filter(|session| session.node == node.name);
            Candidate {
                name: &node.name,
                weight: node.weight,
                standing: self
                    .standings
                    .get(&node.name)
                    .copied()
                    .unwrap_or(Standing::Unproven),
                warmth: self.group.warmth(&node.name, self.now),
                sessions: u32::try_from(sessions.count()).unwrap(),
            }
        })
    }

    pub(crate) fn choose(
        &self,
        subject: &Subject,
        pinned: Option<&Arc<str>>,
        tried: Positions,
        full: Positions,
    ) -> Option<Choice> {
        let position = |name: &Arc<str>| self.nodes.iter().position(|node| node.name == *name);
        let request = Request {
            key: &self.key,
            subject,
            balance: self.balance,
            pinned: pinned.and_then(position),
            turn: self.turn,
            tried,
            full,
        };
        choose(self.candidates(), &request)
    }

    /// Dials until a node accepts, once it may.
    pub(crate) fn connect(&mut self, client: Client) {
        if let Some((absent, until)) = &self.absent
            && *absent == client.subject
            && *until > self.now
        {
            return;
        }
        let key = self.pin_key(&client.subject);
        let pinned = self.pins.look_up(&key, self.now);
        let choice = self.choose(
            &client.subject,
            pinned.as_ref(),
            Positions::NONE,
            Positions::NONE,
        );
        let node = choice.and_then(|choice| self.nodes.get(choice.index));
        if let Some(name) = node.map(|node| Arc::clone(&node.name))
            && !self.may_go_ahead(&client, &name)
        {
            return;
        }
        self.connect_admitted(client);
    }

    /// Dials until a node accepts.
    pub(crate) fn connect_admitted(&mut self, client: Client) {
        self.turn += 1;
        let key = self.pin_key(&client.subject);
        let pinned = self.pins.look_up(&key, self.now);
        let (mut tried, mut refused) = (Positions::NONE, false);
        let share = self.legacy_share().filter(|_| client.subject.is_partner());
        let mut full = self.full(&key, pinned.as_ref());
        while let Some(choice) = self.choose(&client.subject, pinned.as_ref(), tried, full) {
            if tried == Positions::NONE {
                self.check_home(&client.subject, pinned.as_ref(), choice.index);
                if pinned.is_none() {
                    self.check_share(share.as_ref(), choice.index);
                }
            }
            let Some(node) = self.nodes.get(choice.index) else {
                return;
            };
            let (name, dead, answers) = (Arc::clone(&node.name), node.dead, node.answers());
            if dead {
                tried = tried.with(choice.index);
                self.observe(&name, Event::DialRefused);
                if pinned.as_ref() == Some(&name) {
                    refused = true;
                    full = self.full(&key, pinned.as_ref());
                }
                continue;
            }
            self.tally.sessions += 1;
            self.sessions.push(Session {
                address: node.address,
                lease: self.lease_on(&key, &name),
                client,
                node: name,
                since: self.now,
                answered: false,
                asked_at: None,
                active_at: self.now,
                why: choice.why,
                refused,
                orphan_until: None,
            });
            if answers {
                self.first_byte(self.sessions.len() - 1);
            }
            return;
        }
    }

    /// A partner's new connections go to one node, its own, for as long as that may take them.
    fn check_home(&mut self, subject: &Subject, pinned: Option<&Arc<str>>, index: usize) {
        let (Some(home), Some(node)) = (pinned, self.nodes.get(index)) else {
            return;
        };
        let keeps = matches!(
            self.standings.get(home),
            Some(Standing::Takes | Standing::Suspect | Standing::Held)
        );
        if subject.is_partner() && keeps && node.name != *home {
            self.violation = Some(format!(
                "{subject} is pinned to {home} and goes to {}",
                node.name
            ));
        }
    }

    pub(crate) fn lease_on(&self, key: &PinKey, node: &Arc<str>) -> Option<Lease> {
        let named = self.pins.look_up(key, self.now)?;
        if named == *node {
            self.pins.lease(key, self.now)
        } else {
            None
        }
    }

    /// The node has answered: pins and leases follow.
    pub(crate) fn first_byte(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        session.answered = true;
        session.asked_at = None;
        if !session.client.subject.is_partner() {
            self.recovery.recovery.serve(now);
        }
        self.heard.insert(Arc::clone(&session.node), now);
        self.settle_pin(index);
        self.note_served(index);
    }

    fn settle_pin(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let (why, refused, node) = (session.why, session.refused, Arc::clone(&session.node));
        let leased = session.lease.is_some();
        let looks_legacy = session.client.looks_legacy;
        let subject = session.client.subject.clone();
        let member = session.orphan_until.is_none();
        if why != Why::Placed || leased || !member {
            return;
        }
        let key = self.pin_key(&subject);
        let standing = |name: &Arc<str>| self.standings.get(name).copied();
        match self.pins.look_up(&key, now) {
            None => {
                let by = PinnedBy::Placed;
                let new = NewPin {
                    node: Arc::clone(&node),
                    by,
                    revision: 1,
                    ttl: PIN_TTL,
                    looks_legacy,
                };
                let _: Pinned = self.pins.pin(&key, new, now);
            }
            Some(named) if named != node => {
                let leaves = matches!(
                    standing(&named),
                    Some(Standing::Draining | Standing::Never | Standing::Down) | None
                );
                if refused || leaves {
                    let by = if refused {
                        PinnedBy::DialFailed
                    } else {
                        PinnedBy::Placed
                    };
                    self.tally.dial_failed += u64::from(refused);
                    self.pins.move_to(&key, &node, by, now);
                    self.excused.push(named);
                }
            }
            Some(_) => {}
        }
        let lease = self.lease_on(&key, &node);
        if let Some(session) = self.sessions.get_mut(index) {
            session.lease = lease;
        }
    }

    /// Whether the pin names another node than that which serves the session.
    pub(crate) fn is_pinned_elsewhere(&self, session: &Session) -> bool {
        let key = self.pin_key(&session.client.subject);
        let named = self.pins.look_up(&key, self.now);
        named.is_some_and(|named| named != session.node)
    }

    /// Ends one session.
    pub(crate) fn end(&mut self, index: usize) -> Client {
        let session = self.sessions.swap_remove(index);
        if let Some(lease) = session.lease
            && self.rule != Rule::LeaksLeases
        {
            self.pins.release(lease, self.now);
        }
        session.client
    }

    /// Ends all sessions of a node; partners come back at once.
    pub(crate) fn cut(&mut self, name: &Arc<str>, outcome: Outcome) {
        while let Some(index) = self
            .sessions
            .iter()
            .position(|session| session.node == *name && session.orphan_until.is_none())
        {
            if outcome == Outcome::NodeDown {
                self.lose(index, outcome);
            }
            let client = self.end(index);
            if client.subject.is_partner() {
                self.reconnecting.push_back(client);
            } else {
                self.recovery.lose(self.now);
            }
        }
    }
}
