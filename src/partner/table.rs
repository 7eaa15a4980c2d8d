//! Configured partners, found by address or by name.
//!
//! Owns the longest-prefix look-up. Trust runs from configured addresses over addresses of the
//! partner's DNS names (both in this table) and a certificate name learned from an address to the
//! bare address; each further source is asked only where the one before knows nothing. What DNS says
//! only places: it neither grants nor blocks.
//! Immutable once built: a reload builds another, and so does news from DNS.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::presence::Presence;
use super::resolved::Addresses;
use crate::config::model;

/// What a session needs to know of its partner.
#[derive(Clone, Debug)]
pub struct Known {
    /// Unique name.
    pub name: Arc<str>,
    /// Whether it cannot fail over by itself.
    pub legacy: bool,
    /// What its pin belongs to.
    pub pin: model::Pin,
    /// The node it prefers.
    pub node: Option<Arc<str>>,
    /// Whether it is refused.
    pub blocked: bool,
    /// Whether it was found by DNS alone, and may say little at a time.
    pub discovered: bool,
    /// Lowers the listener's `tls_min`; `Some(None)`: off.
    pub tls_min: Option<Option<model::TlsVersion>>,
    /// Whether anything tells what its certificate is called.
    pub has_names: bool,
    /// When it returns to the node that it was moved away from.
    pub failback: model::Failback,
    /// How long after a cut it may be missing.
    pub alarm_after: Duration,
    /// Whom to call.
    pub contact: Option<Arc<str>>,
    /// Where it is. Outlives the table.
    pub presence: Arc<Presence>,
}

impl Known {
    /// Whether it cannot fail over by itself and is pinned by name: then it counts in the share of a node.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.legacy && self.pin == model::Pin::Partner
    }

    /// The node that its table wants, where a pin that it would take along names another, `pinned`.
    #[must_use]
    pub fn wants_instead_of(&self, pinned: &str) -> Option<&Arc<str>> {
        self.node.as_ref().filter(|wanted| ***wanted != *pinned)
    }
}

impl Known {
    fn new(partner: &model::Partner, presence: &Arc<Presence>) -> Self {
        Self {
            name: Arc::from(partner.name.as_str()),
            legacy: partner.legacy,
            pin: partner.pin,
            node: partner.node.as_deref().map(Arc::from),
            blocked: partner.federation == model::Federation::Blocked,
            discovered: partner.federation == model::Federation::DiscoveredDomain,
            tls_min: partner.tls_min,
            has_names: certificate_names(partner).next().is_some(),
            failback: partner.failback.clone(),
            alarm_after: partner.alarm_after,
            contact: partner.contact.as_deref().map(Arc::from),
            presence: Arc::clone(presence),
        }
    }
}

/// All configured partners.
#[derive(Clone, Debug, Default)]
pub struct PartnerTable {
    v4: PrefixMap<Ipv4Net, Arc<Known>>,
    v6: PrefixMap<Ipv6Net, Arc<Known>>,
    names: HashMap<Arc<str>, Arc<Known>>,
    /// By the names in their certificates; `None` where several claim one.
    certificates: HashMap<Box<str>, Option<Arc<Known>>>,
    /// By their domains; `None` where several claim one.
    domains: HashMap<Box<str>, Option<Arc<Known>>>,
    /// Domains of those that are blocked, and the names in their certificates.
    blocked: HashMap<Box<str>, Arc<Known>>,
    /// What DNS says.
    resolved: Arc<Addresses>,
}

impl PartnerTable {
    /// The table of `partners`. Where two claim the same prefix, the first keeps it; the checker
    /// of the configuration refuses such files.
    #[must_use]
    pub fn new(partners: &[model::Partner]) -> Self {
        Self::counted_by(partners, |_| Arc::new(Presence::new(1)))
    }

    /// The same, where `presence` says who counts the sessions of the partner with this name.
    #[must_use]
    pub fn counted_by(
        partners: &[model::Partner],
        mut presence: impl FnMut(&str) -> Arc<Presence>,
    ) -> Self {
        let mut table = Self::default();
        for partner in partners {
            let known = Arc::new(Known::new(partner, &presence(&partner.name)));
            for net in &partner.addresses {
                table.insert(*net, &known);
            }
            for name in certificate_names(partner) {
                give(&mut table.certificates, name, &known);
            }
            for domain in welcome_domains(partner) {
                give(&mut table.domains, domain.to_ascii_lowercase(), &known);
            }
            for name in blocked_names(partner) {
                let entry = table.blocked.entry(name.into());
                entry.or_insert_with(|| Arc::clone(&known));
            }
            table.names.entry(Arc::clone(&known.name)).or_insert(known);
        }
        table
    }

    /// The same partners, where DNS says `resolved`.
    #[must_use]
    pub fn with_resolved(&self, resolved: Arc<Addresses>) -> Self {
        Self {
            resolved,
            ..self.clone()
        }
    }

    /// What DNS says.
    #[must_use]
    pub const fn resolved(&self) -> &Arc<Addresses> {
        &self.resolved
    }

    /// The partner one of whose names has the address `client`.
    #[must_use]
    pub fn named(&self, client: IpAddr) -> Option<&Arc<Known>> {
        if self.resolved.is_empty() {
            return None;
        }
        let named = self.resolved.get(client.to_canonical())?;
        self.by_name(&named.partner)
    }

    fn insert(&mut self, net: IpNet, known: &Arc<Known>) {
        match plain(net) {
            IpNet::V4(net) => {
                self.v4.entry(net).or_insert_with(|| Arc::clone(known));
            }
            IpNet::V6(net) => {
                self.v6.entry(net).or_insert_with(|| Arc::clone(known));
            }
        }
    }

    /// The partner that a certificate with `names` belongs to; none where they belong to several.
    #[must_use]
    pub fn by_certificate(&self, names: &[Box<str>]) -> Option<&Arc<Known>> {
        let mut owners = names.iter().filter_map(|name| self.owner(name));
        let first = owners.next()?;
        owners
            .all(|other| other.name == first.name)
            .then_some(first)
    }

    /// The partner that a certificate with this name belongs to.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<&Arc<Known>> {
        self.certificates.get(name)?.as_ref()
    }

    /// The partner with this domain, written in lower case. Whoever names it may not be it.
    #[must_use]
    pub fn by_domain(&self, domain: &str) -> Option<&Arc<Known>> {
        self.domains.get(domain)?.as_ref()
    }

    /// The blocked partner that this domain or name in a certificate belongs to, written in lower case. Only for whom
    /// its own words, or a certificate that was verified, refuse.
    #[must_use]
    pub fn blocked(&self, name: &str) -> Option<&Arc<Known>> {
        self.blocked.get(name)
    }

    /// Whether any partner is blocked that has names.
    #[must_use]
    pub fn blocks_anybody(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// The partner with the longest configured prefix around `client`.
    #[must_use]
    pub fn find(&self, client: IpAddr) -> Option<&Arc<Known>> {
        match client.to_canonical() {
            IpAddr::V4(ip) => self.v4.get_lpm(&Ipv4Net::from(ip)).map(|(_, known)| known),
            IpAddr::V6(ip) => self.v6.get_lpm(&Ipv6Net::from(ip)).map(|(_, known)| known),
        }
    }

    /// The partner called `name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Known>> {
        self.names.get(name)
    }

    /// All partners, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.names.values()
    }

    /// Partners that cannot fail over by themselves and are pinned by name, in no order.
    pub fn legacy(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.iter().filter(|known| known.is_counted())
    }

    /// Partners that return by themselves to the node they were moved away from, in no order.
    pub fn returning(&self) -> impl Iterator<Item = &Arc<Known>> {
        let is_such = |known: &&Arc<Known>| {
            known.failback != model::Failback::Stay && known.pin == model::Pin::Partner
        };
        self.iter().filter(is_such)
    }

    /// How many partners there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A name that two claim is nobody's.
fn give(names: &mut HashMap<Box<str>, Option<Arc<Known>>>, name: String, known: &Arc<Known>) {
    let entry = names.entry(name.into());
    let entry = entry.or_insert_with(|| Some(Arc::clone(known)));
    if entry.as_ref().is_some_and(|other| other.name != known.name) {
        *entry = None;
    }
}

/// The domains by which a partner may be known; of a blocked one none: a claim blocks nobody.
fn welcome_domains(partner: &model::Partner) -> impl Iterator<Item = &String> {
    let is_welcome = partner.federation != model::Federation::Blocked;
    partner.domains.iter().filter(move |_| is_welcome)
}

/// The names that a partner's certificate may have: those of its servers, and what servers of its
/// domains are called by custom. Of a blocked partner none: nothing learned blocks.
fn certificate_names(partner: &model::Partner) -> impl Iterator<Item = String> {
    let is_welcome = partner.federation != model::Federation::Blocked;
    all_names(partner).filter(move |_| is_welcome)
}

/// What a blocked partner calls itself.
fn blocked_names(partner: &model::Partner) -> impl Iterator<Item = String> {
    let is_blocked = partner.federation == model::Federation::Blocked;
    all_names(partner).filter(move |_| is_blocked)
}

fn all_names(partner: &model::Partner) -> impl Iterator<Item = String> {
    let named = partner
        .edge
        .iter()
        .chain(&partner.certificate_names)
        .cloned();
    let domains = partner.domains.iter();
    let by_custom = domains.flat_map(|domain| [format!("sip.{domain}"), domain.clone()]);
    let names = named.chain(by_custom);
    names.map(|name| name.to_ascii_lowercase())
}

/// `net` truncated, and as IPv4 where it lies within `::ffff:0:0/96`.
fn plain(net: IpNet) -> IpNet {
    let net = net.trunc();
    let (IpAddr::V4(ip), IpNet::V6(v6)) = (net.network().to_canonical(), net) else {
        return net;
    };
    v6.prefix_len()
        .checked_sub(96)
        .and_then(|length| Ipv4Net::new(ip, length).ok())
        .map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests;
