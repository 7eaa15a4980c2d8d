//! Descriptors that the runtime waits for, which are no sockets of its own.
#![expect(
    unsafe_code,
    reason = "only its owner can promise that a descriptor stays open"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime of this thread tell when `descriptor` can be read.
///
/// # Errors
///
/// `epoll_ctl(2)`.
///
/// # Panics
///
/// Where there is no runtime.
pub fn watch(descriptor: Rc<OwnedFd>) -> io::Result<AsyncFd<Rc<OwnedFd>>> {
    // SAFETY: an owned descriptor is the same one, and open, until its last owner is dropped, of which the watch is
    // one: it drops it after it has taken the descriptor from the runtime.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.map_err(Into::into)
}
