//! Whether workers can speak in the names of clients, as control sees it.
//!
//! Ordering: each worker writes its own states, and nothing else depends on them: relaxed.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How one worker fares with one version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It has not been needed, or not been tried.
    Unknown,
    /// Answers come back.
    Works,
    /// A capability is missing.
    NotAllowed,
    /// Another process has the port where nodes' answers come.
    PortTaken,
    /// The sockets cannot be opened for another reason: no descriptors, no such version of IP.
    NoSockets,
    /// The policy routing is missing.
    NoRoute,
    /// The firewall's rules are missing, or do not know this worker.
    NoRules,
}

impl State {
    /// Behind the first two all are troubles, the worst first.
    const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Works,
        Self::NotAllowed,
        Self::PortTaken,
        Self::NoSockets,
        Self::NoRoute,
        Self::NoRules,
    ];

    /// What stands in the way where the sockets cannot be opened.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        if kind == ErrorKind::PermissionDenied {
            Self::NotAllowed
        } else if kind == ErrorKind::AddrInUse {
            Self::PortTaken
        } else {
            Self::NoSockets
        }
    }
}

/// How the workers fare.
#[derive(Debug)]
pub struct Diversions {
    workers: Box<[[AtomicU8; 2]]>,
}

impl Diversions {
    /// Nothing is known of so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Default::default()).collect(),
        }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// This worker fares so; whether that is news.
    pub fn tell(&self, worker: u8, is_ipv6: bool, state: State) -> bool {
        let of = self.of(usize::from(worker), is_ipv6);
        of.is_some_and(|of| of.swap(state as u8, Relaxed) != state as u8)
    }

    /// What stands in the way of one version of IP, and how many workers it concerns; the worst of several. `None`
    /// where all is well, or nothing is known.
    #[must_use]
    pub fn trouble(&self, is_ipv6: bool) -> Option<(State, usize)> {
        let states = (0..self.workers.len()).filter_map(|worker| {
            let number = self.of(worker, is_ipv6)?.load(Relaxed);
            State::ALL.get(usize::from(number)).copied()
        });
        let states: Vec<_> = states.collect();
        let troubles = State::ALL.into_iter();
        let mut troubles = troubles.filter(|state| !matches!(state, State::Unknown | State::Works));
        troubles.find_map(|trouble| {
            let count = states.iter().filter(|state| **state == trouble).count();
            (count > 0).then_some((trouble, count))
        })
    }

    fn of(&self, worker: usize, is_ipv6: bool) -> Option<&AtomicU8> {
        self.workers.get(worker)?.get(usize::from(is_ipv6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_trouble_is_told_with_all_whom_it_concerns() {
        let diversions = Diversions::new(3);
        assert_eq!(diversions.trouble(false), None);
        diversions.tell(0, false, State::Works);
        diversions.tell(1, false, State::NoRules);
        diversions.tell(2, false, State::NoRules);
        assert_eq!(diversions.trouble(false), Some((State::NoRules, 2)));
        assert_eq!(diversions.trouble(true), None);
        diversions.tell(1, false, State::NoRoute);
        assert_eq!(diversions.trouble(false), Some((State::NoRoute, 1)));
        diversions.tell(1, false, State::Works);
        diversions.tell(2, false, State::Works);
        assert_eq!(diversions.trouble(false), None);
        diversions.tell(9, false, State::NoRules);
        assert_eq!(diversions.trouble(false), None, "there is no such worker");
    }

    #[test]
    fn whoever_has_the_port_is_not_taken_for_a_missing_right() {
        let has_it = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = std::net::UdpSocket::bind(has_it.local_addr().unwrap()).unwrap_err();
        assert_eq!(State::of(&taken), State::PortTaken);
        let of = |errno: rustix::io::Errno| State::of(&errno.into());
        assert_eq!(of(rustix::io::Errno::PERM), State::NotAllowed);
        assert_eq!(of(rustix::io::Errno::ACCESS), State::NotAllowed);
        assert_eq!(of(rustix::io::Errno::MFILE), State::NoSockets);
    }

    #[test]
    fn states_have_their_numbers() {
        for (number, state) in (0..).zip(State::ALL) {
            assert_eq!(state as u8, number);
        }
    }
}
