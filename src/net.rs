//! Listening, accepting, dialling, reading and writing, and socket options.
//!
//! Knows sockets and nothing of sessions, pools or configuration files.

pub mod accept;
pub mod alarm;
pub mod crowd;
pub mod dial;
pub mod divert;
pub mod listen;
pub mod options;
pub mod records;
pub mod transparent;
pub mod unreachable;
pub mod wire;
