//! Which flows were told that nobody is there.
//!
//! One proves little: something between may have answered for the endpoint, or it was just beginning. Bounded by
//! whoever counts: it is emptied once there are enough of them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Moment;

/// Flows, by their clients, whose datagrams were refused since the endpoint last gave a sign of life.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    clients: Vec<SocketAddr>,
    since: Moment,
    /// For how long the endpoint was left alone the last time, if it has not given a sign of life since.
    left_alone: Option<Duration>,
}

impl Refusals {
    /// Notes one more, of an endpoint that last gave a sign of life then; of how many flows there are any.
    pub(super) fn note(&mut self, client: SocketAddr, now: Moment, life: Option<Moment>) -> usize {
        if life.is_some_and(|life| life >= self.since) {
            self.clients.clear();
        }
        if self.clients.is_empty() {
            self.since = now;
        }
        if !self.clients.contains(&client) {
            self.clients.push(client);
        }
        self.clients.len()
    }

    /// Forgets the flows; for how long the endpoint is left alone before others try it. Whoever restarts is back soon,
    /// and each trial of one that stays away costs some flows a datagram.
    pub(super) fn leave_alone(&mut self) -> Duration {
        self.clients.clear();
        let pause = self
            .left_alone
            .map_or(FIRST, |last| (2 * last).min(LONGEST));
        self.left_alone = Some(pause);
        pause
    }

    /// The endpoint has given a sign of life.
    pub(super) fn note_life(&mut self) {
        self.left_alone = None;
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
