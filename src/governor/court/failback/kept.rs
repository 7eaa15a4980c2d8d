//! Returns as they outlive the process: who was sent back and is waited for, and who is not to be tried again.
//!
//! Who was waited for is waited for anew, as long as at first: nobody could come while no instance ran.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Away, DECLINED_FOR, Failbacks};
use crate::clock::Moment;
use crate::partner::failback::Return;
use crate::pool::pins::{PinKey, PinScope};
use crate::store::codec::{Key, Whom};
use crate::store::{Book, Contents, Store};

/// The book of returns, and what is in it. By default nothing is, and nothing is kept.
#[derive(Debug, Default)]
pub struct KeptReturns {
    book: Book<Page>,
    found: Vec<(String, Page)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Page {
    pin: Key,
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Sent {
        from: String,
        to: String,
        is_expected: bool,
        patience_ms: u64,
    },
    Declined {
        until: Timestamp,
    },
}

impl KeptReturns {
    /// Opens the book.
    #[must_use]
    pub fn open(store: &Store, contents: &mut Contents) -> Self {
        let (book, found) = store.book("returns", contents);
        Self { book, found }
    }

    pub(super) fn sent(&self, key: &PinKey, away: &Away) {
        let state = State::Sent {
            from: away.from.to_string(),
            to: away.to.to_string(),
            is_expected: away.sent.is_expected,
            patience_ms: u64::try_from(away.sent.patience.as_millis()).unwrap_or(u64::MAX),
        };
        self.put(key, state);
    }

    pub(super) fn declined(&self, key: &PinKey, life: Duration) {
        let until = Timestamp::now() + life;
        self.put(key, State::Declined { until });
    }

    pub(super) fn forget(&self, key: &PinKey) {
        self.book.remove(name(&Key::from(key)));
    }

    fn put(&self, key: &PinKey, state: State) {
        let pin = Key::from(key);
        self.book.put(name(&pin), &Page { pin, state });
    }
}

impl Failbacks {
    /// Goes on where an earlier instance has ended.
    pub(in crate::governor) fn go_on(mut kept: KeptReturns, now: Moment) -> Self {
        let mut failbacks = Self::default();
        for (name, page) in std::mem::take(&mut kept.found) {
            let Some(key) = key(&page.pin) else {
                kept.book.remove(name);
                continue;
            };
            match page.state {
                State::Sent {
                    from,
                    to,
                    is_expected,
                    patience_ms,
                } => {
                    let away = Away {
                        sent: Return {
                            at: now,
                            is_expected,
                            patience: Duration::from_millis(patience_ms),
                        },
                        from: from.into(),
                        to: to.into(),
                        is_served: false,
                    };
                    failbacks.under_way.insert(key, away);
                }
                State::Declined { until } => {
                    // A clock that was set back makes nobody wait longer.
                    let left = Duration::try_from(until.duration_since(Timestamp::now()));
                    let left = left.unwrap_or_default().min(DECLINED_FOR);
                    failbacks.declined.insert(key, now + left);
                }
            }
        }
        failbacks.kept = kept;
        failbacks
    }
}

/// Different pins have different names.
fn name(pin: &Key) -> String {
    format!("{:?} {:?} {:?}", pin.pool, pin.affinity, pin.subject)
}

/// Only partners return.
fn key(pin: &Key) -> Option<PinKey> {
    let Whom::Partner(partner) = &pin.subject else {
        return None;
    };
    let scope = PinScope {
        pool: Arc::from(&*pin.pool),
        affinity: Arc::from(&*pin.affinity),
    };
    Some(PinKey::of_partner(&Arc::new(scope), &Arc::from(&**partner)))
}
