//! What handshakes have taught, kept over a restart.
//!
//! Owns the book of learned names. Every few seconds it is compared with what is known, and a bounded part
//! of the difference is written, so that neither a storm of handshakes nor a slow disk is felt. Life is
//! kept as that of pins is, in lived time, which stands still while no instance runs.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::partner::learned::{Exported, Learned, Spoken};
use crate::relay::recognition::Recognition;
use crate::store::codec::{Present, micros};
use crate::store::{Book, Contents, Store};

/// One address.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, Hash)]
struct Page {
    names: Vec<String>,
    offered: u16,
    negotiated: u16,
    /// When it is forgotten, in lived microseconds.
    lapses: u64,
    /// Until when it is in doubt, likewise; 0: it is not.
    #[serde(default, skip_serializing_if = "is_zero")]
    doubted_until: u64,
}

/// The book, and what is written in it. By default it keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Learning {
    book: Option<Book<Page>>,
    /// The present when the instance began.
    begun: Option<Present>,
    found: Vec<(String, Page)>,
    /// What each page says, in short, and when it lapses.
    written: HashMap<IpAddr, (u64, u64)>,
    hasher: RandomState,
    looked: Moment,
    /// Of the addresses that have turned out to be partners', those of which it was asked.
    turned_out: u64,
}

impl Learning {
    pub(super) fn open(store: &Store, contents: &mut Contents) -> Self {
        let begun = Some(contents.present());
        let (book, found) = store.book(BOOK, contents);
        Self {
            book: Some(book),
            begun,
            found,
            ..Self::default()
        }
    }

    /// Teaches what an earlier instance has learned.
    pub(super) fn teach(&mut self, learned: &Learned, now: Moment) {
        let lived = self.lived(now);
        for (name, page) in std::mem::take(&mut self.found) {
            let Ok(address) = name.parse::<IpAddr>() else {
                self.remove(name);
                continue;
            };
            self.written
                .insert(address, (self.brief(&page), page.lapses));
            let remaining = Duration::from_micros(page.lapses.saturating_sub(lived));
            let spoken = Spoken {
                offered: page.offered,
                negotiated: page.negotiated,
            };
            let names = page.names;
            let exported = Exported {
                address,
                names,
                remaining,
                doubt: Duration::from_micros(page.doubted_until.saturating_sub(lived)),
                spoken,
            };
            learned.import([exported], now);
        }
    }

    /// Whether more addresses have turned out to be partners' since it was last asked.
    pub(super) fn has_more(&mut self, recognition: &Recognition) -> bool {
        let turned_out = recognition.turned_out.load(Relaxed);
        std::mem::replace(&mut self.turned_out, turned_out) != turned_out
    }

    /// Writes down what has changed, if it is time.
    pub(super) fn look(&mut self, learned: &Learned, now: Moment) {
        if now.since(self.looked) >= INTERVAL {
            self.write(learned, now, WRITTEN_AT_ONCE);
        }
    }

    /// Writes down what has changed: at most so many addresses.
    pub(super) fn write(&mut self, learned: &Learned, now: Moment, most: usize) {
        self.looked = now;
        if self.book.is_none() {
            return;
        }
        let (known, lived) = (learned.export(now), self.lived(now));
        // What is forgotten goes first: the book is never larger than what is known and one such part.
        let still: HashSet<_> = known.iter().map(|each| each.address).collect();
        let gone = self
            .written
            .keys()
            .filter(|address| !still.contains(address));
        let gone: Vec<_> = gone.copied().take(most).collect();
        let mut room = most - gone.len();
        for address in gone {
            self.remove(address.to_string());
            self.written.remove(&address);
        }
        for each in known {
            room = room.saturating_sub(usize::from(room > 0 && self.put(each, lived)));
        }
    }

    /// Whether it had to be written: what it says has changed, or its life is off by a thirtieth.
    fn put(&mut self, known: Exported, lived: u64) -> bool {
        let page = Page {
            names: known.names,
            offered: known.spoken.offered,
            negotiated: known.spoken.negotiated,
            lapses: lived.saturating_add(micros(known.remaining)),
            doubted_until: match known.doubt.is_zero() {
                true => 0,
                false => lived.saturating_add(micros(known.doubt)),
            },
        };
        let brief = self.brief(&page);
        let is_same = self
            .written
            .get(&known.address)
            .is_some_and(|(was, lapses)| {
                *was == brief && page.lapses.abs_diff(*lapses) < micros(SLACK)
            });
        if is_same {
            return false;
        }
        if let Some(book) = &self.book {
            book.put(known.address.to_string(), &page);
        }
        self.written.insert(known.address, (brief, page.lapses));
        true
    }

    fn remove(&self, name: String) {
        if let Some(book) = &self.book {
            book.remove(name);
        }
    }

    /// All but its life, and whether it is in doubt.
    fn brief(&self, page: &Page) -> u64 {
        let is_doubted = page.doubted_until > 0;
        self.hasher
            .hash_one((&page.names, page.offered, page.negotiated, is_doubted))
    }

    fn lived(&self, now: Moment) -> u64 {
        self.begun.map_or(0, |begun| begun.lived_at(now))
    }
}

fn is_zero(lived: &u64) -> bool {
    *lived == 0
}

const BOOK: &str = "learned";
/// How long what was learned may be lost to a kill.
const INTERVAL: Duration = Duration::from_secs(2);
/// Others have something to be written, too.
const WRITTEN_AT_ONCE: usize = 1024;
/// A thirtieth of the longest life.
const SLACK: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests;
