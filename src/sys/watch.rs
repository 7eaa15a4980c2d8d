//! Descriptors that the runtime waits for, which are no sockets of its own.
#![expect(
    unsafe_code,
    reason = "only its owner can promise that a descriptor stays open"
)]

use std::io;
use std::os::fd::OwnedFd;

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
pub fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same one, and open, until it is dropped, which its watch does after it has
    // taken it from the runtime.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.map_err(Into::into)
}
