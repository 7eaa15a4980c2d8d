//! The promises of `pinfold-loadtest`, held against the real program on loopback.
//!
//! One module a topic. Runs are short and slow in rate: they show that the harness tells the truth, not
//! how fast anything is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod elsewhere;
mod page;
mod peers;
mod program;
mod runs;
mod words;
