//! Whom to tell that pins changed.
//!
//! Invariant: a change that was listed before [`News::begin`] is seen by whoever takes the list after
//! it, or the bell rings again. A change is listed under the lock of its shard and tells after it; the
//! list is taken under that lock, after `begin`: one of the two sees the other.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What is called when there is something new.
pub(super) type Bell = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(super) struct News {
    bell: OnceLock<Bell>,
    has_rung: AtomicBool,
}

impl News {
    /// Whom to tell; the first one stays.
    pub(super) fn keep(&self, bell: Bell) {
        let _ = self.bell.set(bell);
    }

    /// There is something new. Called without a lock.
    pub(super) fn ring(&self) {
        let Some(bell) = self.bell.get() else { return };
        if !self.has_rung.load(SeqCst) && !self.has_rung.swap(true, SeqCst) {
            bell();
        }
    }

    /// The list is about to be taken.
    pub(super) fn begin(&self) {
        self.has_rung.store(false, SeqCst);
    }
}

impl fmt::Debug for News {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("News").finish_non_exhaustive()
    }
}
