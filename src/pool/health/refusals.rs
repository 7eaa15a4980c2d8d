//! Which clients were told that nobody is there.
//!
//! One client proves little: a node's firewall may refuse it alone. Bounded by whoever counts: it is emptied once there
//! are enough of them.

use std::net::IpAddr;

use crate::clock::Moment;

/// Clients whose datagrams were refused since the endpoint last gave a sign of life.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    clients: Vec<IpAddr>,
    since: Moment,
}

impl Refusals {
    /// Notes one more, of an endpoint that last gave a sign of life then; of how many clients there are any.
    pub(super) fn note(&mut self, client: IpAddr, now: Moment, life: Option<Moment>) -> usize {
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

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.clients.clear();
    }
}
