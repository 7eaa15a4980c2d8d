//! Listening, accepting, dialling and socket options.
//!
//! Knows sockets and nothing of sessions, pools or configuration files.

pub mod accept;
pub mod dial;
pub mod listen;
pub mod options;
