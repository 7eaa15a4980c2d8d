//! `mode = "terminate"`: TLS that ends here, and what is spoken inside.

use std::time::Duration;

use super::Rate;
use crate::tls;

/// How a listener ends its clients' TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// What is spoken inside.
    pub protocol: Protocol,
    /// TLS towards clients.
    pub clients: tls::Server,
    /// TLS towards nodes; `None`: they are spoken to in clear.
    pub nodes: Option<tls::Client>,
}

impl Termination {
    /// Whether the kernel may go on with its connections. HTTP and SIP are looked at, which the library does as cheaply.
    #[must_use]
    pub const fn may_be_kernels(&self) -> bool {
        matches!(self.protocol, Protocol::Raw)
    }

    /// Its own certificates: those that clients are shown, then the one that nodes are.
    pub fn credentials(&self) -> impl Iterator<Item = &tls::Credential> {
        let nodes = self.nodes.iter();
        let of_nodes = nodes.filter_map(|nodes| nodes.certificate.as_ref());
        self.clients.certificates.iter().chain(of_nodes)
    }
}

/// What is spoken inside TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes.
    Raw,
    /// HTTP.
    Http(Http),
    /// SIP.
    Sip(Sip),
}

/// `[listener.http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Name of the cookie that holds a client on its node; `None`: none is set.
    pub cookie: Option<String>,
    /// Deadline of a request's header, and of each wait for more of it or for the node's answer.
    pub request_timeout: Duration,
}

/// `[listener.sip]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Messages that a discovered partner may send; `None`: no limit.
    pub discovered_rate: Option<Rate>,
    /// Largest body of a message, in bytes.
    pub max_body: u64,
}
