//! Looking at bytes without judging them. Pure: no sockets, no allocation per message.

pub mod proxy;
pub mod sip;
pub mod stun;
pub mod tls;
pub mod xmpp;
