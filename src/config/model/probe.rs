//! `[listener.probe]`: how nodes are asked.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::tls;

/// `[listener.probe]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Port asked where the node's address has none.
    pub port: u16,
    /// Time between probes at rest.
    pub interval: Duration,
    /// Time between probes while in doubt.
    pub fast_interval: Duration,
    /// Deadline of an answer.
    pub timeout: Duration,
    /// Silence counts only once it has lasted this long.
    pub silence: Duration,
    /// Failures in a row that take a node down.
    pub fall: u32,
    /// Successes in a row that bring a node back.
    pub rise: u32,
    /// What is asked for by [`ProbeKind::Http`]; of others `None`.
    pub http: Option<Arc<HttpQuestion>>,
    /// The TLS in which it is asked, by [`ProbeKind::Http`] and [`ProbeKind::SipOptions`], or by which it is looked at,
    /// by [`ProbeKind::Tls`]; `None`: in clear.
    pub tls: Option<Arc<tls::Client>>,
}

/// What [`ProbeKind::Http`] asks for, and which answers are good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpQuestion {
    /// What is asked for; it begins with a slash and has no space.
    pub path: Box<str>,
    /// Which codes are good.
    pub status: RangeInclusive<u16>,
    /// What must stand in the first 64 KiB of the body.
    pub body: Option<Box<str>>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// A connection.
    Tcp,
    /// A ServerHello or an alert.
    TlsHello,
    /// A ServerHello or an alert, and then a whole handshake, which is no evidence.
    Tls,
    /// A final response to OPTIONS.
    SipOptions,
    /// An answer to an Allocate without credentials, over UDP: 401 as it should be.
    TurnAllocate,
    /// A stream header.
    Xmpp,
    /// A status, and perhaps a text.
    Http,
    /// Nothing: nodes are eligible at once.
    None,
}

impl ProbeKind {
    /// Whether it asks inside TLS, where nodes are spoken to in TLS.
    #[must_use]
    pub const fn asks_inside(self) -> bool {
        matches!(self, Self::Http | Self::SipOptions)
    }
}
