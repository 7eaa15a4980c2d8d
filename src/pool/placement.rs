//! Weighted rendezvous hashing: which node belongs to a subject, whoever asks.
//!
//! Owns the placement key and the score. Two appliances with one key agree without talking,
//! because a score depends on nothing but the key, the subject, the node's name and its weight.
//! Does not know which nodes are healthy: [`super::select`] offers only those that may be taken.
//!
//! Invariants: the order of nodes does not matter; removing a node moves only its own subjects; a
//! new node takes subjects only for itself; shares follow weights. Nothing is allocated.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use siphasher::sip::SipHasher13;

use crate::config::model::PinPrefix;

/// Key of placement; appliances that share it place alike.
#[derive(Clone, PartialEq, Eq)]
pub struct PlacementKey {
    first: u64,
    second: u64,
}

impl PlacementKey {
    /// The key that 16 bytes spell.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half is taken on purpose"
    )]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_le_bytes(bytes);
        Self {
            first: (number >> 64) as u64,
            second: number as u64,
        }
    }

    /// The key derived from any text; `None` for empty text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let digest = siphasher::sip128::SipHasher13::new().hash(text.as_bytes());
        Some(Self::from_bytes(digest.as_u128().to_le_bytes()))
    }

    /// How much `node` of `weight` attracts `subject`; the highest score wins.
    #[must_use]
    pub fn score(&self, subject: &Subject, node: &str, weight: u32) -> Score {
        Score::new(self.hash(subject, node), weight)
    }

    /// What stands for a node of `pool` where clients keep it, in a cookie: it names nothing to them, and two
    /// appliances of one key make the same of it.
    #[must_use]
    pub fn token(&self, pool: &str, node: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.first, self.second);
        for part in ["cookie", pool, node] {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }

    fn hash(&self, subject: &Subject, node: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.first, self.second);
        subject.feed(&mut hasher);
        hasher.write(node.as_bytes());
        hasher.finish()
    }

    /// A place from 0 to 99 that depends on nothing but the key, the subject and the node, and not on
    /// their score.
    #[must_use]
    pub fn percentile(&self, subject: &Subject, node: &str) -> u8 {
        // The score uses the other bits.
        let low = self.hash(subject, node) & 0x7ff;
        u8::try_from((low * 100) >> 11).unwrap_or(u8::MAX)
    }

    /// Position of the node that belongs to `subject`, among nodes given as name and weight;
    /// `None` where there is none.
    pub fn place<'a>(
        &self,
        subject: &Subject,
        nodes: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Option<usize> {
        nodes
            .into_iter()
            .enumerate()
            .map(|(index, (name, weight))| (self.score(subject, name, weight), name, index))
            .max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(a.1)))
            .map(|(_, _, index)| index)
    }
}

impl fmt::Debug for PlacementKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PlacementKey(…)")
    }
}

/// Attraction between a subject and a node. Totally ordered; never NaN.
#[derive(Clone, Copy, Debug)]
pub struct Score(f64);

impl Score {
    /// `-weight / ln(u)` with `u` drawn from the open interval 0 to 1 by the 53 upper bits of the
    /// hash: the exponential trick by which shares follow weights exactly.
    fn new(hash: u64, weight: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        Self(-f64::from(weight) / unit.ln())
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

/// Whom a placement or a pin is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A configured partner, by name, whatever its addresses.
    Partner(Arc<str>),
    /// Whoever comes from this prefix.
    Prefix(IpNet),
}

impl Subject {
    /// The prefix that `client` shares a pin with. A v4-mapped address counts as IPv4.
    #[must_use]
    pub fn of_client(client: IpAddr, prefix: PinPrefix) -> Self {
        let net = match client.to_canonical() {
            IpAddr::V4(ip) => Ipv4Net::new(ip, prefix.v4.min(32)).map(IpNet::V4),
            IpAddr::V6(ip) => Ipv6Net::new(ip, prefix.v6.min(128)).map(IpNet::V6),
        };
        Self::Prefix(net.map_or_else(|_| IpNet::from(client), |net| net.trunc()))
    }

    /// Whether this is a configured partner.
    #[must_use]
    pub const fn is_partner(&self) -> bool {
        matches!(self, Self::Partner(_))
    }

    /// Feeds an encoding in which no two pairs of subject and node name look alike: a tag, then a
    /// fixed size or a terminator that UTF-8 cannot contain.
    fn feed(&self, hasher: &mut SipHasher13) {
        match self {
            Self::Partner(name) => {
                hasher.write(&[1]);
                hasher.write(name.as_bytes());
                hasher.write(&[0xff]);
            }
            Self::Prefix(IpNet::V4(net)) => {
                hasher.write(&[4, net.prefix_len()]);
                hasher.write(&net.network().octets());
            }
            Self::Prefix(IpNet::V6(net)) => {
                hasher.write(&[6, net.prefix_len()]);
                hasher.write(&net.network().octets());
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(name) => formatter.write_str(name),
            Self::Prefix(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(formatter, "{}", net.addr())
            }
            Self::Prefix(net) => write!(formatter, "{net}"),
        }
    }
}

#[cfg(test)]
mod tests;
