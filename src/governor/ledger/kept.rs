//! The ledger as it outlives the process.
//!
//! A failover and each of its partners are pages of their own, so that a partner who comes back costs one
//! small page, however many went down with the node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FAILOVERS_MAX, FORGOTTEN_AFTER, Failover, Gap, Ledger, Loss};
use crate::clock::Moment;
use crate::relay::report::Lost;
use crate::store::{Book, Contents, Store};
use crate::telemetry::outcome::Outcome;

/// The books of the ledger, and what is in them. By default nothing is, and nothing is kept.
#[derive(Debug, Default)]
pub struct Kept {
    failovers: Book<Failover>,
    gaps: Book<KeptGap>,
    found: Vec<Failover>,
}

/// How long one partner was cut off, and by which failover.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptGap {
    failover: u64,
    gap: Gap,
}

impl Kept {
    /// Opens the books.
    #[must_use]
    pub fn open(store: &Store, contents: &mut Contents) -> Self {
        let (failovers, headers) = store.book::<Failover>("failovers", contents);
        let (gaps, partners) = store.book::<KeptGap>("gaps", contents);
        let mut found: Vec<_> = headers.into_iter().map(|(_, failover)| failover).collect();
        found.sort_by_key(|failover| failover.number);
        let place = |number: u64| found.binary_search_by_key(&number, |known| known.number);
        let mut of_failover: HashMap<usize, Vec<Gap>> = HashMap::new();
        for (name, kept) in partners {
            match place(kept.failover) {
                Ok(place) => of_failover.entry(place).or_default().push(kept.gap),
                // Its failover is forgotten.
                Err(_) => gaps.remove(name),
            }
        }
        for (place, gaps) in of_failover {
            if let Some(failover) = found.get_mut(place) {
                failover.partners = gaps;
            }
        }
        Self {
            failovers,
            gaps,
            found,
        }
    }

    pub(super) fn failover(&self, failover: &Failover) {
        self.failovers.put(number(failover.number), failover);
        for gap in &failover.partners {
            self.gap(failover.number, gap);
        }
    }

    pub(super) fn gap(&self, failover: u64, gap: &Gap) {
        let name = name(failover, gap);
        let gap = gap.clone();
        self.gaps.put(name, &KeptGap { failover, gap });
    }

    pub(super) fn forget(&self, failover: &Failover) {
        self.failovers.remove(number(failover.number));
        for gap in &failover.partners {
            self.gaps.remove(name(failover.number, gap));
        }
    }
}

impl Ledger {
    /// Goes on where an earlier instance has ended.
    pub(in crate::governor) fn go_on(mut kept: Kept, now: Moment) -> Self {
        let mut ledger = Self::default();
        let mut found = VecDeque::from(std::mem::take(&mut kept.found));
        while found.len() > FAILOVERS_MAX {
            if let Some(oldest) = found.pop_front() {
                kept.forget(&oldest);
            }
        }
        for failover in &mut found {
            ledger.numbers = ledger.numbers.max(failover.number);
            failover.cut_at = moment(failover.cut, now);
            let mut over = Vec::new();
            let open = failover.partners.iter().enumerate();
            for (place, gap) in open.filter(|(_, gap)| gap.is_open()) {
                let loss = loss(failover, gap, now);
                if now.since(loss.lost.ended) < FORGOTTEN_AFTER {
                    let key = (Arc::clone(&gap.partner), Arc::clone(&gap.listener));
                    ledger.awaited.insert(key, loss);
                } else {
                    over.push(place);
                }
            }
            for place in over {
                if let Some(gap) = failover.partners.get_mut(place) {
                    gap.is_over = true;
                }
            }
        }
        ledger.failovers = found.into_iter().map(Arc::new).collect();
        ledger.kept = kept;
        ledger
    }
}

/// A partner that an earlier instance waited for.
fn loss(failover: &Failover, gap: &Gap, now: Moment) -> Loss {
    let cut_off_since = moment(gap.cut_off_since, now);
    let ended_after = Duration::try_from_secs_f64(gap.ended_after_ms / 1000.0);
    let ended = cut_off_since + ended_after.unwrap_or_default();
    Loss {
        lost: Lost {
            partner: Arc::clone(&gap.partner),
            listener: Arc::clone(&gap.listener),
            // It has another number now, which nobody will cut again for this.
            endpoint: 0,
            node: Arc::clone(&failover.node),
            cut_off_since,
            ended: ended.min(now),
            outcome: Outcome::NodeDown,
            active_at: if gap.was_active { ended } else { Moment::START },
        },
        served: None,
        is_fault: true,
        is_alarmed: gap.is_alarmed,
    }
}

/// The moment of a time that is past; one to come, by a clock that was set back, is the present.
fn moment(time: Timestamp, now: Moment) -> Moment {
    let ago = Timestamp::now().duration_since(time);
    now.before(Duration::try_from(ago).unwrap_or_default())
}

/// In the order of numbers.
fn number(number: u64) -> String {
    format!("{number:020}")
}

/// Different gaps have different names, whatever partners and listeners are called.
fn name(failover: u64, gap: &Gap) -> String {
    let (partner, listener) = (&gap.partner, &gap.listener);
    format!("{failover:020} {partner:?} {listener:?}")
}
