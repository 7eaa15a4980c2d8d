//! Which clients were told that nobody is there, and how long that is believed.
//!
//! Pure bookkeeping: whoever owns it decides where it counts. An endpoint that lives speaks to somebody before long, so
//! what one or two are told, or what was forged, is forgotten with the next byte; one client proves nothing, whatever
//! its datagrams do to an endpoint.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Moment;

/// Clients whose datagrams were refused since the endpoint last gave a sign of life.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    clients: Vec<IpAddr>,
    /// When the first of them was.
    since: Moment,
    /// Until when the endpoint was left alone the last time, and for how long, if it was not heard since.
    left_alone: Option<(Moment, Duration)>,
}

impl Refusals {
    /// Notes one more, at `at`, of an endpoint whose last sign of life was at `life`.
    pub(super) fn note(&mut self, client: IpAddr, at: Moment, life: Option<Moment>) {
        if life.is_some_and(|life| life >= at + STRAGGLERS) {
            return;
        }
        if at.since(self.since) > MEMORY {
            self.clients.clear();
        }
        if self.clients.is_empty() {
            self.since = at;
        }
        if self.clients.len() < CLIENTS_MAX && !self.clients.contains(&client) {
            self.clients.push(client);
        }
    }

    /// The endpoint has given a sign of life at `at`.
    pub(super) fn note_life(&mut self, at: Moment) {
        // What it said just before it died may be read just after that is known.
        if at >= self.since + STRAGGLERS {
            self.clients.clear();
            self.left_alone = None;
        }
    }

    /// Whether it was not heard since it was last left alone.
    pub(super) const fn is_unheard(&self) -> bool {
        self.left_alone.is_some()
    }

    /// Forgets the clients.
    pub(super) fn forget(&mut self) {
        self.clients.clear();
    }

    /// When the first of them was refused.
    pub(super) const fn since(&self) -> Moment {
        self.since
    }

    /// When they condemn, if no sign of life comes before: `fall` of them, two at least.
    pub(super) fn due(&self, fall: u32) -> Option<Moment> {
        let enough = usize::try_from(fall).unwrap_or(CLIENTS_MAX).max(2);
        (self.clients.len() >= enough).then(|| self.since + QUIET)
    }

    /// Forgets the clients of an endpoint that is condemned at `now`; until when it is left alone then, if it is not
    /// asked. Whoever restarts is back soon, and each trial of one that stays away costs some clients a datagram.
    pub(super) fn leave_alone(&mut self, now: Moment) -> Moment {
        self.clients.clear();
        let last = self
            .left_alone
            .filter(|(until, _)| now.since(*until) < LEFT_ALONE_MAX);
        let pause = last.map_or(LEFT_ALONE_MIN, |(_, last)| (2 * last).min(LEFT_ALONE_MAX));
        self.left_alone = Some((now + pause, pause));
        now + pause
    }
}

/// Longer than any `fall` clients of a node that is gone take, shorter than between two restarts.
const MEMORY: Duration = Duration::from_secs(10);
/// As many as `fall` can ask for.
const CLIENTS_MAX: usize = 100;
/// What a worker has read and not yet sent on.
const STRAGGLERS: Duration = Duration::from_millis(2);
/// A node with a few hundred datagrams a second is heard meanwhile, and one that is asked answers.
const QUIET: Duration = Duration::from_millis(6);
const LEFT_ALONE_MIN: Duration = Duration::from_secs(1);
const LEFT_ALONE_MAX: Duration = Duration::from_secs(60);
