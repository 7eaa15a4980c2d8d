//! TLS as it crosses in clear: hellos, certificates and alerts.
//!
//! Owns what can be learned of a connection that is passed through: [`Handshake`] watches both
//! directions and keeps [`Facts`]. Deliberately does not decrypt, verify or judge: whoever uses a
//! certificate name must know that only the node has checked it. Whatever a peer sends is bounded in
//! memory and time, and none of it can panic.
//!
//! Sources: RFC 5246, RFC 8446, RFC 6066 (names), RFC 8701 (GREASE).

pub use self::alert::{Alert, Level};
pub use self::era::Era;
pub use self::handshake::{Facts, Handshake, Side};
pub use self::hello::ClientHello;
pub use self::question::{Answer, answer, client_hello};
pub use self::version::Version;
pub use crate::tls::certificate::{Certificate, host_name};

mod alert;
mod era;
mod handshake;
mod hello;
mod ja4;
mod message;
mod question;
mod reader;
mod record;
mod version;
