//! The promises of Pinfold, held against the real binary on loopback.
//!
//! One module a topic; every test has a directory, an instance and nodes of its own, ports are
//! picked by the system, and waiting means asking until a deadline, never sleeping.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod by_hand;
mod doors;
mod draining;
mod durability;
mod ends;
mod failover;
mod outage;
mod pinning;
mod reload;
mod removal;
mod renaming;
mod replay;
mod returning;
mod stopping;
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than the topics written so far use"
)]
mod world;

mod admin;
mod adoption;
mod affinity;
mod bad_input;
mod bulk;
mod calls;
mod command_line;
mod coturn;
mod datagrams;
mod exhaustion;
mod explain;
mod generated;
mod host_rules;
mod http;
mod kamailio;
mod laboratory;
mod limits;
mod maintain;
mod measures;
mod names;
mod probing;
mod prosody;
mod proxy;
mod recognition;
mod recovery;
mod refusals;
mod sandbox;
mod scripted;
mod setup;
mod sip;
mod terminated;
mod timeouts;
mod tls;
mod tls_probes;
mod transparent;
mod turn;
mod views;
mod vrrp;
mod web;
mod wire;
mod xmpp;
