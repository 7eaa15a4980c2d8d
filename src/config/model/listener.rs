//! `[[listener]]`: where clients arrive, and how they are treated.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Family, Probe, Rate, Termination};

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// SIP federation, 5061.
    Federation,
    /// Remote users, 443.
    Access,
    /// Web conferencing, 443.
    Webconf,
    /// A/V over TCP, 443.
    AvTcp,
    /// A/V over UDP, 3478.
    AvUdp,
    /// XMPP federation, 5269.
    Xmpp,
    /// SIP inside, 5061.
    InternalSip,
    /// Media relay authentication inside, 5062.
    Mras,
    /// A/V inside over TCP, 443.
    InternalAvTcp,
    /// A/V inside over UDP, 3478.
    InternalAvUdp,
    /// Web services, 443.
    Https,
    /// Anything over TCP.
    Tcp,
    /// Anything over UDP.
    Udp,
}

/// `[[listener]]`, presets of its service applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Addresses it listens on; at least one; port 0 picks one.
    pub bind: Vec<SocketAddr>,
    /// What is spoken.
    pub service: Service,
    /// Name of its pool.
    pub pool: String,
    /// Which address of a node it dials.
    pub family: Family,
    /// Listeners of one affinity place a client alike.
    pub affinity: String,
    /// Port dialled where the node's address has none.
    pub node_port: u16,
    /// What a pin belongs to.
    pub pin: Pin,
    /// How long an address's pin lives after its last session.
    pub pin_ttl: Duration,
    /// Clients within one prefix of this length share a pin.
    pub pin_prefix: PinPrefix,
    /// Who sends the first byte.
    pub speaks_first: SpeaksFirst,
    /// Whether the first bytes are sent again to the next node.
    pub replay: bool,
    /// Deadline of a dial.
    pub connect_timeout: Duration,
    /// Deadline of the client's first bytes.
    pub first_bytes_timeout: Duration,
    /// A session without a byte for this long ends; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// How long a session lives on after one side has finished.
    pub fin_timeout: Duration,
    /// Interval of TCP keepalive on both legs; `None`: none.
    pub keepalive: Option<Duration>,
    /// `TCP_USER_TIMEOUT` on both legs; `None`: the system's.
    pub user_timeout: Option<Duration>,
    /// What happens to sessions of a node that goes down.
    pub on_node_down: OnNodeDown,
    /// All sessions of a dead node are ended within this time.
    pub cut_within: Duration,
    /// Names of the listeners on which a node must be up as well.
    pub needs: Vec<String>,
    /// What happens while no node is up.
    pub when_no_node: WhenNoNode,
    /// Whose address nodes see.
    pub source: SourceAddress,
    /// Who may connect.
    pub allow: Allow,
    /// Sessions at once; a tenth is kept for configured partners.
    pub max_sessions: u32,
    /// Sessions at once of one client address; 0: no limit.
    pub max_sessions_per_client: u32,
    /// New sessions of one client address; `None`: no limit.
    pub connect_rate_per_client: Option<Rate>,
    /// Whether clients announce themselves by the PROXY protocol; who may.
    pub proxy_protocol: ProxyAccept,
    /// Whether nodes are told the client by the PROXY protocol.
    pub proxy_protocol_send: ProxySend,
    /// The least that a ClientHello must offer; `None`: anything goes.
    pub tls_min: Option<TlsVersion>,
    /// What becomes of one that offers less.
    pub tls_min_mode: TlsMinMode,
    /// Whether unknown clients that look legacy are cut like partners.
    pub unknown_legacy: bool,
    /// How its nodes are probed.
    pub probe: Probe,
    /// How its clients' TLS ends here; `None`: it is passed through.
    pub termination: Option<Termination>,
}

impl Listener {
    /// Whether each of its sessions takes descriptors: flows whose nodes see the clients' own addresses take none.
    #[must_use]
    pub fn needs_descriptors(&self) -> bool {
        !(self.service.is_udp() && self.source == SourceAddress::Transparent)
    }
}

/// Whose address nodes see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// One of this machine's.
    Snat,
    /// The client's own. Needs the rules of the host.
    Transparent,
}

/// A version of TLS, as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// `1.0`
    V1_0,
    /// `1.1`
    V1_1,
    /// `1.2`
    V1_2,
    /// `1.3`
    V1_3,
}

impl TlsVersion {
    /// As the file names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// What becomes of a client that offers less than `tls_min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMinMode {
    /// It is refused by an alert.
    Enforce,
    /// It is counted.
    Observe,
}

/// What a pin belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The partner where one is known, else the source address.
    Partner,
    /// The source address.
    Source,
    /// Nothing: each connection is placed anew.
    None,
}

/// Prefix lengths of address pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinPrefix {
    /// Of IPv4, 0 to 32.
    pub v4: u8,
    /// Of IPv6, 0 to 128.
    pub v6: u8,
}

/// Who sends the first byte of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeaksFirst {
    /// The client, as in TLS.
    Client,
    /// Either side.
    Any,
}

/// What happens to the sessions of a node that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNodeDown {
    /// They are reset, so that the peer's stack errors at once.
    Reset,
    /// They are closed in order.
    Close,
    /// They are left to end by themselves.
    Leave,
}

/// What a listener does while no node is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenNoNode {
    /// Dials all the same.
    Dial,
    /// Closes its listening sockets.
    Refuse,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Everybody.
    Any,
    /// Configured partners that are not blocked.
    Partners,
    /// Clients within these prefixes.
    Prefixes(Vec<IpNet>),
}

/// PROXY protocol from clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyAccept {
    /// Not spoken.
    Off,
    /// Required of everybody; only these prefixes may connect. Never empty.
    From(Vec<IpNet>),
}

/// PROXY protocol to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySend {
    /// Not spoken.
    Off,
    /// The text header.
    V1,
    /// The binary header.
    V2,
}
