//! The system calls that std, tokio, socket2 and rustix do not offer, or that need care.
//!
//! Owns all `unsafe` of the crate. Wrappers take borrowed or owned descriptors and slices, never raw
//! ones, and set `CLOEXEC` and `NONBLOCK` wherever they create a descriptor.

pub mod datagram;
pub mod kernel_tls;
pub mod limits;
pub mod memory;
pub mod option;
pub mod pipe;
pub mod thread;
pub mod watch;
