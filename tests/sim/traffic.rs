//! Plays the bytes of sessions, and the search for nodes that traffic alone finds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use pinfold::clock::Moment;
use pinfold::config::model::ProbeKind;
use pinfold::pool::health::Event;
use pinfold::pool::traffic::{MUTE_AFTER, Traffic};

use crate::driver::{Driver, Rule, Session};

impl Driver {
    /// Some of the clients that have been answered before say something.
    pub(crate) fn ask(&mut self, at: Moment, rng: &mut Rng) {
        for session in self.sessions.iter_mut().filter(|session| session.answered) {
            if rng.u8(..3) == 0 {
                continue;
            }
            session.asked_at.get_or_insert(at);
            session.active_at = session.active_at.max(at);
        }
    }

    /// A client is all by itself on its node, and asks what is never answered.
    pub(crate) fn leave_alone(&mut self, node: &str, client: IpAddr) {
        self.ignored = Some(client);
        let is_other = |session: &Session| *session.node == *node && session.client.ip != client;
        while let Some(index) = self.sessions.iter().position(is_other) {
            self.end(index);
        }
    }

    /// Nodes that live and have something to say answer whoever waits.
    pub(crate) fn answer_clients(&mut self) {
        let now = self.now;
        for session in &mut self.sessions {
            let mut nodes = self.nodes.iter();
            let node =
                nodes.find(|node| node.name == session.node && node.address == session.address);
            if session.asked_at.is_some()
                && self.ignored != Some(session.client.ip)
                && node.is_some_and(|node| node.answers() && node.quiet_until <= now)
            {
                session.asked_at = None;
                session.active_at = now;
                self.heard.insert(Arc::clone(&session.node), now);
            }
        }
    }

    fn traffic_of(&self, name: &str) -> Traffic {
        let of_node = || {
            let sessions = self.sessions.iter();
            sessions.filter(|session| *session.node == *name && session.orphan_until.is_none())
        };
        let waits = || of_node().filter(|session| session.asked_at.is_some());
        let mut asked: BTreeMap<IpAddr, Moment> = BTreeMap::new();
        for session in waits() {
            let since = session.asked_at.unwrap_or(self.now);
            let first = asked.entry(session.client.ip).or_insert(since);
            *first = since.min(*first);
        }
        let mut asked: Vec<_> = asked.into_values().collect();
        asked.sort_unstable();
        let believed = usize::from(self.rule != Rule::BelievesOneClient);
        let also_asked = asked.get(believed);
        Traffic {
            asked: asked.first().copied(),
            also_asked: also_asked.copied(),
            heard: self.heard.get(name).copied(),
            late: self.late,
        }
    }

    /// When somebody has waited for long enough.
    pub(crate) fn mute_due(&self) -> Option<Moment> {
        if self.kind != ProbeKind::Tcp {
            return None;
        }
        let due = |node: &crate::world::Node| {
            let traffic = self.traffic_of(&node.name);
            let also = traffic.also_asked? + Duration::from_secs(1);
            let due = also.max(traffic.silent_since()? + MUTE_AFTER);
            Some(due).filter(|at| *at > self.now)
        };
        self.nodes.iter().filter_map(due).min()
    }

    /// Condemns nodes by their traffic, where probes cannot see.
    pub(crate) fn look_for_mute(&mut self) {
        if self.kind != ProbeKind::Tcp {
            return;
        }
        let mute: Vec<_> = self
            .nodes
            .iter()
            .filter(|node| {
                let siblings = self.heard.iter().filter(|(name, _)| **name != node.name);
                let sibling_heard = siblings.map(|(_, at)| *at).max();
                self.traffic_of(&node.name).is_mute(sibling_heard, self.now)
            })
            .map(|node| Arc::clone(&node.name))
            .collect();
        for name in mute {
            self.tally.muted += 1;
            self.observe(&name, Event::Mute);
        }
    }
}
