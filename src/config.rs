//! The configuration: file → checked model, with every mistake reported at once.
//!
//! ```text
//! text → toml (spans) → read (types, ranges, defaults, presets) → check (what concerns several
//! tables) → model; diff (two models → what a reload changes); machine (a model against the host)
//! ```
//!
//! Owns everything that an administrator's file can say. Deliberately does not touch the network
//! or the clock; the one file it reads is the configuration itself. No input makes it panic.

mod check;
pub mod diagnostics;
pub mod diff;
mod include;
mod load;
pub mod machine;
pub mod model;
mod names;
mod preset;
mod quantity;
mod read;
pub mod schema;
pub mod source;
mod table;
mod value;
pub mod window;

pub use self::diagnostics::{Diagnostic, Diagnostics, Severity, Style};
pub use self::load::{Loaded, Reads, load, parse};
pub use self::machine::{Machine, machine_warnings, sessions_carried};
pub use self::quantity::{duration as parse_duration, rate as parse_rate, show_duration};
pub use self::value::did_you_mean;

#[cfg(test)]
mod tests;
