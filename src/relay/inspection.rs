//! What one session's handshake has shown, while it is watched and after.

use std::sync::Arc;

use crate::inspect::tls::{Alert, Era, Facts, Handshake, Side, Version};

/// What remains known of a session once its handshake is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The newest version that the client offered.
    pub offered: Option<Version>,
    /// The version that the node chose.
    pub negotiated: Option<Version>,
    /// The name in the client's certificate.
    pub certificate: Option<Arc<str>>,
    /// Whether an earlier session went on, without a certificate.
    pub resumed: bool,
    /// Whether the node has accepted what the client has shown.
    pub completed: bool,
    /// The alert that ended it, and who sent it.
    pub alert: Option<(Side, Alert)>,
    /// From which time the client's stack is.
    pub era: Era,
}

impl TlsFacts {
    /// Whether anything is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes what the client offers, as soon as that is known.
    pub(super) fn note_hello(&mut self, facts: &Facts) {
        if self.offered.is_none()
            && let Some(hello) = &facts.hello
        {
            self.offered = Some(hello.newest());
            self.era = hello.era();
        }
    }
}

impl From<&Facts> for TlsFacts {
    fn from(facts: &Facts) -> Self {
        let mut known = Self {
            negotiated: facts.negotiated,
            certificate: facts
                .client_certificate
                .as_ref()
                .map(|certificate| Arc::from(certificate.name())),
            resumed: facts.resumed == Some(true),
            completed: facts.completed,
            alert: facts.fatal(),
            ..Self::default()
        };
        known.note_hello(facts);
        known
    }
}

/// The inspection of one session. In a box, because most of a session's life it is over.
#[derive(Debug)]
pub(super) struct Inspection {
    /// Gone once nothing more can be learned.
    pub(super) handshake: Option<Box<Handshake>>,
    pub(super) facts: TlsFacts,
}

impl Inspection {
    pub(super) fn begin() -> Box<Self> {
        Box::new(Self {
            handshake: Some(Box::default()),
            facts: TlsFacts::default(),
        })
    }
}

/// What is known of a client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// It offers at most this version, by a stack of this time.
    Known(Version, Era),
    /// More of it must come.
    Awaited,
    /// There is none.
    None,
}
