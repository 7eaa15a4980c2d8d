//! What must never be so, watched in the live process and in the simulation by the same functions.
//!
//! Owns nothing of what it looks at. Each rule answers how many break it now; a number above 0 is a defect,
//! and the process says so instead of hiding it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::pins::{Pin, PinKey, PinnedBy};
use crate::clock::Moment;
use crate::config::model::Rate;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// No partner stays pinned to a dead node while another takes sessions, unless an administrator pinned it
    /// there after the node's death: then it is left to its next connection, which goes elsewhere.
    Stranded,
    /// Every pin of a partner names a node that the configuration has.
    Known,
    /// No survivor of a failover admits strangers faster than it may.
    Pace,
    /// A partner that the ledger says is back on a node is pinned to it, unless it was moved since.
    Ledger,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 4] = [Self::Stranded, Self::Known, Self::Pace, Self::Ledger];

    /// For metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stranded => "stranded-partner",
            Self::Known => "unknown-node",
            Self::Pace => "pace-exceeded",
            Self::Ledger => "ledger-disagrees",
        }
    }
}

/// How many break each rule, in the order of [`Rule::ALL`].
pub type Violations = [usize; Rule::ALL.len()];

/// A partner's pin, and what is true of its node.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Whose.
    pub key: PinKey,
    /// Its node.
    pub node: NodeNow,
    /// The ledger says that the partner is served by another node since the pin was made.
    pub is_served_elsewhere: bool,
}

/// What a pinned node is worth at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeNow {
    /// It may serve, or nobody may be taken from it.
    Serves,
    /// It is down and answers nothing, while another takes sessions.
    DeadBesideOthers,
    /// The configuration does not have it.
    Unknown,
}

/// What a node that is dead since then, while others take sessions, is worth to whom `pin` binds to it.
#[must_use]
pub fn dead_beside_others(pin: &Pin, since: Moment) -> NodeNow {
    match pin.by == PinnedBy::ByHand && pin.since >= since {
        true => NodeNow::Serves,
        false => NodeNow::DeadBesideOthers,
    }
}

/// How many strangers a node had admitted while its pool recovered.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Pool and node.
    pub node: (Arc<str>, Arc<str>),
    /// How many, ever.
    pub count: u64,
    /// At which pace they may come.
    pub rate: Rate,
}

/// Whether a partner was `served` after a failover by another node than its pin names, and since the pin came to
/// name that.
#[must_use]
pub fn is_served_elsewhere(served: Option<(Arc<str>, Moment)>, pin: &Pin) -> bool {
    served.is_some_and(|(node, at)| node != pin.node && at > pin.since + SETTLED)
}

/// Remembers what must not last.
#[derive(Clone, Debug)]
pub struct Watch {
    patience: Duration,
    looked: Option<Moment>,
    stranded: HashMap<PinKey, Moment>,
    unknown: HashMap<PinKey, Moment>,
    admitted: HashMap<(Arc<str>, Arc<str>), (Moment, u64)>,
}

impl Watch {
    /// A watch that lets a partner be stranded for `patience`: what it takes to be certain of a death, and of
    /// somebody who outlived it.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            looked: None,
            stranded: HashMap::new(),
            unknown: HashMap::new(),
            admitted: HashMap::new(),
        }
    }

    /// Looks at everything at `now`.
    pub fn look(
        &mut self,
        pinned: &[Pinned],
        admitted: impl IntoIterator<Item = Admitted>,
        now: Moment,
    ) -> Violations {
        // Whoever stood still has not watched anybody being stranded.
        let before = self.looked.replace(now);
        if before.is_some_and(|before| now.since(before) > STOOD_STILL) {
            self.stranded.clear();
            self.unknown.clear();
        }
        let with = |node| pinned.iter().filter(move |each| each.node == node);
        [
            lasting(
                &mut self.stranded,
                with(NodeNow::DeadBesideOthers),
                self.patience,
                now,
            ),
            lasting(
                &mut self.unknown,
                with(NodeNow::Unknown),
                self.patience,
                now,
            ),
            self.too_fast(admitted, now),
            pinned
                .iter()
                .filter(|each| each.is_served_elsewhere)
                .count(),
        ]
    }

    fn too_fast(&mut self, admitted: impl IntoIterator<Item = Admitted>, now: Moment) -> usize {
        let mut before = std::mem::take(&mut self.admitted);
        let mut count = 0;
        for each in admitted {
            if let Some((at, known)) = before.remove(&each.node) {
                let most = most_within(each.rate, now.since(at) + AHEAD);
                count += usize::from(each.count.saturating_sub(known) > most);
            }
            self.admitted.insert(each.node, (now, each.count));
        }
        count
    }
}

/// How many of those that are so `now` have been so for longer than `patience`.
fn lasting<'a>(
    known: &mut HashMap<PinKey, Moment>,
    now_so: impl Iterator<Item = &'a Pinned>,
    patience: Duration,
    now: Moment,
) -> usize {
    let since = |each: &Pinned| known.get(&each.key).copied().unwrap_or(now);
    *known = now_so.map(|each| (each.key.clone(), since(each))).collect();
    known
        .values()
        .filter(|since| now.since(**since) > patience)
        .count()
}

/// How many may come within `time`, and one more who was due when it began.
fn most_within(rate: Rate, time: Duration) -> u64 {
    let micros = time.as_micros() * u128::from(rate.count);
    let most = micros.div_ceil(rate.per.as_micros().max(1)) + 1;
    u64::try_from(most).unwrap_or(u64::MAX)
}

/// A pin is made with the first byte, and the report of it comes after.
const SETTLED: Duration = Duration::from_secs(1);

/// Looks are a second apart.
const STOOD_STILL: Duration = Duration::from_millis(1500);

/// Whoever is admitted may have been given a place that lies so far ahead, tolerance included.
const AHEAD: Duration = Duration::from_millis(1100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::pins::{NewPin, PinScope, PinTable};
    use crate::pool::placement::Subject;

    fn ms(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn pinned(name: &str, node: NodeNow) -> Pinned {
        let scope = Arc::new(PinScope {
            pool: "edge".into(),
            affinity: "federation".into(),
        });
        Pinned {
            key: PinKey {
                scope,
                subject: Subject::Partner(name.into()),
            },
            node,
            is_served_elsewhere: false,
        }
    }

    #[test]
    fn a_partner_may_be_stranded_for_the_time_that_certainty_takes() {
        let mut watch = Watch::new(Duration::from_secs(1));
        let dead = [pinned("fabrikam", NodeNow::DeadBesideOthers)];
        let mut look = |pins: &[Pinned], at| watch.look(pins, [], ms(at));
        assert_eq!(look(&dead, 0), [0, 0, 0, 0]);
        assert_eq!(look(&dead, 1000), [0, 0, 0, 0]);
        assert_eq!(look(&dead, 1001), [1, 0, 0, 0]);
        assert_eq!(
            look(&[pinned("fabrikam", NodeNow::Serves)], 1500),
            [0, 0, 0, 0]
        );
        assert_eq!(look(&dead, 2000), [0, 0, 0, 0], "a new time begins");
        assert_eq!(look(&dead, 9000), [0, 0, 0, 0], "nobody looked");
        assert_eq!(look(&dead, 10_001), [1, 0, 0, 0]);
    }

    #[test]
    fn whom_an_administrator_has_pinned_to_a_dead_node_is_not_stranded() {
        let (table, key) = (PinTable::new(10), pinned("fabrikam", NodeNow::Serves).key);
        let now = |by, at| {
            let new = NewPin {
                node: "edge1".into(),
                by,
                revision: 1,
                ttl: Duration::from_secs(60),
                looks_legacy: false,
            };
            table.forget(&key);
            table.pin(&key, new, ms(at));
            dead_beside_others(&table.inspect(&key, ms(at)).unwrap(), ms(1000))
        };
        assert_eq!(now(PinnedBy::ByHand, 1000), NodeNow::Serves);
        assert_eq!(now(PinnedBy::ByHand, 999), NodeNow::DeadBesideOthers);
        assert_eq!(now(PinnedBy::Placed, 1001), NodeNow::DeadBesideOthers);
    }

    #[test]
    fn pins_of_nodes_that_are_gone_and_of_others_than_the_ledger_says_are_counted() {
        let mut watch = Watch::new(Duration::from_secs(1));
        let elsewhere = Pinned {
            is_served_elsewhere: true,
            ..pinned("woodgrove", NodeNow::Serves)
        };
        let pins = [pinned("fabrikam", NodeNow::Unknown), elsewhere];
        assert_eq!(
            watch.look(&pins, [], ms(0)),
            [0, 0, 0, 1],
            "a reload takes its time"
        );
        assert_eq!(watch.look(&pins, [], ms(1001)), [0, 1, 0, 1]);
    }

    #[test]
    fn a_node_that_admits_faster_than_its_pace_is_noticed() {
        let mut watch = Watch::new(Duration::from_secs(1));
        let rate = Rate {
            count: 10,
            per: Duration::from_secs(1),
        };
        let mut look = |count, at| {
            let node = ("edge".into(), "edge1".into());
            watch.look(&[], [Admitted { node, count, rate }], ms(at))[2]
        };
        assert_eq!(look(1_000, 0), 0, "nobody knows since when");
        assert_eq!(
            look(1_022, 1000),
            0,
            "a second's worth, and what was promised ahead"
        );
        assert_eq!(look(1_045, 2000), 1);
    }
}
