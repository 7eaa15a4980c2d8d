//! Why a handshake has failed, and what an administrator can do about it.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// The cause of a stream's failure, where TLS itself has found it.
#[must_use]
pub fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether what came cannot even be framed as TLS: whoever says it speaks something else.
#[must_use]
pub const fn is_no_tls(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
                | InvalidMessage::InvalidEmptyPayload
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::UnknownProtocolVersion
        )
    )
}

/// What a node's TLS is like, where it cannot be spoken to. Whoever answers so lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It and we have no version or cipher in common; or, up to TLS 1.2, it wants a certificate: it says the same of
    /// both.
    NothingInCommon,
    /// Its certificate is not believed, for this reason.
    Untrusted(Box<str>),
    /// It does not take what we have shown, or lack: the name of its alert.
    Refused(Box<str>),
    /// Anything else, as rustls says it.
    Odd(Box<str>),
}

impl Finding {
    /// What `error` says of the node.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "alerts and errors are many, and few of them say something of their own"
    )]
    pub fn of(error: &Error) -> Self {
        use AlertDescription::{HandshakeFailure, InsufficientSecurity, ProtocolVersion};
        match error {
            Error::AlertReceived(HandshakeFailure | InsufficientSecurity | ProtocolVersion)
            | Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::AlertReceived(alert) => Self::Refused(format!("{alert:?}").into()),
            Error::InvalidCertificate(_) => Self::Untrusted(error.to_string().into()),
            _ => Self::Odd(error.to_string().into()),
        }
    }

    /// For the admin API.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NothingInCommon => "nothing-in-common",
            Self::Untrusted(_) => "untrusted",
            Self::Refused(_) => "refused",
            Self::Odd(_) => "odd",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NothingInCommon => {
                "it needs Windows Server 2016 or later to be spoken to in TLS from here, or a `certificate` of node_tls; \
                 else pass its TLS through"
            }
            Self::Untrusted(_) => {
                "correct `ca` and `server_name` of node_tls, or renew the node's certificate"
            }
            Self::Refused(_) => "give node_tls a `certificate` that the node takes",
            Self::Odd(_) => "look at it with `openssl s_client`",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingInCommon => {
                formatter.write_str("no version or cipher in common, or no certificate shown")
            }
            Self::Untrusted(why) | Self::Odd(why) => formatter.write_str(why),
            Self::Refused(alert) => write!(formatter, "the node answers {alert}"),
        }
    }
}

/// What an administrator can do about a client that offers less than is ended here.
pub const TOO_OLD: &str = "lower min_version if it may be, or pass its TLS through (mode = \"passthrough\"), which goes back to TLS 1.0";

/// What an administrator can do about a handshake that has failed so.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what nobody can do much about has one answer"
)]
#[must_use]
pub fn remedy(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => {
            "the client has no certificate: give it one, or write client_auth = \"request\""
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "add whoever issued the certificate to the file of authorities (client_ca, or ca of node_tls)"
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "renew the certificate",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "write a name that is in the certificate as server_name of node_tls",
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => TOO_OLD,
        Error::PeerIncompatible(_) => {
            "both speak TLS and have nothing in common: stacks of Windows Server 2012 R2 and older need \
             mode = \"passthrough\""
        }
        Error::InvalidCertificate(CertificateError::Other(_)) => {
            "the certificate is none for a server or client; a self-signed one that may sign others is not taken"
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "what came is no TLS: look what is connected to this port"
        }
        _ => "compare what both sides offer with `openssl s_client`",
    }
}
