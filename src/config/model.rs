//! The checked configuration: what the program works with.
//!
//! Values here are complete (defaults and service presets applied) and consistent (every reference
//! resolves, every clash was refused). Built by [`crate::config::load`] only; it knows nothing of
//! TOML, files or positions. Two values are equal when nothing an administrator wrote differs in
//! effect, so equality decides whether a reload changes anything.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use super::window::Window;

/// A whole checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The process itself.
    pub server: Server,
    /// What is logged, and how.
    pub log: Log,
    /// How names are resolved.
    pub resolve: Resolve,
    /// Pools, in the order of the file; names are unique.
    pub pools: Vec<Pool>,
    /// Listeners, in the order of the file; names are unique.
    pub listeners: Vec<Listener>,
    /// Partners, in the order of the file; names are unique.
    pub partners: Vec<Partner>,
    /// What the file asks for and this version cannot do; `serve` refuses while any stands here.
    pub unavailable: Vec<Unavailable>,
}

/// A setting that parses but whose machinery does not exist in this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// `file:line:column` of the value.
    pub place: String,
    /// What was asked for, as in the file: `listener "av-udp": service = "av-udp"`.
    pub what: String,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Number of worker threads; `None`: one per core. Needs a restart.
    pub workers: Option<usize>,
    /// Where the admin API listens. Needs a restart.
    pub admin: Admin,
    /// File with the bearer token for changes over TCP.
    pub admin_token_file: Option<PathBuf>,
    /// Directory of what must outlive the process. Needs a restart.
    pub state_dir: Option<PathBuf>,
    /// How long sessions live on that a reload has orphaned.
    pub drain_timeout: Duration,
    /// How long SIGTERM waits for sessions.
    pub stop_timeout: Duration,
    /// Key of placement, shared by the appliances of a pair; `None`: made once, kept in `state_dir`.
    /// Needs a restart.
    pub placement_key: Option<Secret>,
    /// Whether a listener may bind an address that this machine does not hold.
    pub freebind: bool,
    /// Bytes that all slow readers together may hold.
    pub buffer_memory: u64,
    /// Pins of addresses that are remembered.
    pub max_pins: usize,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// A unix socket; the permissions of the file decide who may use it.
    Unix(PathBuf),
    /// A loopback TCP address; changes need the token.
    Tcp(SocketAddr),
}

/// Text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// The least severe line that is written.
    pub level: LogLevel,
    /// Which sessions leave a line when they end.
    pub sessions: LogSessions,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Severity, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// Which sessions leave a line when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSessions {
    /// None.
    Off,
    /// Those of configured partners.
    Partners,
    /// All.
    All,
}

/// `[resolve]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// DNS servers; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// Whether names are resolved at all.
    pub names: bool,
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// How often a node may go down before it is held there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// So many times; at least 1.
    pub downs: u32,
    /// Within this time.
    pub within: Duration,
    /// It is held down this much longer.
    pub hold: Duration,
}

/// `[[pool]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// How a client without a pin is placed.
    pub balance: Balance,
    /// How long a failed node must be healthy before it takes sessions again.
    pub return_after: ReturnAfter,
    /// Addresses of this machine that the nodes see; empty: the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// While the pool recovers from a failover: how fast one node admits those who are not partners;
    /// `None`: at once.
    pub max_new_per_node: Option<Rate>,
    /// The most of the legacy partners, in percent, that one node has while more are up.
    pub max_share: u8,
    /// Over which time a returned node's share of new sessions grows.
    pub warm_up: Duration,
    /// What becomes of a node that comes and goes; `None`: nothing.
    pub flap: Option<Flap>,
    /// Its nodes, in the order of the file; at least one; names are unique in the pool.
    pub nodes: Vec<Node>,
}

/// How a client without a pin is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// On the node with the fewest sessions for its weight.
    LeastSessions,
    /// On one after the other, by weight.
    RoundRobin,
    /// By a keyed hash of the client's prefix.
    SourceHash,
}

/// When a node that failed takes sessions again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnAfter {
    /// After being healthy this long.
    Healthy(Duration),
    /// When an administrator resumes it.
    Manual,
}

/// `[[pool.node]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in its pool; the same name in two pools is the same machine.
    pub name: String,
    /// Addresses by family. `Access` is always present (the key `address`).
    pub addresses: BTreeMap<Family, NodeAddress>,
    /// Share of placements relative to the other nodes; at least 1.
    pub weight: u32,
    /// The state the file gives; the administrator's runtime state overrides it.
    pub state: NodeState,
}

impl Node {
    /// The address that a listener of `family` dials: the family's own, else `address`.
    #[must_use]
    pub fn address(&self, family: Family) -> NodeAddress {
        self.addresses
            .get(&family)
            .or_else(|| self.addresses.get(&Family::Access))
            .copied()
            .unwrap_or(NodeAddress {
                ip: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                port: None,
            })
    }
}

/// An address of a node, perhaps with a port that overrides the listener's `node_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Where the node is.
    pub ip: IpAddr,
    /// Overrides `node_port` and the probe's port.
    pub port: Option<u16>,
}

/// What an administrator wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Takes sessions.
    Active,
    /// Keeps its sessions and takes no new ones.
    Draining,
    /// Has no sessions.
    Disabled,
}

/// Which of a node's addresses a listener dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Access Edge; the key `address`.
    Access,
    /// Web Conferencing Edge.
    Webconf,
    /// A/V Edge.
    Av,
    /// The inside of the Edge Server.
    Internal,
    /// Web services.
    Web,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// A connection.
    Tcp,
    /// A ServerHello or an alert.
    TlsHello,
    /// Later: a whole handshake.
    Tls,
    /// Later: an answer to OPTIONS.
    SipOptions,
    /// Later: a 401 to an Allocate.
    TurnAllocate,
    /// Later: a stream header.
    Xmpp,
    /// Later: a status.
    Http,
    /// Nothing: nodes are eligible at once.
    None,
}

/// `[[partner]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Partner {
    /// Unique name.
    pub name: String,
    /// SIP domains.
    pub domains: Vec<String>,
    /// How it federates.
    pub federation: Federation,
    /// FQDNs of its Edge Servers.
    pub edge: Vec<String>,
    /// Addresses it connects from.
    pub addresses: Vec<IpNet>,
    /// What software it runs.
    pub generation: Generation,
    /// Further names in its certificates.
    pub certificate_names: Vec<String>,
    /// Whether it cannot fail over by itself.
    pub legacy: bool,
    /// What its pin belongs to.
    pub pin: Pin,
    /// A preferred node.
    pub node: Option<String>,
    /// When it returns to its preferred node.
    pub failback: Failback,
    /// A partner that was active before a cut and is not served again by then raises "never came back".
    pub alarm_after: Duration,
    /// Lowers the listener's `tls_min`; `Some(None)`: off.
    pub tls_min: Option<Option<TlsVersion>>,
    /// Shown in explain, alarms and the ledger.
    pub contact: Option<String>,
}

/// How a partner federates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Federation {
    /// Found by DNS, throttled.
    DiscoveredDomain,
    /// On the allow list.
    AllowedDomain,
    /// On the allow list with its server.
    AllowedServer,
    /// A hosting provider.
    HostingProvider,
    /// A public IM provider.
    PublicImProvider,
    /// XMPP.
    Xmpp,
    /// Its addresses are refused.
    Blocked,
}

/// What software a partner runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Live Communications Server 2005.
    Lcs2005,
    /// Live Communications Server 2005 SP1.
    Lcs2005Sp1,
    /// Office Communications Server 2007.
    Ocs2007,
    /// Office Communications Server 2007 R2.
    Ocs2007R2,
    /// Lync Server 2010.
    Lync2010,
    /// Lync Server 2013.
    Lync2013,
    /// Skype for Business Server 2015.
    Sfb2015,
    /// Skype for Business Server 2019.
    Sfb2019,
    /// Skype for Business Server Subscription Edition.
    SfbSe,
    /// Teams, Microsoft 365.
    Online,
    /// Anything else.
    Other,
}

/// When a partner that was moved returns to its preferred node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Never by itself.
    Stay,
    /// When it has been idle this long.
    Idle(Duration),
    /// Within this window.
    Window(Window),
}
