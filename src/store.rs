//! What outlives the process, in `state_dir`: pins, the ledger, and what other parts ask to be kept.
//!
//! One thread of its own writes one file, `state.redb`, so that nobody else ever waits for a disk. It is
//! told of changes by keys and reads how things stand when it writes, so their order does not matter.
//! A commit begins at most 8 ms after the first change that waits, at once where somebody
//! waits for it, and is durable when it ends. Owns no decision: what is pinned where is `pool::pins`'s,
//! what happened is the governor's.
//!
//! Invariants: a commit is there wholly or not at all, whenever the process or the machine dies; a file
//! that cannot be read is set aside, never overwritten; without a disk everything goes on in memory, is
//! told once, and is written when there is one again.
//!
//! `directory` keeps the small files that need no thread: lock, placement key, states of nodes.

pub use self::book::Book;
pub use self::directory::{Administered, Found, StateDir, StateError, Wanted, random_key};
pub use self::keeper::{Condition, Contents, Store, Trouble};
pub use self::restore::Tally;

mod book;
pub mod codec;
mod directory;
mod file;
mod keeper;
mod restore;

#[cfg(test)]
mod tests;
