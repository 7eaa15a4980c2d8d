//! Relaying sessions: `tcp` is the life of one, `pump` moves its bytes.

pub mod memory;
pub mod outcome;
pub mod pump;
pub mod session;
pub mod wheel;
