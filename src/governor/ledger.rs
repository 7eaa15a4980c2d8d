//! The ledger: every failover, and for each partner how long it was cut off.
//!
//! Bounded: the oldest failovers go first. Wall-clock times are for people; durations are measured
//! with the monotonic clock, save where they began in an instance before this one. What changes goes to
//! the [`Kept`] books, which never wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::alarm::NotBack;
pub use self::kept::Kept;
use crate::clock::Moment;
use crate::relay::report::{Lost, Served};
use crate::telemetry::outcome::Outcome;

mod alarm;
mod kept;

/// One node's downfall on one group of listeners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failover {
    /// Its number, from 1; numbers go on over restarts.
    pub number: u64,
    /// The pool.
    pub pool: Arc<str>,
    /// The node that went down.
    pub node: Arc<str>,
    /// The listeners concerned.
    pub listeners: Vec<Arc<str>>,
    /// When the first thing spoke against the node.
    pub first_evidence: Timestamp,
    /// When its sessions were cut.
    pub cut: Timestamp,
    /// From the first evidence to the cut, in milliseconds.
    pub decided_in_ms: f64,
    /// What condemned it.
    pub evidence: Arc<str>,
    /// Sessions that it had when it was cut; those that the kernel had ended before are not counted.
    pub sessions: u32,
    /// Pins of partners that moved.
    pub pins_moved: usize,
    /// Partners that lost a session. Kept apart, since they change one by one.
    #[serde(skip)]
    pub partners: Vec<Gap>,
    #[serde(skip)]
    cut_at: Moment,
}

/// How long one partner was cut off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// Who.
    pub partner: Arc<str>,
    /// On which listener.
    pub listener: Arc<str>,
    /// Since when it went without its node.
    pub cut_off_since: Timestamp,
    /// From then to the end of its session, in milliseconds.
    pub ended_after_ms: f64,
    /// The node that serves it since.
    pub node: Option<Arc<str>>,
    /// From then to its next connection, in milliseconds.
    pub connected_after_ms: Option<f64>,
    /// From then to its next first byte, in milliseconds.
    pub served_after_ms: Option<f64>,
    /// The same moment, where its pin names that node; of this instance only.
    #[serde(skip)]
    pub served_at: Option<Moment>,
    /// Whether it was in use before.
    #[serde(default)]
    pub was_active: bool,
    /// Whether the alarm was raised that it never came back.
    #[serde(default)]
    pub is_alarmed: bool,
    /// Nobody waits for it any more.
    #[serde(default)]
    pub is_over: bool,
}

/// Figures since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Failovers by pool and node.
    pub failovers: HashMap<(Arc<str>, Arc<str>), u64>,
    /// Gaps that ended: how many lasted no longer than each of [`Totals::BOUNDS`].
    pub gaps: [u64; Self::BOUNDS.len()],
    /// Gaps that ended, and their sum in seconds.
    pub gaps_count: u64,
    /// Their sum in seconds.
    pub gaps_sum: f64,
}

impl Totals {
    /// Upper bounds of the histogram, in seconds.
    pub const BOUNDS: [f64; 11] = [
        0.005, 0.015, 0.05, 0.1, 0.25, 0.5, 0.9, 1.2, 5.0, 30.0, 300.0,
    ];

    fn count(&mut self, gap: Duration) {
        let seconds = gap.as_secs_f64();
        for (bound, count) in Self::BOUNDS.iter().zip(&mut self.gaps) {
            *count += u64::from(seconds <= *bound);
        }
        self.gaps_count += 1;
        self.gaps_sum += seconds;
    }
}

/// The ledger as the governor keeps it, and as a simulation drives it: by default nothing is kept on a disk.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Shared with whoever looks at them: only what changes is copied.
    failovers: VecDeque<Arc<Failover>>,
    numbers: u64,
    /// Partners whose session ended by a node's fault, until they are served again.
    awaited: HashMap<(Arc<str>, Arc<str>), Loss>,
    /// Losses that ended before their node was condemned.
    ended: VecDeque<Loss>,
    totals: Totals,
    kept: Kept,
}

#[derive(Clone, Debug)]
struct Loss {
    lost: Lost,
    served: Option<(Served, Arc<str>)>,
    /// Its node is to blame: it failed, or a failover took it.
    is_fault: bool,
    is_alarmed: bool,
}

/// A partner that is served again.
#[derive(Debug)]
pub struct Back {
    /// Who.
    pub partner: Arc<str>,
    /// On which listener.
    pub listener: Arc<str>,
    /// By which node.
    pub node: Arc<str>,
    /// From the last sign of the node before to the first byte of this one.
    pub cut_off: Duration,
}

/// What is written down at a cut.
#[derive(Debug)]
pub struct Cut {
    /// The pool.
    pub pool: Arc<str>,
    /// The node.
    pub node: Arc<str>,
    /// Its endpoint.
    pub endpoint: u32,
    /// The listeners concerned.
    pub listeners: Vec<Arc<str>>,
    /// When the first thing spoke against the node.
    pub first_evidence: Moment,
    /// What condemned it.
    pub evidence: &'static str,
    /// Sessions that it had.
    pub sessions: u32,
    /// Pins of partners that moved.
    pub pins_moved: usize,
}

impl Ledger {
    /// A partner lost a session. The first loss stands until it is served again.
    pub fn lost(&mut self, lost: Lost) {
        let key = (Arc::clone(&lost.partner), Arc::clone(&lost.listener));
        // A connection that its node closed in order is no loss beside one that is.
        let is_news = match self.awaited.get(&key) {
            Some(known) => !known.is_fault && lost.outcome != Outcome::NodeClosed,
            None => self.awaited.len() < AWAITED_MAX,
        };
        if !is_news {
            return;
        }
        let mut loss = Loss {
            is_fault: lost.outcome != Outcome::NodeClosed,
            lost,
            served: None,
            is_alarmed: false,
        };
        let gap = loss.gap();
        let failover = failover_of(&mut self.failovers, &loss.lost);
        loss.is_fault |= failover.is_some();
        if let Some(failover) = failover
            && !failover.partners.iter().any(|known| known.is_like(&gap))
        {
            self.kept.gap(failover.number, &gap);
            failover.partners.push(gap);
        }
        self.awaited.insert(key, loss);
    }

    /// A partner was served: how long a failover had cut it off, if one had.
    pub fn served(&mut self, served: Served, node: &Arc<str>) -> Option<Duration> {
        let key = (Arc::clone(&served.partner), Arc::clone(&served.listener));
        // A session that began before the loss says nothing about it.
        if served.first_byte < self.awaited.get(&key)?.lost.ended {
            return None;
        }
        let mut loss = self.awaited.remove(&key)?;
        loss.served = Some((served, Arc::clone(node)));
        if failover_of(&mut self.failovers, &loss.lost).is_none() {
            // Perhaps its node is condemned in a moment; perhaps it only closed a connection.
            self.ended.push_back(loss);
            if self.ended.len() > ENDED_MAX {
                self.ended.pop_front();
            }
            return None;
        }
        self.write_down(&loss);
        let cut_off = loss.cut_off()?;
        self.totals.count(cut_off);
        Some(cut_off)
    }

    /// A partner is back from `loss`: in every failover that waits for it, since a node may go down twice
    /// before its partner has come back once.
    fn write_down(&mut self, loss: &Loss) {
        let gap = loss.gap();
        let concerned = self.failovers.iter_mut().rev();
        let concerned = concerned.filter(|failover| failover.concerns(&loss.lost));
        for (place, failover) in concerned.enumerate() {
            let failover = Arc::make_mut(failover);
            let mut partners = failover.partners.iter_mut();
            match partners.find(|known| known.is_like(&gap)) {
                Some(known) if place == 0 || known.node.is_none() => *known = gap.clone(),
                None if place == 0 => failover.partners.push(gap.clone()),
                Some(_) | None => continue,
            }
            self.kept.gap(failover.number, &gap);
        }
    }

    /// A node's sessions were cut: the failover's number, and the partners that are back already.
    pub fn cut(&mut self, cut: Cut, now: Moment) -> (u64, Vec<Back>) {
        self.numbers += 1;
        let name = (Arc::clone(&cut.pool), Arc::clone(&cut.node));
        *self.totals.failovers.entry(name).or_default() += 1;
        let concerns =
            |loss: &Loss| loss.lost.endpoint == cut.endpoint && now.since(loss.lost.ended) < RECENT;
        let (back, ended): (Vec<_>, Vec<_>) = self.ended.drain(..).partition(|loss| concerns(loss));
        self.ended = ended.into();
        for cut_off in back.iter().filter_map(Loss::cut_off) {
            self.totals.count(cut_off);
        }
        let mut partners = Vec::new();
        back.iter()
            .for_each(|loss| set_down(&mut partners, loss.gap()));
        for loss in self.awaited.values_mut().filter(|loss| concerns(loss)) {
            loss.is_fault = true;
            set_down(&mut partners, loss.gap());
        }
        if self.failovers.len() == FAILOVERS_MAX
            && let Some(oldest) = self.failovers.pop_front()
        {
            self.kept.forget(&oldest);
        }
        let failover = Failover {
            number: self.numbers,
            pool: cut.pool,
            node: cut.node,
            listeners: cut.listeners,
            first_evidence: wall(cut.first_evidence),
            cut: wall(now),
            decided_in_ms: millis(now.since(cut.first_evidence)),
            evidence: Arc::from(cut.evidence),
            sessions: cut.sessions,
            pins_moved: cut.pins_moved,
            partners,
            cut_at: now,
        };
        self.kept.failover(&failover);
        self.failovers.push_back(Arc::new(failover));
        (
            self.numbers,
            back.into_iter().filter_map(Loss::into_back).collect(),
        )
    }

    /// Failovers, oldest first.
    #[must_use]
    pub fn failovers(&self) -> Vec<Arc<Failover>> {
        self.failovers.iter().map(Arc::clone).collect()
    }

    /// Figures since the start.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Who has not come back for a day is no longer waited for.
    pub fn forget(&mut self, now: Moment) {
        self.give_up(|loss| now.since(loss.lost.ended) >= FORGOTTEN_AFTER);
    }

    /// Waits no longer for those that `is_hopeless` selects.
    fn give_up(&mut self, is_hopeless: impl Fn(&Loss) -> bool) {
        let gone: Vec<_> = self
            .awaited
            .extract_if(|_, loss| is_hopeless(loss))
            .map(|(_, loss)| loss)
            .collect();
        for loss in gone {
            let gap = loss.gap();
            let concerned = self.failovers.iter_mut();
            for failover in concerned.filter(|each| each.concerns(&loss.lost)) {
                let failover = Arc::make_mut(failover);
                let mut partners = failover.partners.iter_mut();
                let known = partners.find(|known| known.is_like(&gap) && known.node.is_none());
                if let Some(known) = known {
                    known.is_over = true;
                    self.kept.gap(failover.number, known);
                }
            }
        }
    }

    /// A partner that the configuration no longer has is nobody's to wait for, nor is one on a listener that
    /// is gone: it could never come back.
    pub fn keep_awaited(&mut self, is_configured: impl Fn(&str, &str) -> bool) {
        self.give_up(|loss| !is_configured(&loss.lost.partner, &loss.lost.listener));
    }

    /// By partner and listener: the node that is its home again after one of the last failovers, and since when
    /// it served it.
    #[must_use]
    pub fn last_served(&self) -> HashMap<(&str, &str), (&Arc<str>, Moment)> {
        let mut last = HashMap::new();
        let recent = self.failovers.iter().rev().take(LOOKED_BACK);
        for gap in recent.flat_map(|failover| &failover.partners) {
            if let (Some(node), Some(at)) = (&gap.node, gap.served_at) {
                let known = last.entry((&*gap.partner, &*gap.listener));
                known.or_insert((node, at));
            }
        }
        last
    }

    /// How many partners are awaited, those included whose node only closed a connection in order.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// How many partners are missing by a node's fault.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.awaited.values().filter(|loss| loss.is_fault).count()
    }
}

/// Of one that lost its node again before it was condemned, the last gap counts.
fn set_down(partners: &mut Vec<Gap>, gap: Gap) {
    match partners.iter_mut().find(|known| known.is_like(&gap)) {
        Some(known) => *known = gap,
        None => partners.push(gap),
    }
}

fn failover_of<'a>(
    failovers: &'a mut VecDeque<Arc<Failover>>,
    lost: &Lost,
) -> Option<&'a mut Failover> {
    let mut failovers = failovers.iter_mut().rev();
    failovers
        .find(|failover| failover.concerns(lost))
        .map(Arc::make_mut)
}

impl Failover {
    fn concerns(&self, lost: &Lost) -> bool {
        let apart = if self.cut_at < lost.ended {
            lost.ended.since(self.cut_at)
        } else {
            self.cut_at.since(lost.ended)
        };
        self.listeners.contains(&lost.listener) && *self.node == *lost.node && apart < RECENT
    }
}

impl Gap {
    /// Whether its partner is waited for.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.node.is_none() && !self.is_over
    }

    fn is_like(&self, other: &Self) -> bool {
        self.partner == other.partner && self.listener == other.listener
    }
}

impl Loss {
    fn cut_off(&self) -> Option<Duration> {
        let (served, _) = self.served.as_ref()?;
        Some(served.first_byte.since(self.lost.cut_off_since))
    }

    fn into_back(self) -> Option<Back> {
        let cut_off = self.cut_off()?;
        let (_, node) = self.served?;
        Some(Back {
            partner: self.lost.partner,
            listener: self.lost.listener,
            node,
            cut_off,
        })
    }

    fn gap(&self) -> Gap {
        let since = |moment: Moment| millis(moment.since(self.lost.cut_off_since));
        let served = self.served.as_ref();
        Gap {
            partner: Arc::clone(&self.lost.partner),
            listener: Arc::clone(&self.lost.listener),
            cut_off_since: wall(self.lost.cut_off_since),
            ended_after_ms: since(self.lost.ended),
            node: served.map(|(_, node)| Arc::clone(node)),
            connected_after_ms: served.map(|(served, _)| since(served.connected)),
            served_after_ms: served.map(|(served, _)| since(served.first_byte)),
            served_at: served
                .filter(|(served, _)| served.is_home)
                .map(|(served, _)| served.first_byte),
            was_active: self.was_active(),
            is_alarmed: self.is_alarmed,
            is_over: false,
        }
    }
}

/// The wall-clock time of a moment, as the clock stands now.
pub(crate) fn wall(moment: Moment) -> Timestamp {
    let ago = jiff::SignedDuration::try_from(Moment::now().since(moment)).unwrap_or_default();
    Timestamp::now()
        .checked_sub(ago)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Bounds, so that nothing a network does makes the ledger grow.
const FAILOVERS_MAX: usize = 1000;
const AWAITED_MAX: usize = 10_000;
const ENDED_MAX: usize = 1000;
/// Older ones have been looked at every second since.
const LOOKED_BACK: usize = 16;
/// Losses this close to a cut belong to it.
const RECENT: Duration = Duration::from_secs(30);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests;
