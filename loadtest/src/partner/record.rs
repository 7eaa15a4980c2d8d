//! What a partner lived through: replies, changes of node, gaps, errors.
//!
//! Owns the bookkeeping under one short lock. Bounded: the oldest gaps are forgotten, counts
//! are not.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use super::{Plan, Witness};

/// Gaps that are remembered one by one.
const GAPS_MAX: usize = 10_000;

/// A silence is a wait if it is longer than this and than ten intervals: no hiccup of a machine.
const WAIT: Duration = Duration::from_millis(100);

/// A connection whose last reply is no older than this, or than ten intervals, is served.
const PRESENT: Duration = Duration::from_secs(1);

/// Nodes told apart by name; more names than this are a balancer gone mad.
const NODES_MAX: usize = 1_000;

/// How an attempt or a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The other side ended it politely.
    Closed,
    /// Connecting or answering took longer than this partner bears.
    TimedOut,
    /// TLS did not come about.
    Tls,
    /// An answer that is no answer to what was asked.
    Garbled,
    /// Anything else, such as no route or no descriptors.
    Other,
}

impl ErrorKind {
    pub(super) fn of(error: &io::Error) -> Self {
        // The kinds of other libraries and later versions belong to nobody in particular.
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "io::ErrorKind is open-ended"
        )]
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::InvalidData => Self::Garbled,
            _ => Self::Other,
        }
    }
}

/// The time from the last good reply of one connection to the first of its successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Who answered last before it.
    pub from_node: String,
    /// Who answered first after it; may be the same node.
    pub to_node: String,
    /// How long nobody answered.
    #[serde(rename = "duration_us", serialize_with = "as_micros")]
    pub duration: Duration,
    /// When that one answered.
    #[serde(skip)]
    pub until: Instant,
}

/// A view of a partner at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Who answered last.
    pub node: Option<String>,
    /// Whether at least one connection stands.
    pub connected: bool,
    /// Connections that stand.
    pub open: usize,
    /// Connections that ever stood.
    pub connections: u64,
    /// Lines sent.
    pub sent: u64,
    /// Good replies.
    pub replies: u64,
    /// Good replies by node.
    pub replies_by_node: BTreeMap<String, u64>,
    /// Times a line was answered by another node than the one before, per connection.
    pub node_changes: u64,
    /// The gaps, oldest first; the latest 10,000.
    pub gaps: Vec<Gap>,
    /// All gaps there ever were.
    pub gaps_total: u64,
    /// The longest time between two good replies on one connection or its successor, the
    /// present silence included.
    #[serde(rename = "longest_silence_us", serialize_with = "as_micros")]
    pub longest_silence: Duration,
    /// Time since the last good reply; the worst of its connections that ever had one.
    #[serde(rename = "silent_for_us", serialize_with = "as_micros")]
    pub silent_for: Duration,
    /// Ends of attempts and connections, by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
}

fn as_micros<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_micros())
}

/// One of the connections a partner keeps, through all its successors.
#[derive(Clone, Debug, Default)]
struct Slot {
    open: bool,
    /// Whether the connection that stands has brought a good reply.
    served: bool,
    last: Option<(Instant, String)>,
    /// Since when another connection was known to be with another node, if this one was first
    /// answered then.
    astray_since: Option<Instant>,
}

impl Slot {
    /// Tells who had served the connection that ends, if anybody had.
    fn end(&mut self) -> Option<String> {
        self.open = false;
        let had_served = std::mem::take(&mut self.served);
        self.last
            .as_ref()
            .filter(|_| had_served)
            .map(|(_, node)| node.clone())
    }

    fn is_served_elsewhere(&self, than: &str) -> bool {
        let elsewhere = self.last.as_ref().is_some_and(|(_, node)| node != than);
        self.open && self.served && elsewhere
    }
}

#[derive(Debug)]
struct Book {
    stats: Stats,
    interval: Duration,
    /// Where the window that counts begins.
    window: Instant,
    /// The longest silence of the window that has ended.
    silence: Duration,
    /// Silences of the window that a connection survived.
    waits: VecDeque<Gap>,
    gaps: VecDeque<Gap>,
    slots: Vec<Slot>,
    pin_violations: u64,
}

#[derive(Debug)]
pub(super) struct Record {
    name: String,
    witness: Option<Arc<dyn Witness>>,
    book: Mutex<Book>,
    revision: watch::Sender<u64>,
}

impl Record {
    pub(super) fn new(plan: &Plan, witness: Option<Arc<dyn Witness>>) -> Self {
        let book = Book {
            stats: Stats::default(),
            interval: plan.interval,
            window: Instant::now(),
            silence: Duration::ZERO,
            waits: VecDeque::new(),
            gaps: VecDeque::new(),
            slots: vec![Slot::default(); plan.connections],
            pin_violations: 0,
        };
        Self {
            name: plan.name.clone(),
            witness,
            book: Mutex::new(book),
            revision: watch::Sender::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pin_violations(&self) -> u64 {
        self.book().pin_violations
    }

    pub(super) fn connected(&self, slot: usize) {
        self.note(|book| {
            book.stats.connections += 1;
            if let Some(slot) = book.slots.get_mut(slot) {
                *slot = Slot {
                    open: true,
                    last: slot.last.take(),
                    ..Slot::default()
                };
            }
        });
    }

    pub(super) fn sent(&self) {
        self.book().stats.sent += 1;
    }

    /// A line is about to be sent, at `at`.
    pub(super) fn said(&self, at: Instant) {
        if let Some(witness) = &self.witness {
            witness.said(at);
        }
    }

    /// Nobody will answer a line said at `asked`: its connection has ended.
    pub(super) fn forgot(&self, asked: Instant) {
        if let Some(witness) = &self.witness {
            witness.forgot(asked);
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.book().slots.len()
    }

    /// A good reply of `node` to a line said at `asked`.
    pub(super) fn replied(&self, slot: usize, node: &str, asked: Instant) {
        let now = Instant::now();
        let reply = self.note(|book| book.reply(slot, node, asked, now));
        if let Some(witness) = &self.witness {
            witness.replied(asked);
            match reply {
                Reply::First => witness.stood(),
                Reply::Moved => witness.moved(),
                Reply::Next => {}
            }
        }
    }

    /// Notes an end and tells whether the connection had served.
    pub(super) fn ended(&self, slot: usize, kind: ErrorKind) -> bool {
        let node = self.note(|book| {
            *book.stats.errors.entry(kind).or_default() += 1;
            let node = book.slots.get_mut(slot).and_then(Slot::end);
            book.forgive();
            node
        });
        if let Some(witness) = &self.witness {
            witness.ended(kind, node.as_deref());
        }
        node.is_some()
    }

    pub(super) fn stats(&self) -> Stats {
        let now = Instant::now();
        let book = self.book();
        let mut stats = book.stats.clone();
        stats.gaps = book.gaps.iter().cloned().collect();
        stats.open = book.slots.iter().filter(|slot| slot.open).count();
        stats.connected = stats.open > 0;
        let silences = book.slots.iter().filter_map(|slot| slot.last.as_ref());
        stats.silent_for = silences
            .map(|(at, _)| now.duration_since(*at))
            .max()
            .unwrap_or_default();
        stats.longest_silence = stats.longest_silence.max(stats.silent_for);
        stats
    }

    /// What counts begins now.
    pub(super) fn open_window(&self, at: Instant) {
        let mut book = self.book();
        book.window = at;
        book.silence = Duration::ZERO;
        book.waits.clear();
    }

    /// The longest silence on one connection or its successor since the window opened, the present
    /// one included.
    pub(super) fn silence(&self) -> Duration {
        let (now, book) = (Instant::now(), self.book());
        let last = book.slots.iter().filter_map(|slot| slot.last.as_ref());
        let present = last.map(|(at, _)| now.duration_since((*at).max(book.window)));
        present.fold(book.silence, Duration::max)
    }

    /// Silences that are no gaps: those that a connection survived, and those that last, which have
    /// no node after them.
    pub(super) fn waits(&self) -> Vec<Gap> {
        let (now, book) = (Instant::now(), self.book());
        let limit = book.wait();
        let present = book.slots.iter().filter_map(|slot| {
            let (since, node) = slot.last.as_ref()?;
            let duration = now.duration_since(*since);
            let is_waiting = !slot.served || duration > limit;
            is_waiting.then(|| Gap {
                from_node: node.clone(),
                to_node: String::new(),
                duration,
                until: now,
            })
        });
        book.waits.iter().cloned().chain(present).collect()
    }

    /// Connections that are served: they have brought a good reply, and the last one is not long ago.
    /// A balancer's kernel accepts for whoever is never answered; such a one does not count.
    pub(super) fn served(&self) -> usize {
        let (now, book) = (Instant::now(), self.book());
        let limit = book.interval.saturating_mul(10).max(PRESENT);
        let is_served = |slot: &&Slot| {
            let last = slot.last.as_ref().map(|(at, _)| now.duration_since(*at));
            slot.open && slot.served && last.is_some_and(|silence| silence <= limit)
        };
        book.slots.iter().filter(is_served).count()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) async fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&Stats) -> bool,
    ) -> Option<Stats> {
        let mut events = self.subscribe();
        let holds = async {
            loop {
                events.borrow_and_update();
                let stats = self.stats();
                if condition(&stats) {
                    return Some(stats);
                }
                // The record holds the sender, so this cannot fail while it is borrowed.
                events.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, holds).await.ok().flatten()
    }

    fn note<T>(&self, write: impl FnOnce(&mut Book) -> T) -> T {
        let written = write(&mut self.book());
        self.revision.send_modify(|revision| *revision += 1);
        written
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reply was on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    First,
    Next,
    Moved,
}

impl Book {
    /// A silence longer than this is a wait.
    fn wait(&self) -> Duration {
        self.interval.saturating_mul(10).max(WAIT)
    }

    fn reply(&mut self, at: usize, node: &str, asked: Instant, now: Instant) -> Reply {
        let wait = self.wait();
        let Some(slot) = self.slots.get_mut(at) else {
            return Reply::Next;
        };
        let (stats, is_first) = (&mut self.stats, !slot.served);
        let last = slot.last.replace((now, node.to_owned()));
        slot.served = true;
        let is_other = last.as_ref().is_some_and(|(_, from)| from != node);
        stats.replies += 1;
        stats.node_changes += u64::from(is_other);
        count_node(stats, node);
        if stats.node.as_deref() != Some(node) {
            stats.node = Some(node.to_owned());
        }
        if let Some((since, from_node)) = last {
            let duration = now.duration_since(since);
            stats.longest_silence = stats.longest_silence.max(duration);
            let within = now.saturating_duration_since(since.max(self.window));
            self.silence = self.silence.max(within);
            let gap = Gap {
                from_node,
                to_node: node.to_owned(),
                duration,
                until: now,
            };
            if is_first {
                stats.gaps_total += 1;
                self.gaps.push_back(gap);
            } else if duration > wait {
                self.waits.push_back(gap);
            }
        }
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_front();
        }
        if self.waits.len() > GAPS_MAX {
            self.waits.pop_front();
        }
        self.hold_against_pins(at, node, asked, is_first.then_some(now));
        match (is_first, is_other) {
            (true, _) => Reply::First,
            (false, true) => Reply::Moved,
            (false, false) => Reply::Next,
        }
    }

    /// A connection that is first answered by another node than another one of these is astray;
    /// that counts once the other one is answered again, to a line said later: until then it may
    /// have been dying.
    fn hold_against_pins(&mut self, at: usize, node: &str, asked: Instant, first: Option<Instant>) {
        let mut is_astray = false;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if number == at || !slot.is_served_elsewhere(node) {
                continue;
            }
            is_astray = true;
            if slot.astray_since.is_some_and(|since| asked > since) {
                slot.astray_since = None;
                self.pin_violations += 1;
            }
        }
        if first.is_some() {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.astray_since = first.filter(|_| is_astray);
            }
            self.forgive();
        }
    }

    /// Who is with all the others again is astray no longer.
    fn forgive(&mut self) {
        for at in 0..self.slots.len() {
            let node = self.slots.get(at).and_then(|slot| {
                slot.astray_since?;
                slot.last.as_ref().map(|(_, node)| node.clone())
            });
            let Some(node) = node else { continue };
            if !self
                .slots
                .iter()
                .any(|slot| slot.is_served_elsewhere(&node))
                && let Some(slot) = self.slots.get_mut(at)
            {
                slot.astray_since = None;
            }
        }
    }
}

fn count_node(stats: &mut Stats, node: &str) {
    if let Some(count) = stats.replies_by_node.get_mut(node) {
        *count += 1;
    } else if stats.replies_by_node.len() < NODES_MAX {
        stats.replies_by_node.insert(node.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A partner with three connections, and a clock that goes on at each look.
    struct Desk {
        record: Record,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            let mut plan = Plan::new("fabrikam", (Ipv4Addr::LOCALHOST, 0).into());
            plan.connections = 3;
            let record = Record::new(&plan, None);
            (0..3).for_each(|slot| record.connected(slot));
            let now = Instant::now();
            Self { record, now }
        }

        /// A line said now is answered on connection `slot` by `node`.
        fn answer(&mut self, slot: usize, node: &str) -> u64 {
            let (asked, now) = (self.now, self.now + Duration::from_millis(1));
            self.now += Duration::from_millis(2);
            self.record.book().reply(slot, node, asked, now);
            self.record.pin_violations()
        }
    }

    #[test]
    fn a_stray_connection_counts_when_the_others_are_still_served_where_they_were() {
        let mut desk = Desk::new();
        for (slot, node, violations) in [
            (0, "edge1", 0),
            (1, "edge1", 0),
            (2, "edge2", 0),
            (2, "edge2", 0),
            (0, "edge1", 1),
            (1, "edge1", 1),
            (2, "edge2", 1),
        ] {
            assert_eq!(desk.answer(slot, node), violations, "{slot} {node}");
        }
    }

    #[test]
    fn a_connection_that_was_dying_meanwhile_excuses_the_first_that_moved() {
        let mut desk = Desk::new();
        desk.answer(0, "edge1");
        desk.answer(1, "edge1");
        let said_before = desk.now;
        desk.record.ended(0, ErrorKind::Reset);
        desk.record.connected(0);
        desk.now += Duration::from_millis(1);
        desk.answer(0, "edge2");
        // An answer to a line of before the move, which was under way.
        desk.record.book().reply(1, "edge1", said_before, desk.now);
        desk.record.ended(1, ErrorKind::Reset);
        desk.record.connected(1);
        for slot in [1, 0, 1, 0] {
            assert_eq!(desk.answer(slot, "edge2"), 0);
        }
    }

    #[test]
    fn who_returns_to_the_others_is_no_longer_astray_and_the_next_one_is() {
        let mut desk = Desk::new();
        desk.answer(0, "edge1");
        desk.answer(1, "edge2");
        for slot in [0, 1] {
            desk.record.ended(slot, ErrorKind::Closed);
            desk.record.connected(slot);
            desk.answer(slot, "edge1");
        }
        let before = desk.record.pin_violations();
        for (slot, node, more) in [
            (2, "edge3", 0),
            (0, "edge1", 1),
            (2, "edge3", 1),
            (1, "edge1", 1),
        ] {
            assert_eq!(desk.answer(slot, node), before + more, "{slot} {node}");
        }
    }
}
