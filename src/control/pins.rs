//! What administrators want of pins: checked, done, made durable, and only then answered.
//!
//! The table is changed by control itself; what takes time (workers that count, a disk) is awaited by a
//! task of its own, so that nobody else waits for it. A pin that cannot be made durable stands all the
//! same, and whoever asked is told: in an emergency a full disk must not keep a partner where it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use self::places::PinRefused;
use self::places::Place;
use super::doors::tell;
use super::{Control, Shared};
use crate::clock::Moment;
use crate::pool::pins::{Kept, Order as Word, PinKey, PinnedBy, Put};
use crate::pool::placement::Subject;
use crate::relay::session::{Concerned, EndpointNumber, Survey};
use crate::worker::{self, Strays};

pub(in crate::control) mod import;
mod places;

/// Where a partner is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The partner.
    pub partner: String,
    /// The node.
    pub node: String,
    /// Only in this pool.
    pub pool: Option<String>,
    /// Only for listeners of this affinity.
    pub affinity: Option<String>,
    /// End its sessions on other nodes.
    pub is_now: bool,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// What is to be pinned no more.
#[derive(Clone, Debug)]
pub struct Unwish {
    /// A partner, an address or a prefix.
    pub subject: String,
    /// Only in this pool.
    pub pool: Option<String>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A pin that an administrator made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinChanged {
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// The node that it names now.
    pub node: String,
    /// The node that it named before.
    pub before: Option<String>,
    /// What the node is good for at this moment, where a pin does not hold there: a partner that comes
    /// meanwhile goes elsewhere, and its pin with it.
    pub standing: Option<String>,
    /// Sessions of the partner on other nodes: they were taken off those, or stay as long as they last.
    pub elsewhere: usize,
    /// Those of SIP among them: taken off a node they go on with another one, where one takes them.
    #[serde(default)]
    pub sip: usize,
    /// Whether they were taken off; all but those of SIP end by it.
    pub ended: bool,
}

/// A pin that an administrator removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinRemoved {
    /// Whom it was about.
    pub subject: String,
    /// The pool.
    pub pool: String,
    /// The affinity.
    pub affinity: String,
    /// The node that it named.
    pub node: String,
    /// Sessions that lived under it; they go on.
    pub sessions: u32,
}

/// What came of a wish.
pub type Granted<T> = Result<Vec<T>, PinRefused>;

impl Control {
    /// Pins a partner by hand. The answer goes out once that is durable.
    pub(super) fn pin(&self, wish: &Wish, answer: oneshot::Sender<Granted<PinChanged>>) {
        let places = match self.places(wish) {
            Ok(places) => places,
            Err(refused) => return drop(answer.send(Err(refused))),
        };
        let now = Moment::now();
        let word = Arc::new(Word {
            by: wish.by.clone(),
            reason: wish.reason.clone(),
            at: Timestamp::now().as_second(),
        });
        let snapshot = self.shared.snapshot.load();
        let mut changed = Vec::new();
        let mut strays = Vec::new();
        for place in places {
            changed.push(self.pin_at(&place, wish, &word, now));
            strays.push(Strays::of(&snapshot, &place.key, &wish.node, wish.is_now));
        }
        let (shared, workers) = (Arc::clone(&self.shared), self.orders());
        tokio::spawn(async move {
            for (changed, strays) in changed.iter_mut().zip(strays) {
                let gathered = gather(&workers, strays).await;
                (changed.elsewhere, changed.sip) = (gathered.sessions, gathered.sip);
            }
            let _ = answer.send(durable(&shared).await.map(|()| changed));
        });
    }

    fn pin_at(&self, place: &Place, wish: &Wish, word: &Arc<Word>, now: Moment) -> PinChanged {
        let pins = &self.shared.pins;
        let kept = Kept {
            node: Arc::from(&*wish.node),
            since: now,
            by: PinnedBy::ByHand,
            last_used: pins
                .inspect(&place.key, now)
                .map_or(now, |pin| pin.last_used),
            revision: self.shared.snapshot.load().revision,
            ttl: place.ttl,
            order: Some(Arc::clone(word)),
            home: None,
            looks_legacy: false,
        };
        let before = match pins.put(&place.key, kept, now) {
            Put::Moved(before) => Some(before.to_string()),
            Put::New | Put::Full => None,
        };
        let scope = &place.key.scope;
        tracing::warn!(
            partner = wish.partner, pool = %scope.pool, affinity = %scope.affinity,
            to = wish.node, from = before.as_deref().unwrap_or("-"), now = wish.is_now,
            by = wish.by, reason = wish.reason.as_deref().unwrap_or("-"),
            "pinned-by-hand"
        );
        PinChanged {
            pool: scope.pool.to_string(),
            affinity: scope.affinity.to_string(),
            node: wish.node.clone(),
            before,
            standing: place.standing.clone(),
            elsewhere: 0,
            sip: 0,
            ended: wish.is_now,
        }
    }

    /// Removes pins. The answer goes out once that is durable.
    pub(super) fn unpin(&self, unwish: &Unwish, answer: oneshot::Sender<Granted<PinRemoved>>) {
        let now = Moment::now();
        let net = unwish.net();
        let is_meant = |key: &PinKey| {
            let is_whom = match (&key.subject, net) {
                (Subject::Partner(name), _) => **name == *unwish.subject,
                (Subject::Prefix(net), Some(wanted)) => {
                    wanted.contains(net)
                        || (wanted.prefix_len() == wanted.max_prefix_len() && net.contains(&wanted))
                }
                (Subject::Prefix(_), None) => false,
            };
            let is_where = |pool: &String| **pool == *key.scope.pool;
            is_whom && unwish.pool.as_ref().is_none_or(is_where)
        };
        let mut removed = Vec::new();
        for (key, pin) in self.shared.pins.list_where(now, |key, _| is_meant(key)) {
            if self.shared.pins.forget(&key) {
                tracing::warn!(
                    subject = %key.subject, pool = %key.scope.pool, affinity = %key.scope.affinity,
                    from = %pin.node, by = unwish.by, reason = unwish.reason.as_deref().unwrap_or("-"),
                    "unpinned"
                );
                removed.push(PinRemoved {
                    subject: key.subject.to_string(),
                    pool: key.scope.pool.to_string(),
                    affinity: key.scope.affinity.to_string(),
                    node: pin.node.to_string(),
                    sessions: pin.sessions,
                });
            }
        }
        if removed.is_empty() {
            let refused = self.nothing_pinned(unwish);
            return drop(answer.send(Err(refused)));
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let _ = answer.send(durable(&shared).await.map(|()| removed));
        });
    }

    fn nothing_pinned(&self, unwish: &Unwish) -> PinRefused {
        let subject = unwish.subject.clone();
        let is_known = self
            .config
            .partners
            .iter()
            .any(|known| known.name == subject);
        if is_known || unwish.net().is_some() {
            PinRefused::NotPinned(subject)
        } else {
            self.unknown_partner(&subject)
        }
    }
}

impl Unwish {
    fn net(&self) -> Option<ipnet::IpNet> {
        let net = self.subject.parse().ok();
        net.or_else(|| Some(self.subject.parse::<std::net::IpAddr>().ok()?.into()))
    }
}

/// Waits until what was changed is durable.
pub(super) async fn durable(shared: &Shared) -> Result<(), PinRefused> {
    let Some(store) = &shared.store else {
        return Ok(());
    };
    let flushed = timeout(DISK_TIMEOUT, store.flush()).await;
    flushed
        .unwrap_or_else(|_| Err("the disk does not answer".into()))
        .map_err(PinRefused::NotKept)
}

/// How many sessions of a partner are elsewhere; they are interrupted, where that is wanted.
pub(super) async fn gather(workers: &[mpsc::Sender<worker::Order>], strays: Strays) -> Concerned {
    let strays = Arc::new(strays);
    let (answer, mut answers) = mpsc::channel(workers.len().max(1));
    tell(workers, || worker::Order::Gather {
        strays: Arc::clone(&strays),
        answer: answer.clone(),
    })
    .await;
    drop(answer);
    let mut count = Concerned::default();
    // A worker that is busy for so long has its sessions interrupted all the same.
    let counted = async {
        while let Some(of_worker) = answers.recv().await {
            count += of_worker;
        }
    };
    let _ = timeout(WORKERS_TIMEOUT, counted).await;
    count
}

impl Control {
    /// Tells where a partner's sessions are.
    pub(super) fn locate(
        &self,
        partner: Arc<str>,
        answer: oneshot::Sender<HashMap<EndpointNumber, Survey>>,
    ) {
        let workers = self.orders();
        tokio::spawn(async move { answer.send(locate(&workers, &partner).await) });
    }
}

/// Where a partner's sessions are, and what they are doing. A worker that does not answer has none.
pub(super) async fn locate(
    workers: &[mpsc::Sender<worker::Order>],
    partner: &Arc<str>,
) -> HashMap<EndpointNumber, Survey> {
    let (answer, mut answers) = mpsc::channel(workers.len().max(1));
    tell(workers, || worker::Order::Locate {
        partner: Arc::clone(partner),
        answer: answer.clone(),
    })
    .await;
    drop(answer);
    let mut located = HashMap::<_, Survey>::new();
    let heard = async {
        while let Some(of_worker) = answers.recv().await {
            for (endpoint, survey) in of_worker {
                located.entry(endpoint).or_default().add(&survey);
            }
        }
    };
    let _ = timeout(WORKERS_TIMEOUT, heard).await;
    located
}

/// Names of pools and affinities, and where their pins hold.
type Scopes = HashMap<(Arc<str>, Arc<str>), Place>;

const WORKERS_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than administrators wait.
const DISK_TIMEOUT: Duration = Duration::from_secs(15);
