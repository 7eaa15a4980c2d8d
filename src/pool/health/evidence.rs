//! Observations of an endpoint, and what is remembered of them.

use std::net::IpAddr;

use crate::clock::Moment;

/// How a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeFailure {
    /// Refused, reset or unreachable.
    Refused,
    /// Answered, but not what was asked for.
    WrongAnswer,
    /// Nothing within the timeout.
    TimedOut,
}

/// One observation of an endpoint, from a probe or from traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe was answered, perhaps after its timeout had been reported.
    ProbeGood {
        /// When it began.
        started: Moment,
    },
    /// A probe failed.
    ProbeFailed {
        /// When it began.
        started: Moment,
        /// How.
        how: ProbeFailure,
    },
    /// A probe could not be sent or judged, for a reason of our own: out of descriptors, buffers,
    /// ports or permission.
    ProbeVoid {
        /// When it began.
        started: Moment,
    },
    /// A dial for a session was refused, reset or unreachable.
    DialRefused,
    /// A dial for a session found no answer in time.
    DialTimedOut,
    /// The network says that a datagram did not arrive. Anybody who has sent one can say so.
    Undelivered,
    /// Nobody was there for a datagram that was sent from a socket of its own, whose address and port whoever
    /// says so must know.
    DatagramRefused {
        /// Whose it was.
        client: IpAddr,
        /// When that was told.
        at: Moment,
    },
    /// The endpoint ended a session by a reset.
    SessionReset {
        /// Whose session; heard once per client in a while.
        client: IpAddr,
    },
    /// The endpoint sent a byte of traffic. May be reported late.
    Heard {
        /// When.
        at: Moment,
    },
    /// A client's byte was forwarded to the endpoint. May be reported late.
    Asked {
        /// When.
        at: Moment,
    },
    /// Its traffic shows what no probe can: see `pool::traffic`.
    Mute,
    /// It ended the connection of a probe that we had ended.
    Parted,
}

/// What spoke for or against an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// A good probe.
    Answered,
    /// A failed probe.
    Probe(ProbeFailure),
    /// A refused dial.
    DialRefused,
    /// A dial without an answer.
    DialTimedOut,
    /// A datagram that is said not to have arrived.
    Undelivered,
    /// A datagram, or those of several clients, that nobody was there for.
    DatagramsRefused,
    /// A session that the endpoint reset.
    SessionReset,
    /// Bytes in, none out.
    Unheard,
    /// Bytes of several clients in, none out, while a sibling answers.
    Mute,
    /// It is down on a listener that this one needs.
    Needed,
    /// It is not probed.
    Unasked,
    /// Condemned by traffic and not probed, it is tried again.
    Retried,
    /// Condemned by traffic and not probed, it has said something.
    Heard,
}

impl Evidence {
    /// For logs and the admin API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "probe answered",
            Self::Probe(ProbeFailure::Refused) => "probe refused",
            Self::Probe(ProbeFailure::WrongAnswer) => "probe answered wrongly",
            Self::Probe(ProbeFailure::TimedOut) => "probe unanswered",
            Self::DialRefused => "dial refused",
            Self::DialTimedOut => "dial unanswered",
            Self::Undelivered => "datagram undelivered",
            Self::DatagramsRefused => "datagrams refused",
            Self::SessionReset => "session reset",
            Self::Unheard => "bytes in, none out",
            Self::Mute => "bytes of several clients in, none out, and a sibling answers",
            Self::Needed => "down on a listener that this one needs",
            Self::Unasked => "not probed",
            Self::Retried => "tried again",
            Self::Heard => "heard again",
        }
    }
}
