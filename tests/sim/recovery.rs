//! Plays the admission of strangers while the pool recovers, and the share of legacy partners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pinfold::clock::Moment;
use pinfold::config::model::Rate;
use pinfold::pool::evacuation::Evacuation;
use pinfold::pool::invariant::Admitted;
use pinfold::pool::pace::{Admittance, Pace, Recovery};
use pinfold::pool::pins::PinKey;
use pinfold::pool::select::Positions;
use pinfold::pool::share::Share;

use crate::driver::{Client, Driver, Rule};

pub(crate) const PACE: Rate = Rate {
    count: 4,
    per: Duration::from_secs(1),
};

/// The recovery of the pool, and what each node has admitted meanwhile.
#[derive(Default)]
pub(crate) struct Recovering {
    pub(crate) recovery: Arc<Recovery>,
    paces: BTreeMap<Arc<str>, Pace>,
    /// Who may go ahead, and when.
    waiting: Vec<(Moment, Client)>,
    /// When strangers were lost.
    lost: Vec<Moment>,
    /// When each node admitted a stranger.
    admitted: BTreeMap<Arc<str>, Vec<Moment>>,
}

impl Recovering {
    pub(crate) fn next(&self) -> Option<Moment> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    /// A stranger lost its session by a node's fault.
    pub(crate) fn lose(&mut self, now: Moment) {
        self.recovery.lose();
        self.lost.push(now);
    }

    /// A node is cut.
    pub(crate) fn begin(&mut self, first_evidence: Moment, now: Moment) {
        let lately = |at: &&Moment| **at + Duration::from_millis(100) >= first_evidence;
        let lately = self.lost.iter().filter(lately).count() as u64;
        self.recovery.begin(self.recovery.lost() - lately, now);
    }

    /// How much each node has admitted, for the watch of the live process.
    pub(crate) fn counts(&self) -> Vec<Admitted> {
        let count = |(node, pace): (&Arc<str>, &Pace)| Admitted {
            node: (Arc::from("edge"), Arc::clone(node)),
            count: pace.admitted(),
            rate: PACE,
        };
        self.paces.iter().map(count).collect()
    }

    /// The first node that has admitted more within a second than it may.
    pub(crate) fn too_fast(&self) -> Option<(&Arc<str>, usize)> {
        // What may come together besides is less than one.
        let most = PACE.count as usize + 1;
        self.admitted.iter().find_map(|(node, times)| {
            let last = times.iter().max()?;
            let within = times
                .iter()
                .filter(|at| last.since(**at) < PACE.per)
                .count();
            (within > most).then_some((node, within))
        })
    }
}

impl Driver {
    /// Whether a client may go ahead to `node` now; if not, it waits or is turned away.
    pub(crate) fn may_go_ahead(&mut self, client: &Client, node: &Arc<str>) -> bool {
        let now = self.now;
        let recovering = &mut self.recovery;
        if client.subject.is_partner() || !recovering.recovery.is_under_way(now) {
            return true;
        }
        let recovery = Arc::clone(&recovering.recovery);
        let pace = recovering
            .paces
            .entry(Arc::clone(node))
            .or_insert_with(|| Pace::new(recovery));
        let admittance = pace.admit(PACE, now);
        let times = recovering.admitted.entry(Arc::clone(node)).or_default();
        match admittance {
            _ if self.rule == Rule::IgnoresPace => {
                times.push(now);
                true
            }
            Admittance::Now => {
                times.push(now);
                true
            }
            Admittance::At(at) => {
                times.push(at);
                recovering.waiting.push((at, client.clone()));
                self.tally.paced += 1;
                false
            }
            Admittance::Never => {
                self.tally.refused += 1;
                false
            }
        }
    }

    /// Those go ahead whose turn has come.
    pub(crate) fn admit_waiting(&mut self) {
        let now = self.now;
        let due = |(at, _): &mut (Moment, Client)| *at <= now;
        let due: Vec<_> = self.recovery.waiting.extract_if(.., due).collect();
        for (_, client) in due {
            self.connect_admitted(client);
        }
    }

    /// Who has how many legacy partners; all partners of this world are.
    pub(crate) fn legacy_share(&self) -> Option<Share> {
        (self.share < 100).then(|| {
            let pins = self.pin_list();
            let of_partners = pins.into_iter().filter(|(key, _)| key.subject.is_partner());
            Share::new(self.share, of_partners.map(|(_, pin)| pin.node))
        })
    }

    /// Nodes that have their share, for one that has no pin or whose node does not take it.
    pub(crate) fn full(&self, key: &PinKey, pinned: Option<&Arc<str>>) -> Positions {
        let share = self.legacy_share().filter(|_| {
            let is_limited = self.rule != Rule::IgnoresShare;
            is_limited && key.subject.is_partner()
        });
        let Some(mut share) = share else {
            return Positions::NONE;
        };
        let candidates = || self.candidates().collect::<Vec<_>>();
        let now = self.pins.look_up(key, self.now);
        let Some(node) = pinned.filter(|pinned| now.as_ref() == Some(*pinned)) else {
            if let Some(now) = now {
                share.leave(&now);
            }
            return share.full(&candidates());
        };
        let mut evacuation = Evacuation::new(&self.key, node, candidates(), Some(share));
        for (other, pin) in self.pin_list() {
            if other.subject.is_partner() && pin.node == *node && other < *key {
                let _ = evacuation.next(&other.subject, true);
            }
        }
        evacuation.full()
    }

    /// A partner was placed on the node at `index`: rightly, if it is not full or all like it are.
    pub(crate) fn check_share(&mut self, share: Option<&Share>, index: usize) {
        let (Some(share), Some(node)) = (share, self.nodes.get(index)) else {
            return;
        };
        let candidates: Vec<_> = self.candidates().collect();
        let full = share.full(&candidates);
        let own = candidates.get(index).map(|node| node.standing);
        let mut others = candidates.iter().enumerate();
        let alternative =
            others.find(|(other, node)| Some(node.standing) == own && !full.contains(*other));
        if full.contains(index) {
            if let Some((_, other)) = alternative {
                let (name, other) = (&node.name, other.name);
                let violation = format!("{name} has its share, and {other} has not");
                self.violation = Some(violation);
            }
        } else if full.count() > 0 {
            self.tally.shared += 1;
        }
    }
}
