//! What a service presets for its listeners: the table of the contract, as data.

use std::time::Duration;

use crate::config::model::{Family, ProbeKind, Service, SourceAddress, Transport};

/// Defaults of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preset {
    pub(super) family: Family,
    pub(super) affinity: &'static str,
    /// `None`: the port of the bind address.
    pub(super) node_port: Option<u16>,
    /// Whether partners are pinned as such.
    pub(super) pins_partners: bool,
    pub(super) idle: Duration,
    pub(super) probe: ProbeKind,
    pub(super) pace: Pace,
    pub(super) silence: Duration,
    /// Whether the client speaks first and its first bytes may be sent again.
    pub(super) is_tls: bool,
}

/// How often nodes are probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) fast_interval: Duration,
    pub(super) timeout: Duration,
}

/// Federation: a partner notices a dead node in milliseconds, so that its messages are not lost.
const QUICK: Pace = Pace {
    interval: Duration::from_millis(400),
    fast_interval: Duration::from_millis(50),
    timeout: Duration::from_millis(250),
};

/// Users: thousands must not be cut by a backup's pause, and Windows may log every handshake that
/// ends early.
const CALM: Pace = Pace {
    interval: Duration::from_secs(2),
    fast_interval: Duration::from_millis(250),
    timeout: Duration::from_secs(1),
};

/// Longer than a snapshot of a virtual machine pauses it.
const QUICK_SILENCE: Duration = Duration::from_millis(600);
const CALM_SILENCE: Duration = Duration::from_secs(3);

const MINUTE: Duration = Duration::from_secs(60);

/// The preset of `service`.
pub(super) fn of(service: Service) -> Preset {
    let users = Preset {
        family: Family::Access,
        affinity: service.name(),
        node_port: None,
        pins_partners: false,
        idle: 30 * MINUTE,
        probe: ProbeKind::TlsHello,
        pace: CALM,
        silence: CALM_SILENCE,
        is_tls: true,
    };
    let federation = Preset {
        node_port: Some(5061),
        pins_partners: true,
        // Nothing on a federated link keeps it alive: keepalive finds the dead.
        idle: 120 * MINUTE,
        pace: QUICK,
        silence: QUICK_SILENCE,
        ..users
    };
    let anything = Preset {
        idle: 10 * MINUTE,
        probe: ProbeKind::Tcp,
        pace: QUICK,
        silence: QUICK_SILENCE,
        is_tls: false,
        ..users
    };
    let family = |family, node_port, preset: Preset| Preset {
        family,
        node_port,
        ..preset
    };
    let probe = |probe, preset: Preset| Preset { probe, ..preset };
    let udp = |preset: Preset| Preset {
        idle: 2 * MINUTE,
        ..probe(ProbeKind::TurnAllocate, preset)
    };
    let group = |affinity, preset: Preset| Preset { affinity, ..preset };
    match service {
        Service::Federation => federation,
        Service::Xmpp => probe(
            ProbeKind::Xmpp,
            family(Family::Access, Some(5269), federation),
        ),
        Service::Access => family(Family::Access, Some(443), users),
        Service::Webconf => family(Family::Webconf, Some(443), users),
        Service::AvTcp => {
            let preset = probe(ProbeKind::Tcp, family(Family::Av, Some(443), users));
            group("av", preset)
        }
        Service::AvUdp => group("av", udp(family(Family::Av, Some(3478), users))),
        Service::InternalSip | Service::Mras => family(Family::Internal, None, users),
        Service::InternalAvTcp => {
            let preset = probe(ProbeKind::Tcp, family(Family::Internal, None, users));
            group("internal-av", preset)
        }
        Service::InternalAvUdp => group("internal-av", udp(family(Family::Internal, None, users))),
        Service::Https => probe(ProbeKind::Http, family(Family::Web, Some(4443), users)),
        Service::Tcp => anything,
        Service::Udp => Preset {
            idle: MINUTE,
            ..probe(ProbeKind::None, anything)
        },
    }
}

impl Service {
    /// Whose address its nodes see, unless the file says otherwise.
    pub(super) fn source(self) -> SourceAddress {
        match self.is_av() {
            true => SourceAddress::Transparent,
            false => SourceAddress::Snat,
        }
    }

    /// Whether it is audio and video, which must see the client's own address.
    #[must_use]
    pub fn is_av(self) -> bool {
        matches!(
            self,
            Self::AvTcp | Self::AvUdp | Self::InternalAvTcp | Self::InternalAvUdp
        )
    }

    /// Whether a session begins with a ClientHello, which may be read in passing.
    #[must_use]
    pub const fn speaks_tls(self) -> bool {
        matches!(
            self,
            Self::Federation
                | Self::Access
                | Self::Webconf
                | Self::InternalSip
                | Self::Mras
                | Self::Https
        )
    }

    /// Whether it runs over UDP.
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::AvUdp | Self::InternalAvUdp | Self::Udp)
    }

    /// What it runs over.
    #[must_use]
    pub fn transport(self) -> Transport {
        match self.is_udp() {
            true => Transport::Udp,
            false => Transport::Tcp,
        }
    }

    /// Whether it is one of an Edge Server's, or of the web services beside it.
    #[must_use]
    pub fn is_edge(self) -> bool {
        !matches!(self, Self::Tcp | Self::Udp)
    }

    /// Whether it faces the inside.
    #[must_use]
    pub fn is_internal(self) -> bool {
        matches!(
            self,
            Self::InternalSip | Self::Mras | Self::InternalAvTcp | Self::InternalAvUdp
        )
    }
}

impl ProbeKind {
    /// Whether it speaks TLS with nodes where they do.
    pub(super) fn speaks_tls(self) -> bool {
        self == Self::Tls || self.asks_inside()
    }

    /// Whether it asks by the transport of `service`.
    pub(super) fn reaches(self, service: Service) -> bool {
        self == Self::None || service.is_udp() == (self == Self::TurnAllocate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_those_of_the_contract() {
        let check = |service, port, idle, kind, silence, affinity| {
            let preset = of(service);
            let name = service.name();
            assert_eq!(preset.node_port, port, "{name}");
            assert_eq!(preset.idle, Duration::from_secs(idle), "{name}");
            assert_eq!(preset.probe, kind, "{name}");
            assert_eq!(preset.silence, Duration::from_millis(silence), "{name}");
            assert_eq!(preset.affinity, affinity, "{name}");
        };
        use {ProbeKind as Kind, Service as S};
        check(
            S::Federation,
            Some(5061),
            7200,
            Kind::TlsHello,
            600,
            "federation",
        );
        check(S::Access, Some(443), 1800, Kind::TlsHello, 3000, "access");
        check(S::Webconf, Some(443), 1800, Kind::TlsHello, 3000, "webconf");
        check(S::AvTcp, Some(443), 1800, Kind::Tcp, 3000, "av");
        check(S::AvUdp, Some(3478), 120, Kind::TurnAllocate, 3000, "av");
        check(S::Xmpp, Some(5269), 7200, Kind::Xmpp, 600, "xmpp");
        check(
            S::InternalSip,
            None,
            1800,
            Kind::TlsHello,
            3000,
            "internal-sip",
        );
        check(S::Mras, None, 1800, Kind::TlsHello, 3000, "mras");
        check(S::InternalAvTcp, None, 1800, Kind::Tcp, 3000, "internal-av");
        check(
            S::InternalAvUdp,
            None,
            120,
            Kind::TurnAllocate,
            3000,
            "internal-av",
        );
        check(S::Https, Some(4443), 1800, Kind::Http, 3000, "https");
        check(S::Tcp, None, 600, Kind::Tcp, 600, "tcp");
        check(S::Udp, None, 60, Kind::None, 600, "udp");
    }
}
