//! Small durable tables for whoever has something to keep: a name, and JSON under keys.
//!
//! A [`Book`] never waits: what is put goes to a bounded list, of which the newest of each key is
//! written. What does not fit is dropped and counted: a book holds what can be learned again, or what
//! its owner bounds.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use serde::Serialize;

use super::batch::{Name, Pages};

/// What waits to be written, of all books.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: Mutex<Pages>,
    dropped: AtomicU64,
}

impl Desk {
    /// Whether it was put; and whether it is the first that waits.
    fn put(&self, name: Name, value: Option<Vec<u8>>) -> bool {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&name) {
            self.dropped.fetch_add(1, Relaxed);
            return false;
        }
        waiting.insert(name, value);
        waiting.len() == 1
    }

    pub(super) fn take(&self) -> Pages {
        std::mem::take(&mut self.waiting())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Pages that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Pages> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A durable table of `T` by name; or, by default, one that keeps nothing.
#[derive(Debug)]
pub struct Book<T> {
    name: &'static str,
    desk: Option<(Arc<Desk>, Thread)>,
    of: PhantomData<fn(&T)>,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self {
            name: "",
            desk: None,
            of: PhantomData,
        }
    }
}

impl<T: Serialize> Book<T> {
    pub(super) fn new(name: &'static str, desk: Arc<Desk>, writer: Thread) -> Self {
        Self {
            name,
            desk: Some((desk, writer)),
            of: PhantomData,
        }
    }

    /// Keeps `value` under `key`, soon.
    pub fn put(&self, key: impl Into<String>, value: &T) {
        if self.desk.is_some()
            && let Ok(value) = serde_json::to_vec(value)
        {
            self.send(key.into(), Some(value));
        }
    }

    /// Removes what is under `key`, soon.
    pub fn remove(&self, key: impl Into<String>) {
        self.send(key.into(), None);
    }

    fn send(&self, key: String, value: Option<Vec<u8>>) {
        if let Some((desk, writer)) = &self.desk
            && desk.put((self.name.into(), key), value)
        {
            writer.unpark();
        }
    }
}

/// Some minutes of a busy ledger while a disk hangs.
const WAITING_MAX: usize = 16_384;
