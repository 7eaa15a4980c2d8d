//! Which clients' resets were heard lately.
//!
//! One client whose bytes make nodes reset must not keep them all in suspicion, so each client is
//! heard once in a while. Bounded: the oldest is forgotten when many have news.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Moment;

/// The last clients that were heard, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct SoftMemory(VecDeque<(IpAddr, Moment)>);

impl SoftMemory {
    /// Whether a reset of this client's session is worth a probe.
    pub(super) fn is_news(&mut self, client: IpAddr, now: Moment) -> bool {
        while let Some((_, at)) = self.0.front()
            && now.since(*at) >= MEMORY
        {
            self.0.pop_front();
        }
        if self.0.iter().any(|(known, _)| *known == client) {
            return false;
        }
        if self.0.len() == CLIENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((client, now));
        true
    }
}

/// A client is heard again after this time. A node that really fails is found by its probes.
const MEMORY: Duration = Duration::from_secs(10);

/// Clients remembered at once.
const CLIENTS_MAX: usize = 32;
