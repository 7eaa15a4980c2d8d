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
}

impl Admission {
    /// Admits a session of `client`, unless a limit is reached. A tenth of the listener's sessions is
    /// kept for configured partners.
    pub fn enter(
        self: &Arc<Self>,
        limits: &model::Listener,
        capacity: &Arc<Capacity>,
        client: IpAddr,
        is_partner: bool,
    ) -> Option<Ticket> {
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
            capacity: None,
            client: None,
        };
        let more = |count: u64| (count < capacity.most).then_some(count + 1);
        capacity
            .sessions
            .fetch_update(Relaxed, Relaxed, more)
            .ok()?;
        ticket.capacity = Some(Arc::clone(capacity));
        if limits.max_sessions_per_client > 0 {
            let mut clients = self.clients();
            let count = clients.entry(client).or_insert(0);
            if *count >= limits.max_sessions_per_client {
                return None;
            }
            *count += 1;
            ticket.client = Some(client);
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
    capacity: Option<Arc<Capacity>>,
    client: Option<IpAddr>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.sessions.fetch_sub(1, Relaxed);
        if let Some(capacity) = &self.capacity {
            capacity.sessions.fetch_sub(1, Relaxed);
        }
        if let Some(client) = self.client {
            let mut clients = self.admission.clients();
            if let Some(count) = clients.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&client);
                }
            }
        }
    }
}
