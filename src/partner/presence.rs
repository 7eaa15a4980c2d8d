//! Where a partner is right now, however it is pinned, and when it was last there.
//!
//! Owns the counts of a partner's sessions that a node has answered, by listener and endpoint, and when the newest
//! began; who they are is their worker's. One presence belongs to a partner's name and outlives reloads.
//!
//! Invariants: each worker counts in cache lines of its own, by plain loads and stores, so that no session
//! waits for another, nor for whoever reads; a place without sessions is given to the next, so that there
//! are never more than were in use at once.
//!
//! Ordering: a place is named before its count is raised, and the count is released. Whoever reads a count
//! sees its place, or a later one where a session is just beginning.

use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::clock::Moment;

/// The presence of one partner.
#[derive(Debug)]
pub struct Presence {
    workers: Box<[OnceLock<Box<Share>>]>,
}

/// Sessions in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the listener.
    pub listener: u32,
    /// The number of the endpoint; [`Place::FORSAKEN`] where it is dead and the sessions are left to end by
    /// themselves.
    pub endpoint: u32,
}

impl Place {
    /// No endpoint has this number.
    pub const FORSAKEN: u32 = 0;

    const fn key(self) -> u64 {
        (self.listener as u64) << 32 | self.endpoint as u64
    }

    fn of_key(key: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = key.to_be_bytes();
        Self {
            listener: u32::from_be_bytes([a, b, c, d]),
            endpoint: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    /// In microseconds; 0: never.
    last_used: AtomicU64,
    first: Spots,
}

/// A few places, and more where they do not suffice.
#[derive(Debug, Default)]
struct Spots {
    few: [Spot; 3],
    more: OnceLock<Box<Self>>,
}

#[derive(Debug, Default)]
struct Spot {
    place: AtomicU64,
    /// When the newest session began, in microseconds; 0: not known.
    begun: AtomicU64,
    sessions: AtomicU64,
}

impl Presence {
    /// A worker goes by the moment of its last tick.
    pub const LAG: Duration = Duration::from_millis(200);

    /// Nowhere yet; so many workers count.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A session is served. Only the thread of `worker` may call this; its clock may be late by
    /// [`LAG`](Self::LAG), here and where a session ends.
    pub fn begin(&self, worker: usize, place: Place, now: Moment) {
        let share = self.workers[worker % self.workers.len()].get_or_init(Box::default);
        share.last_used.store(now.as_micros(), Relaxed);
        let spot = share.spot(place);
        spot.begun.store(now.as_micros(), Relaxed);
        spot.count(|sessions| sessions + 1);
    }

    /// A session that began in this place has ended, or goes on elsewhere. Only the thread of `worker` may
    /// call this.
    pub fn end(&self, worker: usize, place: Place, now: Moment) {
        let Some(share) = self.workers[worker % self.workers.len()].get() else {
            return;
        };
        share.last_used.store(now.as_micros(), Relaxed);
        if let Some(spot) = share.known(place) {
            let begun = Moment::from_micros(spot.begun.load(Relaxed));
            if now.since(begun) <= Self::LAG {
                // It was the newest, perhaps: those that stay are older than nobody knows what.
                spot.begun.store(0, Relaxed);
            }
            spot.count(|sessions| sessions.saturating_sub(1));
        }
    }

    /// Where it has sessions, and how many; a place comes once for each worker that has some.
    pub fn places(&self) -> impl Iterator<Item = (Place, u64)> {
        let shares = self.workers.iter().filter_map(OnceLock::get);
        let spots = shares.flat_map(|share| share.spots());
        spots.filter_map(Spot::read)
    }

    /// Where it has sessions, and by when the newest of them had begun at the latest; a place comes once for each
    /// worker that has some. No moment where the newest may be one that ended as soon as it had begun.
    pub fn newest(&self) -> impl Iterator<Item = (Place, Option<Moment>)> {
        let shares = self.workers.iter().filter_map(OnceLock::get);
        let spots = shares.flat_map(|share| share.spots());
        spots.filter_map(|spot| {
            let (place, _) = spot.read()?;
            let begun = spot.begun.load(Relaxed);
            let begun = (begun > 0).then(|| Moment::from_micros(begun) + Self::LAG);
            Some((place, begun))
        })
    }

    /// How many sessions it has.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.places().map(|(_, sessions)| sessions).sum()
    }

    /// Whether a node serves it on a listener.
    #[must_use]
    pub fn is_served_on(&self, listener: u32) -> bool {
        let mut places = self.places();
        places.any(|(place, _)| place.listener == listener && place.endpoint != Place::FORSAKEN)
    }

    /// When a session last began or ended; none: it has not come since the process began.
    #[must_use]
    pub fn last_used(&self) -> Option<Moment> {
        let shares = self.workers.iter().filter_map(OnceLock::get);
        let last = shares.map(|share| share.last_used.load(Relaxed)).max()?;
        Some(Moment::from_micros(last))
    }
}

impl Share {
    fn spots(&self) -> impl Iterator<Item = &Spot> {
        let all = iter::successors(Some(&self.first), |spots| {
            spots.more.get().map(|more| &**more)
        });
        all.flat_map(|spots| &spots.few)
    }

    /// The spot of a place that has sessions.
    fn known(&self, place: Place) -> Option<&Spot> {
        let mut spots = self.spots();
        spots.find(|spot| spot.read().is_some_and(|(at, _)| at == place))
    }

    /// The spot of a place, or one that is free, which then is its.
    fn spot(&self, place: Place) -> &Spot {
        self.known(place).unwrap_or_else(|| {
            let free = self.spots().find(|spot| spot.read().is_none());
            let spot = free.unwrap_or_else(|| self.another());
            spot.place.store(place.key(), Relaxed);
            spot
        })
    }

    fn another(&self) -> &Spot {
        let mut last = &self.first;
        while let Some(more) = last.more.get() {
            last = more;
        }
        &last.more.get_or_init(Box::default).few[0]
    }
}

impl Spot {
    fn read(&self) -> Option<(Place, u64)> {
        let sessions = self.sessions.load(Acquire);
        let place = || Place::of_key(self.place.load(Relaxed));
        (sessions > 0).then(|| (place(), sessions))
    }

    fn count(&self, change: impl FnOnce(u64) -> u64) {
        let sessions = change(self.sessions.load(Relaxed));
        self.sessions.store(sessions, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Moment {
        Moment::from_micros(micros)
    }

    fn place(listener: u32, endpoint: u32) -> Place {
        Place { listener, endpoint }
    }

    #[test]
    fn a_partner_is_where_it_has_sessions_whatever_worker_they_are_on() {
        let presence = Presence::new(2);
        assert_eq!((presence.sessions(), presence.last_used()), (0, None));
        presence.begin(0, place(1, 7), at(1));
        presence.begin(1, place(1, 7), at(2));
        presence.begin(0, place(2, 8), at(3));
        assert_eq!(presence.sessions(), 3);
        presence.end(0, place(1, 7), at(4));
        assert!(presence.is_served_on(1) && presence.is_served_on(2));
        assert!(!presence.is_served_on(3));
        presence.end(1, place(1, 7), at(5));
        assert!(!presence.is_served_on(1));
        assert_eq!(presence.places().collect::<Vec<_>>(), [(place(2, 8), 1)]);
        assert_eq!(presence.last_used(), Some(at(5)));
    }

    #[test]
    fn an_end_too_many_takes_nothing_from_others_and_nothing_below_zero() {
        let presence = Presence::new(1);
        presence.end(0, place(1, 7), at(1));
        presence.begin(0, place(1, 7), at(2));
        presence.end(0, place(1, 8), at(3));
        assert_eq!(presence.sessions(), 1);
        presence.end(0, place(1, 7), at(4));
        presence.end(0, place(1, 7), at(5));
        assert_eq!(presence.sessions(), 0);
        presence.begin(0, place(1, 7), at(6));
        assert_eq!(presence.sessions(), 1);
    }

    #[test]
    fn who_is_left_on_a_dead_node_is_there_and_is_not_served() {
        let presence = Presence::new(1);
        presence.begin(0, place(1, Place::FORSAKEN), at(1));
        assert_eq!(presence.sessions(), 1);
        assert!(!presence.is_served_on(1));
    }

    #[test]
    fn the_newest_in_a_place_is_known_unless_it_ended_as_soon_as_it_had_begun() {
        let presence = Presence::new(1);
        let second = |second: u64| at(1_000_000 * second);
        let newest = || presence.newest().next().map(|(_, begun)| begun);
        assert_eq!(newest(), None);
        presence.begin(0, place(1, 7), second(1));
        presence.begin(0, place(1, 7), second(2));
        assert_eq!(newest(), Some(Some(second(2) + Presence::LAG)));
        // Whichever has ended: the newest began no later than that.
        presence.end(0, place(1, 7), second(3));
        assert_eq!(newest(), Some(Some(second(2) + Presence::LAG)));
        presence.begin(0, place(1, 7), second(4));
        presence.end(0, place(1, 7), second(4) + Presence::LAG);
        assert_eq!(newest(), Some(None), "one is there, since who knows when");
        presence.begin(0, place(1, 7), second(5));
        assert_eq!(newest(), Some(Some(second(5) + Presence::LAG)));
    }

    #[test]
    fn places_that_nobody_is_in_any_more_are_used_again() {
        let presence = Presence::new(1);
        for round in 0..100 {
            let places = (0..10).map(|more| place(1, 10 * round + more + 1));
            let places: Vec<_> = places.collect();
            for each in &places {
                presence.begin(0, *each, at(1));
            }
            let mut found: Vec<_> = presence.places().map(|(place, _)| place).collect();
            found.sort_by_key(|place| place.key());
            assert_eq!(found, places);
            for each in &places {
                presence.end(0, *each, at(1));
            }
        }
        let share = presence.workers[0].get().unwrap();
        assert_eq!(share.spots().count(), 12);
    }

    #[test]
    fn whoever_reads_meanwhile_sees_places_that_were_there() {
        let presence = Presence::new(1);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..20_000 {
                    let place = place(1, 1 + round % 5);
                    presence.begin(0, place, at(1));
                    presence.begin(0, place, at(1));
                    presence.end(0, place, at(2));
                    presence.end(0, place, at(2));
                }
            });
            while !writer.is_finished() {
                for (place, sessions) in presence.places() {
                    assert!((1..=5).contains(&place.endpoint) && place.listener == 1);
                    assert!((1..=2).contains(&sessions));
                }
            }
        });
        assert_eq!(presence.sessions(), 0);
    }
}
