//! Who a client is, what the sessions of the process learn of that, and where they say so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::history::{History, Told};
use super::sip::Traffic;
use crate::clock::Moment;
use crate::partner::learned::Learned;
use crate::partner::table::{Known, PartnerTable};

/// Shared by all workers and by control.
#[derive(Debug)]
pub struct Recognition {
    /// Names by address.
    pub learned: Learned,
    /// How many addresses have turned out to be a partner's by a certificate.
    pub turned_out: AtomicU64,
    /// To control.
    pub history: History,
    /// Counts of handshakes.
    pub tally: Tally,
    /// Counts of SIP.
    pub sip: Traffic,
}

impl Recognition {
    /// Nothing learned yet; and where sessions are told of.
    #[must_use]
    pub fn new(workers: usize, queue: usize) -> (Self, mpsc::Receiver<Told>) {
        let (history, told) = History::new(queue);
        let recognition = Self {
            learned: Learned::default(),
            turned_out: AtomicU64::new(0),
            history,
            tally: Tally::new(workers),
            sip: Traffic::new(workers),
        };
        (recognition, told)
    }
}

/// By what a client is known. What is not configured only places: it neither lets in nor turns away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// A configured address.
    Address,
    /// An address that DNS gives for one of its names.
    Name,
    /// A certificate that was seen from its address.
    Certificate,
}

impl Recognition {
    /// The partner that a client at `ip` is, by the first that knows in the order of trust.
    #[must_use]
    pub fn recognise(
        &self,
        partners: &PartnerTable,
        ip: IpAddr,
        now: Moment,
    ) -> Option<(Arc<Known>, KnownBy)> {
        if let Some(known) = partners.find(ip) {
            return Some((Arc::clone(known), KnownBy::Address));
        }
        if let Some(known) = partners.named(ip) {
            return Some((Arc::clone(known), KnownBy::Name));
        }
        let names = self.learned.names(ip, now)?;
        let known = partners.by_certificate(&names)?;
        Some((Arc::clone(known), KnownBy::Certificate))
    }

    /// The partner that a client at `ip` has turned out to be, where it `was` taken for another, or for nobody. It is
    /// another where configured addresses say so, or where there is none any more of the name that it had.
    #[must_use]
    pub fn recognise_anew(
        &self,
        partners: &PartnerTable,
        ip: IpAddr,
        was: Option<&Known>,
        now: Moment,
    ) -> Option<(Arc<Known>, KnownBy)> {
        let (known, by) = self.recognise(partners, ip, now)?;
        let is_other = was.is_none_or(|was| {
            let is_told = by == KnownBy::Address || partners.by_name(&was.name).is_none();
            is_told && known.name != was.name
        });
        is_other.then_some((known, by))
    }
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// On which listener.
    pub listener: Arc<str>,
    /// Whose; of strangers empty.
    pub partner: Arc<str>,
    /// What.
    pub what: What,
}

/// Closed lists all: nothing that a peer sends becomes a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A version was agreed.
    Session(&'static str),
    /// A handshake was ended by this side with this alert.
    Alert(&'static str, &'static str),
    /// `tls_min` would have refused it.
    WouldRefuse,
    /// The certificate is not the configured partner's.
    NameDisagrees,
}

/// Counters by names of the configuration. Each worker has a lock of its own, which only a scrape
/// contends for.
#[derive(Debug)]
pub struct Tally {
    workers: Box<[Mutex<BTreeMap<Counted, u64>>]>,
}

impl Tally {
    fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts one more.
    pub fn add(&self, worker: usize, counted: Counted) {
        let counts = &self.workers[worker % self.workers.len()];
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(counted).or_default() += 1;
    }

    /// The sums over all workers.
    #[must_use]
    pub fn sums(&self) -> BTreeMap<Counted, u64> {
        let mut sums = BTreeMap::new();
        for counts in &self.workers {
            let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (counted, count) in counts.iter() {
                *sums.entry(counted.clone()).or_default() += count;
            }
        }
        sums
    }
}
