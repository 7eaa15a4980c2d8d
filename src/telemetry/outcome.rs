//! Why a session ended, and whose doing it was.
//!
//! A closed list: metrics, logs and the command line use the labels, so a name is a contract.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The client finished first, in order.
    ClientClosed,
    /// The node finished first, in order.
    NodeClosed,
    /// The client reset the connection.
    ClientReset,
    /// The node reset the connection.
    NodeReset,
    /// The client stopped acknowledging: keepalive or `user_timeout`.
    ClientLost,
    /// The node stopped acknowledging: keepalive or `user_timeout`.
    NodeLost,
    /// No byte for `idle_timeout`.
    Idle,
    /// The node has told the client to go on with it directly, as A/V Edges do over UDP.
    Redirected,
    /// The client said nothing for `first_bytes_timeout`.
    FirstBytesTimeout,
    /// Every node that could be tried refused, or did not answer in `connect_timeout`.
    DialFailed,
    /// No node may take the session.
    NoNode,
    /// The node was found dead and its sessions were cut.
    NodeDown,
    /// The node's drain reached its deadline.
    Drained,
    /// An administrator disabled the node.
    Disabled,
    /// An administrator pinned the partner to another node, and wanted it to go there now.
    Moved,
    /// A reload removed the listener or the node, and `drain_timeout` has passed.
    Removed,
    /// Pinfold stopped.
    Stopped,
    /// A limit of the listener, of the client or of the process was reached.
    RefusedLimit,
    /// The pool recovered from a failover, and too many came back at once.
    RefusedPace,
    /// `allow`, or a blocked partner.
    RefusedAccess,
    /// A PROXY header was missing, malformed, or from somebody who may not send one.
    RefusedProxy,
    /// The client offered less than `tls_min`.
    RefusedTls,
    /// A message was malformed, or larger than is taken here.
    RefusedMessage,
    /// The client ended the handshake by an alert.
    TlsAlertClient,
    /// The node ended the handshake by an alert.
    TlsAlertNode,
    /// We had no descriptor, port or memory.
    Shortage,
    /// A defect of ours ended the session.
    InternalError,
}

/// Whose doing an outcome was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Client,
    /// The node's.
    Node,
    /// Pinfold's own, or its administrator's.
    Us,
    /// Nobody's: things took their course.
    Nobody,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 27] = [
        Self::ClientClosed,
        Self::NodeClosed,
        Self::ClientReset,
        Self::NodeReset,
        Self::ClientLost,
        Self::NodeLost,
        Self::Idle,
        Self::Redirected,
        Self::FirstBytesTimeout,
        Self::DialFailed,
        Self::NoNode,
        Self::NodeDown,
        Self::Drained,
        Self::Disabled,
        Self::Moved,
        Self::Removed,
        Self::Stopped,
        Self::RefusedLimit,
        Self::RefusedPace,
        Self::RefusedAccess,
        Self::RefusedProxy,
        Self::RefusedTls,
        Self::RefusedMessage,
        Self::TlsAlertClient,
        Self::TlsAlertNode,
        Self::Shortage,
        Self::InternalError,
    ];

    /// Its place in [`Outcome::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whose doing it was.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::ClientClosed | Self::NodeClosed | Self::Idle | Self::Redirected => Blame::Nobody,
            Self::ClientReset
            | Self::ClientLost
            | Self::FirstBytesTimeout
            | Self::RefusedAccess
            | Self::RefusedProxy
            | Self::RefusedTls
            | Self::RefusedMessage
            | Self::TlsAlertClient => Blame::Client,
            Self::NodeReset
            | Self::NodeLost
            | Self::DialFailed
            | Self::NoNode
            | Self::NodeDown
            | Self::TlsAlertNode => Blame::Node,
            Self::Drained
            | Self::Disabled
            | Self::Moved
            | Self::Removed
            | Self::Stopped
            | Self::RefusedLimit
            | Self::RefusedPace
            | Self::Shortage
            | Self::InternalError => Blame::Us,
        }
    }

    /// Whether the client was turned away: by us, or by a handshake that an alert has ended.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::RefusedLimit
                | Self::RefusedPace
                | Self::RefusedAccess
                | Self::RefusedProxy
                | Self::RefusedTls
                | Self::RefusedMessage
                | Self::TlsAlertClient
                | Self::TlsAlertNode
        )
    }

    /// Its name in logs, metrics and answers.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client-closed",
            Self::NodeClosed => "node-closed",
            Self::ClientReset => "client-reset",
            Self::NodeReset => "node-reset",
            Self::ClientLost => "client-lost",
            Self::NodeLost => "node-lost",
            Self::Idle => "idle",
            Self::Redirected => "redirected",
            Self::FirstBytesTimeout => "first-bytes-timeout",
            Self::DialFailed => "dial-failed",
            Self::NoNode => "no-node",
            Self::NodeDown => "node-down",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
            Self::Moved => "moved",
            Self::Removed => "removed",
            Self::Stopped => "stopped",
            Self::RefusedLimit => "refused-limit",
            Self::RefusedPace => "refused-pace",
            Self::RefusedAccess => "refused-access",
            Self::RefusedProxy => "refused-proxy",
            Self::RefusedTls => "refused-tls",
            Self::RefusedMessage => "refused-message",
            Self::TlsAlertClient => "tls-alert-client",
            Self::TlsAlertNode => "tls-alert-node",
            Self::Shortage => "shortage",
            Self::InternalError => "internal-error",
        }
    }
}

impl Blame {
    /// Its name in logs and answers.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Us => "us",
            Self::Nobody => "nobody",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_outcome_has_its_own_label_and_place() {
        let labels: HashSet<_> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index(), place);
        }
    }
}
