//! Whom a listener lets in, how many sessions it takes, and from whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::config::model::{self, Rate};
use crate::partner::table::Known;
use crate::pool::schedule::{slot, whole_period};

/// Whether a listener lets a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may come.
    Granted,
    /// `allow` does not name it.
    NotAllowed,
    /// It belongs to a partner that is blocked.
    Blocked,
}

impl Access {
    /// Of a client at `ip`, whose configured addresses make it `partner`.
    #[must_use]
    pub fn of(allow: &model::Allow, ip: IpAddr, partner: Option<&Arc<Known>>) -> Self {
        let is_allowed = match allow {
            model::Allow::Any => true,
            model::Allow::Partners => partner.is_some(),
            model::Allow::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&ip)),
        };
        match partner.is_some_and(|partner| partner.blocked) {
            true => Self::Blocked,
            false if is_allowed => Self::Granted,
            false => Self::NotAllowed,
        }
    }
}

/// Counts the sessions of one listener against its limits. Outlives reloads.
#[derive(Debug, Default)]
pub struct Admission {
    sessions: AtomicU32,
    /// Only kept while there is a limit per client.
    clients: Mutex<HashMap<IpAddr, Client>>,
}

/// What one client has.
#[derive(Debug, Default)]
struct Client {
    sessions: u32,
    /// When the next one comes who keeps the rate.
    next: Moment,
}

impl Client {
    /// Whether it is as if it had never come: the tolerance of every rate has passed.
    fn is_forgotten(&self, now: Moment) -> bool {
        self.sessions == 0 && self.next + LONGEST_PERIOD <= now
    }
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
    /// Admits a session of `client` to its `place`, where it needs one, unless a limit is reached. A tenth of the
    /// listener's sessions, and of all places, is kept for configured partners.
    pub fn enter(
        self: &Arc<Self>,
        limits: &model::Listener,
        place: Option<Place>,
        client: IpAddr,
        is_partner: bool,
    ) -> Option<Ticket> {
        let is_kept = |place: &Place| !is_partner && !place.is_open_to_all();
        if place.as_ref().is_some_and(is_kept) {
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
        let rate = limits.connect_rate_per_client.filter(|_| !is_partner);
        if limits.max_sessions_per_client > 0 || rate.is_some() {
            ticket.client = self.enter_client(limits.max_sessions_per_client, rate, client)?;
        }
        Some(ticket)
    }

    /// Counts one session more of `client`, unless it has as many as it may, or comes too fast. Where more
    /// clients than [`CLIENTS_MAX`] are remembered a new one is not limited: whoever has so many addresses
    /// is not stopped by counting them.
    fn enter_client(
        &self,
        most: u32,
        rate: Option<Rate>,
        client: IpAddr,
    ) -> Option<Option<Box<IpAddr>>> {
        let now = Moment::now();
        let mut clients = self.clients();
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&client) {
            clients.retain(|_, each| !each.is_forgotten(now));
            if clients.len() >= CLIENTS_MAX {
                return Some(None);
            }
        }
        let known = clients.entry(client).or_default();
        if most > 0 && known.sessions >= most {
            return None;
        }
        if let Some(rate) = rate {
            let slot = slot(known.next, rate, whole_period(rate), now);
            if slot.at > now {
                return None;
            }
            known.next = slot.next;
        }
        known.sessions += 1;
        Some(Some(Box::new(client)))
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place within the limits; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    _place: Option<Place>,
    /// Where the sessions of each client are counted; apart, because few listeners do that.
    client: Option<Box<IpAddr>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.sessions.fetch_sub(1, Relaxed);
        if let Some(client) = &self.client {
            let mut clients = self.admission.clients();
            if let Some(known) = clients.get_mut(client) {
                known.sessions -= 1;
                if known.is_forgotten(Moment::now()) {
                    clients.remove(client);
                }
            }
        }
    }
}

/// A few megabytes; more are not remembered at once.
const CLIENTS_MAX: usize = 65_536;
/// Rates are written for a second or a minute.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);
