//! Simulated Edge Servers and partners for pinfold: what the demo, the tests and the measuring
//! programs play with.
//!
//! Owns everything that pretends to be a node or a peer, and the harness around it. Knows
//! nothing of pinfold itself: it meets it only through sockets, signals and HTTP.

#![forbid(unsafe_code)]

pub mod background;
pub mod campaign;
pub mod cli;
pub mod cost;
pub mod edge;
pub mod figure;
pub mod http;
pub mod lines;
pub mod load;
pub mod partner;
pub mod peer;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tls;

pub use background::Background;
pub use edge::SimulatedEdge;
pub use partner::Partner;
