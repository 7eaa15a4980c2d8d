//! How many sessions a listener takes, and from whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::model;

/// Counts the sessions of one listener against its limits. Outlives reloads.
#[derive(Debug, Default)]
pub struct Admission {
    sessions: AtomicU32,
    /// Only kept while there is a limit per client.
    clients: Mutex<HashMap<IpAddr, u32>>,
}

/// Descriptors that all listeners share.
#[derive(Debug)]
pub struct Capacity {
    sessions: AtomicU64,
    most: u64,
}

impl Capacity {
    /// Room for `most` sessions in the whole process.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self {
            sessions: AtomicU64::new(0),
            most,
        }
    }

    /// The most sessions there may be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    /// A place for one more connection, before it is known whose it is.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let more = |count: u64| (count < self.most).then_some(count + 1);
        self.sessions.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

/// The descriptors of one session; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Capacity>);

impl Place {
    /// Whether taking this place has left the partners their tenth.
    fn is_open_to_all(&self) -> bool {
        let most = self.0.most;
        self.0.sessions.load(Relaxed) <= most - most / 10
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Relaxed);
    }
}

impl Admission {
    /// Admits a session of `client` to its `place`, unless a limit is reached. A tenth of the
    /// listener's sessions, and of all places, is kept for configured partners.
    pub fn enter(
        self: &Arc<Self>,
        limits: &model::Listener,
        place: Place,
        client: IpAddr,
        is_partner: bool,
    ) -> Option<Ticket> {
        if !is_partner && !place.is_open_to_all() {
            return None;
        }
        let limit = limits.max_sessions;
        let limit = if is_partner {
            limit
        } else {
            limit - limit / 10
        };
        let more = |count: u32| (count < limit).then_some(count + 1);
        self.sessions.fetch_update(Relaxed, Relaxed, more).ok()?;
        let mut ticket = Ticket {
            admission: Arc::clone(self),
            _place: place,
            client: None,
        };
        if limits.max_sessions_per_client > 0 {
            let mut clients = self.clients();
            let count = clients.entry(client).or_insert(0);
            if *count >= limits.max_sessions_per_client {
                return None;
            }
            *count += 1;
            ticket.client = Some(Box::new(client));
        }
        Some(ticket)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place within the limits; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    _place: Place,
    /// Where the sessions of each client are counted; apart, because few listeners do that.
    client: Option<Box<IpAddr>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.sessions.fetch_sub(1, Relaxed);
        if let Some(client) = &self.client {
            let mut clients = self.admission.clients();
            if let Some(count) = clients.get_mut(client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(client);
                }
            }
        }
    }
}
