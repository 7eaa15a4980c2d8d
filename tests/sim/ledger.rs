//! Plays the ledger, beside a naive book of who is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::governor::ledger::{Cut, Ledger};
use pinfold::pool::pins::{Moved, Pin, PinKey, PinnedBy};
use pinfold::pool::placement::Subject;
use pinfold::pool::select::Why;
use pinfold::relay::report::{Lost, Served};
use pinfold::telemetry::outcome::Outcome;

use crate::driver::{Driver, Rule};

/// How long a partner may be missing in this world.
const ALARM_AFTER: Duration = Duration::from_secs(2);
/// Losses this close to a cut belong to it.
const RECENT: Duration = Duration::from_secs(30);
const LISTENER: &str = "federation";

/// The ledger, and what must stand in it.
#[derive(Default)]
pub(crate) struct Books {
    ledger: Ledger,
    missing: BTreeMap<Arc<str>, Missing>,
    /// Who came back before its node was condemned.
    unclear: Vec<(Arc<str>, Missing)>,
    cuts: Vec<(Arc<str>, Moment)>,
    served: BTreeSet<(Arc<str>, Arc<str>, Option<Moment>)>,
    /// Where failovers moved pins, and when.
    pub(crate) moved: BTreeMap<PinKey, (Arc<str>, Moment)>,
    pub(crate) was_up: BTreeSet<Arc<str>>,
    next_look: Moment,
    /// Something was told since it was looked at.
    has_news: bool,
    last: BTreeMap<Arc<str>, (Arc<str>, Moment)>,
}

/// A partner without its node.
#[derive(Clone, Debug)]
struct Missing {
    node: Arc<str>,
    endpoint: u32,
    cut_off_since: Moment,
    ended: Moment,
    is_fault: bool,
    is_alarmed: bool,
}

impl Books {
    /// Whether a failover of the lost node was close to the loss.
    fn is_taken(&self, lost: &Missing) -> bool {
        let apart = |cut: Moment| cut.since(lost.ended).max(lost.ended.since(cut));
        let mut cuts = self.cuts.iter();
        cuts.any(|(node, cut)| *node == lost.node && apart(*cut) < RECENT)
    }

    /// The node that served a partner last after a failover, and since when.
    pub(crate) fn last_served(&self, partner: &str) -> Option<(Arc<str>, Moment)> {
        self.last.get(partner).cloned()
    }

    /// What the ledger and the naive book disagree about, or the ledger and the pins.
    pub(crate) fn disagreement(&mut self, pins: &[(PinKey, Pin)]) -> Option<String> {
        if std::mem::take(&mut self.has_news)
            && let Some(wrong) = self.misbelief()
        {
            return Some(wrong);
        }
        let by_failover =
            |(key, pin): &&(PinKey, Pin)| key.subject.is_partner() && pin.by == PinnedBy::Failover;
        let mut pins = pins.iter().filter(by_failover);
        let is_elsewhere = |(key, pin): &&(PinKey, Pin)| {
            self.moved.get(key) != Some(&(Arc::clone(&pin.node), pin.since))
        };
        let (key, pin) = pins.find(is_elsewhere)?;
        Some(format!(
            "{} is on {} by a failover that the ledger has otherwise",
            key.subject, pin.node
        ))
    }

    /// What the ledger has otherwise than it was.
    fn misbelief(&mut self) -> Option<String> {
        let served = self.ledger.last_served().into_iter();
        let served =
            served.map(|((partner, _), (node, at))| (Arc::from(partner), (Arc::clone(node), at)));
        self.last = served.collect();
        let (told, true_) = (self.ledger.awaited(), self.missing.len());
        if told != true_ {
            return Some(format!("{told} are awaited and {true_} are missing"));
        }
        let faults = self.missing.values().filter(|each| each.is_fault).count();
        if self.ledger.missing() != faults {
            let told = self.ledger.missing();
            return Some(format!("{told} miss their node, and {faults} should"));
        }
        for failover in self.ledger.failovers() {
            for gap in &failover.partners {
                let is_so = match (&gap.node, gap.served_at) {
                    (None, _) => self.missing.contains_key(&gap.partner) && !gap.is_over,
                    (Some(node), at) => {
                        let served = (Arc::clone(&gap.partner), Arc::clone(node), at);
                        self.served.contains(&served)
                            && gap.connected_after_ms <= gap.served_after_ms
                    }
                };
                if !is_so {
                    return Some(format!("failover {} invents {gap:?}", failover.number));
                }
            }
        }
        None
    }
}

/// The number of an endpoint.
fn endpoint(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => address.ip().to_bits(),
        SocketAddr::V6(_) => 0,
    }
}

impl Driver {
    /// A session ends by its node's doing: a partner's loss is told.
    pub(crate) fn lose(&mut self, index: usize, outcome: Outcome) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let Subject::Partner(partner) = &session.client.subject else {
            return;
        };
        let lost = Lost {
            partner: Arc::clone(partner),
            listener: Arc::from(LISTENER),
            endpoint: endpoint(session.address),
            node: Arc::clone(&session.node),
            cut_off_since: session.active_at,
            ended: self.now,
            active_at: session.active_at,
            outcome,
        };
        let mut missing = Missing {
            node: Arc::clone(&lost.node),
            endpoint: lost.endpoint,
            cut_off_since: lost.cut_off_since,
            ended: lost.ended,
            is_fault: outcome != Outcome::NodeClosed,
            is_alarmed: false,
        };
        missing.is_fault |= self.books.is_taken(&missing);
        let known = self.books.missing.get(partner);
        if known.is_none_or(|known| !known.is_fault && outcome != Outcome::NodeClosed) {
            self.books.missing.insert(Arc::clone(partner), missing);
        }
        self.books.has_news = true;
        self.tally.lost += 1;
        self.books.ledger.lost(lost);
    }

    /// A session got its first byte.
    pub(crate) fn note_served(&mut self, index: usize) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let Subject::Partner(partner) = &session.client.subject else {
            return;
        };
        let (partner, node) = (Arc::clone(partner), Arc::clone(&session.node));
        let served = Served {
            partner: Arc::clone(&partner),
            listener: Arc::from(LISTENER),
            endpoint: endpoint(session.address),
            connected: session.since,
            first_byte: self.now,
            is_home: matches!(session.why, Why::Placed | Why::Pinned)
                && session.orphan_until.is_none()
                && !self.is_pinned_elsewhere(session),
        };
        self.books.has_news = true;
        let home = served.is_home.then_some(self.now);
        let told = (Arc::clone(&partner), Arc::clone(&node), home);
        self.books.served.insert(told);
        let missing = self.books.missing.remove(&partner);
        let gap = if self.rule == Rule::ForgetsWhoIsBack {
            None
        } else {
            self.books.ledger.served(served, &node)
        };
        let Some(missing) = missing else {
            return;
        };
        let is_taken = self.books.is_taken(&missing);
        let expected = is_taken.then(|| self.now.since(missing.cut_off_since));
        if gap != expected {
            let violation =
                format!("{partner} was cut off for {expected:?}, by the ledger {gap:?}");
            self.violation = Some(violation);
        }
        self.tally.timed += u64::from(is_taken);
        if !is_taken {
            self.books.unclear.push((partner, missing));
        }
    }

    /// A node's sessions are about to be cut, and its pins have moved.
    pub(crate) fn write_cut(&mut self, node: &Arc<str>, first_evidence: Moment, moved: &[Moved]) {
        let now = self.now;
        for each in moved {
            let moved = (Arc::clone(&each.to), now);
            self.books.moved.insert(each.key.clone(), moved);
        }
        let Some(address) = self.node(node).map(|node| node.address) else {
            return;
        };
        let of_node = |each: &&crate::driver::Session| each.address == address;
        let sessions = self.sessions.iter().filter(of_node).count();
        let was_up = self.books.was_up.remove(node);
        if sessions == 0 && moved.is_empty() && !was_up {
            return;
        }
        let cut = Cut {
            pool: Arc::clone(&self.pool),
            node: Arc::clone(node),
            endpoint: endpoint(address),
            listeners: vec![Arc::from(LISTENER)],
            first_evidence,
            evidence: "invented",
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            pins_moved: moved.len(),
        };
        let number = cut.endpoint;
        let back = if self.rule == Rule::KeepsCutsToItself {
            Vec::new()
        } else {
            self.books.ledger.cut(cut, now).1
        };
        self.books.has_news = true;
        self.books.cuts.push((Arc::clone(node), now));
        let concerns = |lost: &Missing| lost.endpoint == number && now.since(lost.ended) < RECENT;
        let lost = self.books.missing.values_mut();
        lost.filter(|each| concerns(each))
            .for_each(|each| each.is_fault = true);
        let unclear = &mut self.books.unclear;
        let expected: Vec<_> = unclear.extract_if(.., |(_, lost)| concerns(lost)).collect();
        let expected: Vec<_> = expected.iter().map(|(partner, _)| partner).collect();
        if !back
            .iter()
            .map(|back| &back.partner)
            .eq(expected.iter().copied())
        {
            self.violation = Some(format!(
                "{expected:?} are back, and the ledger has {back:?}"
            ));
        }
    }

    /// Once a second: who never came back.
    pub(crate) fn look_for_missing(&mut self) {
        let now = self.now;
        if self.books.next_look > now {
            return;
        }
        self.books.next_look = now + Duration::from_secs(1);
        let is_connected = |partner: &Arc<str>| {
            let key = self.pin_key(&Subject::Partner(Arc::clone(partner)));
            self.pins
                .inspect(&key, now)
                .is_some_and(|pin| pin.sessions > 0)
        };
        let is_due = |missing: &Missing| {
            missing.is_fault && !missing.is_alarmed && now.since(missing.ended) >= ALARM_AFTER
        };
        let due: Vec<_> = self
            .books
            .missing
            .iter()
            .filter(|(partner, missing)| is_due(missing) && !is_connected(partner))
            .map(|(partner, _)| Arc::clone(partner))
            .collect();
        let counts_all = self.rule == Rule::AlarmsTheConnected;
        let connected: BTreeSet<_> = self
            .books
            .missing
            .keys()
            .filter(|partner| is_connected(partner))
            .map(Arc::clone)
            .collect();
        let ledger = &mut self.books.ledger;
        ledger.forget(now);
        let told = ledger.raise_alarms(
            |_| Some(ALARM_AFTER),
            |lost| !counts_all && connected.contains(&lost.partner),
            now,
        );
        if !told.iter().map(|each| &each.partner).eq(&due) {
            self.violation = Some(format!("{due:?} never came back, and {told:?} is told"));
        }
        self.tally.never_came_back += told.len() as u64;
        for partner in due {
            if let Some(missing) = self.books.missing.get_mut(&partner) {
                missing.is_alarmed = true;
            }
        }
    }
}
