//! The words that the file uses for the model's enums.
//!
//! One table per enum, read by the walk and by whoever shows a value, so a word is written once.

use crate::config::model::{
    Balance, Family, Federation, Generation, LogFormat, LogLevel, LogSessions, NodeState,
    OnNodeDown, ProbeKind, ProxySend, Service, SourceAddress, SpeaksFirst, TlsMinMode, TlsVersion,
    Transport, WhenNoNode,
};
use crate::confine::Measure;

/// A word and its meaning.
pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const LOG_FORMATS: Words<LogFormat> =
    &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) const LOG_LEVELS: Words<LogLevel> = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

pub(super) const LOG_SESSIONS: Words<LogSessions> = &[
    ("off", LogSessions::Off),
    ("partners", LogSessions::Partners),
    ("all", LogSessions::All),
];

pub(super) const MEASURES: Words<Measure> = &[
    (Measure::Capabilities.label(), Measure::Capabilities),
    (Measure::NoNewPrivileges.label(), Measure::NoNewPrivileges),
    (Measure::Landlock.label(), Measure::Landlock),
    (Measure::SystemCalls.label(), Measure::SystemCalls),
];

/// The least that a hello must offer.
pub(super) const TLS_FLOORS: Words<Option<TlsVersion>> = &[
    ("off", None),
    ("1.0", Some(TlsVersion::V1_0)),
    ("1.1", Some(TlsVersion::V1_1)),
    ("1.2", Some(TlsVersion::V1_2)),
    ("1.3", Some(TlsVersion::V1_3)),
];

pub(super) const TLS_MIN_MODES: Words<TlsMinMode> = &[
    ("enforce", TlsMinMode::Enforce),
    ("observe", TlsMinMode::Observe),
];

pub(super) const BALANCES: Words<Balance> = &[
    ("least-sessions", Balance::LeastSessions),
    ("round-robin", Balance::RoundRobin),
    ("source-hash", Balance::SourceHash),
];

pub(super) const NODE_STATES: Words<NodeState> = &[
    ("active", NodeState::Active),
    ("draining", NodeState::Draining),
    ("disabled", NodeState::Disabled),
];

pub(super) const FAMILIES: Words<Family> = &[
    ("access", Family::Access),
    ("webconf", Family::Webconf),
    ("av", Family::Av),
    ("internal", Family::Internal),
    ("web", Family::Web),
];

pub(super) const SERVICES: Words<Service> = &[
    ("federation", Service::Federation),
    ("access", Service::Access),
    ("webconf", Service::Webconf),
    ("av-tcp", Service::AvTcp),
    ("av-udp", Service::AvUdp),
    ("xmpp", Service::Xmpp),
    ("internal-sip", Service::InternalSip),
    ("mras", Service::Mras),
    ("internal-av-tcp", Service::InternalAvTcp),
    ("internal-av-udp", Service::InternalAvUdp),
    ("https", Service::Https),
    ("tcp", Service::Tcp),
    ("udp", Service::Udp),
];

pub(super) const SPEAKS_FIRST: Words<SpeaksFirst> =
    &[("client", SpeaksFirst::Client), ("any", SpeaksFirst::Any)];

pub(super) const ON_NODE_DOWN: Words<OnNodeDown> = &[
    ("reset", OnNodeDown::Reset),
    ("close", OnNodeDown::Close),
    ("leave", OnNodeDown::Leave),
];

pub(super) const WHEN_NO_NODE: Words<WhenNoNode> =
    &[("dial", WhenNoNode::Dial), ("refuse", WhenNoNode::Refuse)];

pub(super) const SOURCES: Words<SourceAddress> = &[
    ("snat", SourceAddress::Snat),
    ("transparent", SourceAddress::Transparent),
];

pub(super) const TRANSPORTS: Words<Transport> = &[("tcp", Transport::Tcp), ("udp", Transport::Udp)];

pub(super) const PROXY_SENDS: Words<ProxySend> = &[
    ("off", ProxySend::Off),
    ("v1", ProxySend::V1),
    ("v2", ProxySend::V2),
];

pub(super) const PROBE_KINDS: Words<ProbeKind> = &[
    ("tcp", ProbeKind::Tcp),
    ("tls-hello", ProbeKind::TlsHello),
    ("tls", ProbeKind::Tls),
    ("sip-options", ProbeKind::SipOptions),
    ("turn-allocate", ProbeKind::TurnAllocate),
    ("xmpp", ProbeKind::Xmpp),
    ("http", ProbeKind::Http),
    ("none", ProbeKind::None),
];

pub(super) const FEDERATIONS: Words<Federation> = &[
    ("discovered-domain", Federation::DiscoveredDomain),
    ("allowed-domain", Federation::AllowedDomain),
    ("allowed-server", Federation::AllowedServer),
    ("hosting-provider", Federation::HostingProvider),
    ("public-im-provider", Federation::PublicImProvider),
    ("xmpp", Federation::Xmpp),
    ("blocked", Federation::Blocked),
];

pub(super) const GENERATIONS: Words<Generation> = &[
    ("lcs-2005", Generation::Lcs2005),
    ("lcs-2005-sp1", Generation::Lcs2005Sp1),
    ("ocs-2007", Generation::Ocs2007),
    ("ocs-2007-r2", Generation::Ocs2007R2),
    ("lync-2010", Generation::Lync2010),
    ("lync-2013", Generation::Lync2013),
    ("sfb-2015", Generation::Sfb2015),
    ("sfb-2019", Generation::Sfb2019),
    ("sfb-se", Generation::SfbSe),
    ("online", Generation::Online),
    ("other", Generation::Other),
];

/// The word for `meaning`.
fn word<T: PartialEq>(words: Words<T>, meaning: &T) -> &'static str {
    let found = words.iter().find(|(_, each)| each == meaning);
    found.map_or("", |&(word, _)| word)
}

impl Service {
    /// The word for it in the file, in metrics and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(SERVICES, &self)
    }
}

impl Family {
    /// The word for it in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(FAMILIES, &self)
    }
}

impl ProbeKind {
    /// The word for it in the file and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(PROBE_KINDS, &self)
    }
}

impl NodeState {
    /// The word for it in the file, the admin API and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(NODE_STATES, &self)
    }
}

impl Generation {
    /// The word for it in the file, the admin API and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(GENERATIONS, &self)
    }

    /// Whether such a partner stays on the first Edge that answers and never fails over.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        matches!(
            self,
            Self::Lcs2005 | Self::Lcs2005Sp1 | Self::Ocs2007 | Self::Ocs2007R2
        )
    }
}

impl Federation {
    /// The word for it in the file, the admin API and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(FEDERATIONS, &self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_one_meaning_and_every_meaning_one_word() {
        for (name, service) in SERVICES {
            assert_eq!(service.name(), *name);
        }
        for (name, generation) in GENERATIONS {
            assert_eq!(generation.name(), *name);
        }
        for (name, kind) in PROBE_KINDS {
            assert_eq!(kind.name(), *name);
        }
        assert_eq!(Family::Webconf.name(), "webconf");
        assert_eq!(NodeState::Draining.name(), "draining");
        assert_eq!(Federation::Blocked.name(), "blocked");
    }
}
