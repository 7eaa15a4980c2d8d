//! `[[partner]]`: who federates.

use std::time::Duration;

use ipnet::IpNet;

use super::{Pin, TlsVersion, Window};

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
