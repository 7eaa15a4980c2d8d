//! How a peer comes and goes, as far as that tells what it runs.
//!
//! Owns a bounded memory of one peer's visits. Decides nothing: what it says is a suggestion beside what
//! was configured.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Moment;

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// By the peer, and nothing was said that a node could have used.
    Empty,
    /// By the peer.
    Own,
    /// It was ended: when it comes back tells how it takes that.
    Cut,
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug)]
struct Visit {
    from: IpAddr,
    started: Moment,
    ended: Moment,
    is_empty: bool,
}

/// What is remembered of one peer.
#[derive(Debug, Default)]
pub struct Habit {
    visits: VecDeque<Visit>,
    returns: VecDeque<Duration>,
    /// Since when it is away because it was cut.
    cut_at: Option<Moment>,
    last_begun: Option<Moment>,
}

impl Habit {
    /// Visits that are remembered.
    pub const VISITS_MAX: usize = 64;
    /// Returns that are remembered.
    pub const RETURNS_MAX: usize = 16;

    /// A connection was made. May be told twice, and late.
    pub fn began(&mut self, at: Moment) {
        self.last_begun = self.last_begun.max(Some(at));
        if let Some(cut_at) = self.cut_at.filter(|cut_at| *cut_at <= at) {
            self.cut_at = None;
            remember(&mut self.returns, at.since(cut_at), Self::RETURNS_MAX);
        }
    }

    /// A connection from `from` has ended.
    pub fn ended(&mut self, from: IpAddr, started: Moment, ended: Moment, parting: Parting) {
        self.began(started);
        let visit = Visit {
            from,
            started,
            ended,
            is_empty: parting == Parting::Empty,
        };
        remember(&mut self.visits, visit, Self::VISITS_MAX);
        if parting == Parting::Cut {
            // Of several connections that are cut together the last one counts.
            self.cut_at = self.cut_at.max(Some(ended));
            if let Some(begun) = self.last_begun {
                self.began(begun);
            }
        }
    }

    /// Connections that have ended and are remembered.
    #[must_use]
    pub fn visits(&self) -> usize {
        self.visits.len()
    }

    /// Those in which nothing was said.
    #[must_use]
    pub fn empty(&self) -> usize {
        self.visits.iter().filter(|visit| visit.is_empty).count()
    }

    /// From how many addresses they came.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.by_address().len()
    }

    /// The most connections that one address had at a time, among those that have ended.
    #[must_use]
    pub fn at_once(&self) -> usize {
        let of_address = |mut visits: Vec<Visit>| {
            visits.sort_by_key(|visit| visit.started);
            let overlap = |visit: &Visit| {
                let before = visits
                    .iter()
                    .take_while(|other| other.started <= visit.started);
                before.filter(|other| other.ended > visit.started).count()
            };
            visits.iter().map(overlap).max().unwrap_or(0)
        };
        let most = self.by_address().into_values().map(of_address);
        most.max().unwrap_or(0)
    }

    /// How long it was away, in the median, each time it had been cut; and how often that was.
    #[must_use]
    pub fn away(&self) -> Option<(Duration, usize)> {
        let mut returns: Vec<_> = self.returns.iter().copied().collect();
        returns.sort();
        let median = returns.get(returns.len() / 2)?;
        Some((*median, returns.len()))
    }

    fn by_address(&self) -> HashMap<IpAddr, Vec<Visit>> {
        let mut addresses = HashMap::<_, Vec<Visit>>::new();
        for visit in &self.visits {
            addresses.entry(visit.from).or_default().push(*visit);
        }
        addresses
    }
}

fn remember<T>(memory: &mut VecDeque<T>, what: T, max: usize) {
    if memory.len() == max {
        memory.pop_front();
    }
    memory.push_back(what);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_is_away_after_a_cut_is_timed_once_whoever_tells_it_first() {
        let mut habit = Habit::default();
        for (number, parting) in [Parting::Own, Parting::Cut, Parting::Cut]
            .into_iter()
            .enumerate()
        {
            habit.ended(HERE, at(0), at(10 + number as u64), parting);
        }
        assert_eq!(habit.away(), None, "it has not come yet");
        habit.began(at(52));
        habit.began(at(53));
        assert_eq!(habit.away(), Some((Duration::from_secs(40), 1)));
        // The news of the return overtook that of the cut.
        habit.began(at(105));
        habit.ended(HERE, at(53), at(100), Parting::Cut);
        assert_eq!(habit.away(), Some((Duration::from_secs(40), 2)));
        habit.began(at(300));
        assert_eq!(habit.away().unwrap().1, 2, "nobody had cut it");
    }

    proptest! {
        #[test]
        fn connections_at_once_are_those_of_a_count_at_each_second(
            visits in prop::collection::vec((0..3_u8, 0..50_u64, 1..20_u64), 0..Habit::VISITS_MAX),
        ) {
            let mut habit = Habit::default();
            let address = |number: u8| IpAddr::from([192, 0, 2, number]);
            for (from, start, length) in &visits {
                habit.ended(address(*from), at(*start), at(start + length), Parting::Own);
            }
            let alive = |from: u8, second: u64| {
                let alive = visits.iter().filter(|(of, start, length)| {
                    *of == from && (*start..start + length).contains(&second)
                });
                alive.count()
            };
            let seconds = (0..3_u8).flat_map(|from| (0..70).map(move |second| (from, second)));
            let expected = seconds.map(|(from, second)| alive(from, second)).max().unwrap_or(0);
            prop_assert_eq!(habit.at_once(), expected);
        }

        #[test]
        fn memory_is_bounded(ends in prop::collection::vec((0..9_u64, 0..9_u64, any::<bool>()), 0..300)) {
            let mut habit = Habit::default();
            for (started, ended, cut) in ends {
                let parting = if cut { Parting::Cut } else { Parting::Empty };
                habit.ended(HERE, at(started), at(ended), parting);
            }
            prop_assert!(habit.visits() <= Habit::VISITS_MAX);
            prop_assert!(habit.away().is_none_or(|(_, count)| count <= Habit::RETURNS_MAX));
            prop_assert!(habit.empty() <= habit.visits());
        }
    }
}
