//! What a worker lends to its sessions while bytes are in flight: memory and pipes.
//!
//! Both are budgeted, so that slow readers cannot exhaust the process; a session that gets neither
//! still moves bytes, only more slowly (see `pump`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::sys::pipe::Pipe;

/// Bytes that the slow readers of one worker may hold together.
#[derive(Debug)]
pub struct Budget {
    limit: Cell<usize>,
    used: Cell<usize>,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: Cell::new(limit),
            used: Cell::new(0),
        }
    }

    /// Changes the limit; what is held already stays held.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Whether `bytes` more would fit.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used.get().saturating_add(bytes) <= self.limit.get()
    }

    /// Whether `bytes` more would leave half of it free, for what must be held while it is read.
    #[must_use]
    pub fn leaves_half(&self, bytes: usize) -> bool {
        self.used.get().saturating_add(bytes) <= self.limit.get() / 2
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Counts `bytes` as held until the hold is dropped.
    #[must_use]
    pub fn hold(self: &Rc<Self>, bytes: usize) -> Hold {
        self.used.set(self.used.get() + bytes);
        Hold {
            budget: Rc::clone(self),
            bytes,
        }
    }
}

/// Bytes that are counted as held.
#[derive(Debug)]
pub struct Hold {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Hold {
    /// So many more are held.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.used.set(self.budget.used.get() + bytes);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget
            .used
            .set(self.budget.used.get().saturating_sub(self.bytes));
    }
}

/// Bytes that a slow reader has not taken yet; exactly sized, and counted while they are held.
#[derive(Debug)]
pub struct Unsent {
    bytes: Box<[u8]>,
    taken: usize,
    _hold: Hold,
}

impl Unsent {
    /// Keeps a copy of `bytes`.
    #[must_use]
    pub fn keep(bytes: &[u8], budget: &Rc<Budget>) -> Self {
        Self {
            bytes: bytes.into(),
            taken: 0,
            _hold: budget.hold(bytes.len()),
        }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// So many bytes were taken.
    pub fn take(&mut self, count: usize) {
        self.taken += count;
    }
}

/// The pipes of one worker.
#[derive(Debug)]
pub struct Pipes {
    #[expect(clippy::vec_box, reason = "the boxes themselves are lent")]
    warm: RefCell<Vec<Box<Pooled>>>,
    lent: Cell<usize>,
    most: usize,
    size: usize,
}

impl Pipes {
    /// At most `most` pipes of `size` bytes each.
    #[must_use]
    pub fn new(most: usize, size: usize) -> Self {
        Self {
            warm: RefCell::new(Vec::new()),
            lent: Cell::new(0),
            most,
            size,
        }
    }

    /// Lends an empty pipe, or nothing where the budget, the descriptors or the system's pipe memory
    /// are used up.
    pub fn lend(self: &Rc<Self>) -> Option<LentPipe> {
        if self.lent.get() >= self.most {
            return None;
        }
        let warm = self.warm.borrow_mut().pop();
        // A pipe smaller than the shared buffer would cost more system calls than copying.
        let made = || {
            let pipe = Pipe::new(self.size).ok()?;
            Some(Box::new(Pooled { pipe, of: None }))
        };
        let mut pooled = warm
            .or_else(made)
            .filter(|pooled| pooled.pipe.size() >= SMALLEST_USEFUL)?;
        self.lent.set(self.lent.get() + 1);
        pooled.of = Some(Rc::clone(self));
        Some(LentPipe(Some(pooled)))
    }

    /// Whether a pipe has been used and is kept for the next.
    #[cfg(test)]
    pub(super) fn has_warm(&self) -> bool {
        !self.warm.borrow().is_empty()
    }

    /// Pipes lent out.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent.get()
    }
}

const SMALLEST_USEFUL: usize = 64 * 1024;
/// A worker switches between few bulk streams at a time; more warm pipes would only hold memory.
const WARM_MAX: usize = 16;

/// A pipe, and where it belongs while it is on loan.
#[derive(Debug)]
struct Pooled {
    pipe: Pipe,
    of: Option<Rc<Pipes>>,
}

/// A pipe on loan. It goes back when dropped, unless bytes are left in it: those belong to a session
/// that has ended. Of one pointer's size, because a session has room for two of them all its life.
#[derive(Debug)]
pub struct LentPipe(Option<Box<Pooled>>);

impl std::ops::Deref for LentPipe {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        let pooled = self.0.as_ref();
        &pooled.expect("the pipe is only taken in drop").pipe
    }
}

impl Drop for LentPipe {
    fn drop(&mut self) {
        let Some(mut pooled) = self.0.take() else {
            return;
        };
        let Some(pipes) = pooled.of.take() else {
            return;
        };
        pipes.lent.set(pipes.lent.get().saturating_sub(1));
        let mut warm = pipes.warm.borrow_mut();
        if pooled.pipe.filled() == 0 && warm.len() < WARM_MAX {
            warm.push(pooled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let budget = Rc::new(Budget::new(100));
        let mut unsent = Unsent::keep(&[1; 60], &budget);
        assert!(!budget.has_room(41));
        assert!(!budget.leaves_half(0) && Budget::new(100).leaves_half(50));
        unsent.take(59);
        assert_eq!(unsent.rest(), &[1]);
        drop(unsent);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn pipes_are_bounded_and_come_back() {
        let pipes = Rc::new(Pipes::new(2, 1 << 18));
        let first = pipes.lend().unwrap();
        let second = pipes.lend().unwrap();
        assert!(pipes.lend().is_none());
        drop(first);
        assert!(pipes.lend().is_some());
        drop(second);
        assert_eq!(pipes.lent(), 0);
    }
}
