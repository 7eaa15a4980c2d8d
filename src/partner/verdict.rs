//! Us or them: whether a partner fails by its own doing or by a node's.
//!
//! Pure. Looks at how the last sessions of each partner with each node went. A partner that fails wherever
//! it comes while others are normal there has trouble of its own, or on its way; a node on which everybody
//! fails while others are normal elsewhere is at fault. Where neither is seen nobody is accused, and a
//! single failure accuses nobody. Decides nothing: administrators and the log are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Moment;
use crate::telemetry::outcome::Outcome;

/// How one session of a partner with a node went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The partner.
    pub partner: Arc<str>,
    /// The node.
    pub node: Arc<str>,
    /// Whether it was served.
    pub is_good: bool,
    /// When that was known.
    pub at: Moment,
}

/// Who is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody: the partner is served.
    Neither,
    /// The partner, or the way to it.
    Partner,
    /// This node.
    Node(Arc<str>),
    /// Too little was seen.
    Unknown,
}

impl Verdict {
    /// For the admin API and the log.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Partner => "partner",
            Self::Node(_) => "node",
            Self::Unknown => "unknown",
        }
    }

    /// Whether somebody is accused.
    #[must_use]
    pub const fn is_accusation(&self) -> bool {
        matches!(self, Self::Partner | Self::Node(_))
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Who.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub evidence: String,
}

/// Whether a session that ended so speaks for its node and its partner, against one of them, or says
/// nothing. `was_served`: the node has answered, and accepted what the client has shown. What breaks after
/// that is a matter of health, and of the ledger.
#[must_use]
pub const fn speaks_for(outcome: Outcome, was_served: bool) -> Option<bool> {
    match outcome {
        Outcome::NodeClosed | Outcome::ClientReset | Outcome::NodeReset => Some(was_served),
        Outcome::DialFailed | Outcome::TlsAlertClient | Outcome::TlsAlertNode => Some(false),
        Outcome::ClientClosed
        | Outcome::ClientLost
        | Outcome::NodeLost
        | Outcome::Idle
        | Outcome::NodeDown
        | Outcome::Drained
        | Outcome::Disabled
        | Outcome::Moved
        | Outcome::Removed
        | Outcome::Stopped => match was_served {
            true => Some(true),
            false => None,
        },
        Outcome::FirstBytesTimeout
        | Outcome::NoNode
        | Outcome::RefusedLimit
        | Outcome::RefusedPace
        | Outcome::RefusedAccess
        | Outcome::RefusedProxy
        | Outcome::RefusedTls
        | Outcome::Shortage
        | Outcome::InternalError => None,
    }
}

/// How all partners fared on all nodes lately.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// By partner and node: failures since it was last served; 0: it is normal.
    failures: BTreeMap<(Arc<str>, Arc<str>), u32>,
}

/// Other partners on one node.
#[derive(Clone, Copy, Debug, Default)]
struct Others {
    normal: usize,
    failing: usize,
}

impl Picture {
    /// The picture that `seen` gives, in whatever order.
    #[must_use]
    pub fn new(mut seen: Vec<Seen>) -> Self {
        // Of one moment the good counts last: it is not known to have failed since.
        seen.sort_by_key(|seen| (seen.at, seen.is_good));
        let mut picture = Self::default();
        for each in seen {
            let failures = picture.failures.entry((each.partner, each.node));
            let failures = failures.or_default();
            *failures = if each.is_good { 0 } else { *failures + 1 };
        }
        picture
    }

    /// Who is at fault where `partner` fails.
    #[must_use]
    pub fn of_partner(&self, partner: &str) -> Judgement {
        let own = self
            .failures
            .iter()
            .filter(|((name, _), _)| **name == *partner);
        let (normal, failing): (Vec<_>, Vec<_>) = own
            .map(|((_, node), failures)| (node, *failures))
            .partition(|(_, failures)| *failures == 0);
        let normal: Vec<_> = normal.into_iter().map(|(node, _)| node).collect();
        let times = failing.iter().map(|(_, failures)| failures).sum::<u32>();
        let failing: Vec<_> = failing.into_iter().map(|(node, _)| node).collect();
        let Some(first) = failing.first() else {
            return self.nobody(partner, &normal);
        };
        let places = list(&failing);
        if times < ENOUGH {
            let mut judgement = self.nobody(partner, &normal);
            judgement.evidence = match normal.is_empty() {
                true => format!("{partner} failed once on {places}: too little to tell"),
                false => format!("{}. It failed once on {places}", judgement.evidence),
            };
            return judgement;
        }
        let others: Vec<_> = failing
            .iter()
            .map(|node| self.others(partner, node))
            .collect();
        if others.iter().all(|others| others.normal > others.failing) {
            let count = self.normal_on(partner, &failing);
            if normal.is_empty() {
                let evidence = format!(
                    "{partner} failed {} on {places}, where {}: their side, or the way to them",
                    count_of(times as usize, "time"),
                    are_normal(count)
                );
                return judge(Verdict::Partner, evidence);
            }
            let evidence = format!(
                "{partner} fails on {places} and is normal on {}; {} on {places}: what {first} asks of \
                 {partner} differs (TLS versions, certificates it trusts)",
                list(&normal),
                are_normal(count)
            );
            return judge(Verdict::Node(Arc::clone(first)), evidence);
        }
        if let [node] = failing.as_slice()
            && let Some(evidence) = self.accuse(node)
        {
            return judge(Verdict::Node(Arc::clone(node)), evidence);
        }
        let evidence = format!(
            "{partner} failed on {places}, and so did others elsewhere, or nobody else was there"
        );
        judge(Verdict::Unknown, evidence)
    }

    /// Nodes on which everybody fails while others are normal elsewhere, and what speaks against each.
    #[must_use]
    pub fn accused(&self) -> Vec<(Arc<str>, String)> {
        let nodes: BTreeSet<_> = self.failures.keys().map(|(_, node)| node).collect();
        let accused = nodes.into_iter().filter_map(|node| {
            let evidence = self.accuse(node)?;
            Some((Arc::clone(node), evidence))
        });
        accused.collect()
    }

    /// Partners of which something was seen.
    #[must_use]
    pub fn partners(&self) -> BTreeSet<&Arc<str>> {
        self.failures.keys().map(|(partner, _)| partner).collect()
    }

    fn nobody(&self, partner: &str, normal: &[&Arc<str>]) -> Judgement {
        if normal.is_empty() {
            let evidence = format!("no session of {partner} with a node was seen lately");
            return judge(Verdict::Unknown, evidence);
        }
        let places = list(normal);
        let others = match self.normal_on(partner, normal) {
            0 => String::new(),
            count => format!("; {} there, too", are_normal(count)),
        };
        judge(
            Verdict::Neither,
            format!("{partner} is served, lately by {places}{others}"),
        )
    }

    /// What speaks against `node` itself, if enough does.
    fn accuse(&self, node: &str) -> Option<String> {
        let here = self.others("", node);
        if here.failing < 2 || here.normal > 0 {
            return None;
        }
        let elsewhere = || {
            self.failures
                .iter()
                .filter(|((_, other), _)| **other != *node)
        };
        let failing = elsewhere().any(|(_, failures)| *failures > 0);
        let well: BTreeSet<_> = elsewhere().map(|((_, other), _)| other).collect();
        if failing || well.is_empty() {
            return None;
        }
        let well: Vec<_> = well.into_iter().collect();
        let count = here.failing;
        Some(format!(
            "{count} of {count} partners fail on {node} and none on {}: {node}",
            list(&well)
        ))
    }

    /// How others than `partner` fare on `node`.
    fn others(&self, partner: &str, node: &str) -> Others {
        let mut others = Others::default();
        for ((name, place), failures) in &self.failures {
            if **place == *node && **name != *partner {
                match failures {
                    0 => others.normal += 1,
                    _ => others.failing += 1,
                }
            }
        }
        others
    }

    /// Others than `partner` that are normal on one of `nodes`.
    fn normal_on(&self, partner: &str, nodes: &[&Arc<str>]) -> usize {
        let normal = self.failures.iter().filter(|((name, node), failures)| {
            **failures == 0 && **name != *partner && nodes.contains(&node)
        });
        let names: BTreeSet<_> = normal.map(|((name, _), _)| name).collect();
        names.len()
    }
}

fn judge(verdict: Verdict, evidence: String) -> Judgement {
    Judgement { verdict, evidence }
}

/// `edge1 and edge2`.
fn list(nodes: &[&Arc<str>]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| &***node).collect();
    names.join(" and ")
}

fn are_normal(count: usize) -> String {
    let be = if count == 1 { "is" } else { "are" };
    format!("{} {be} normal", count_of(count, "other partner"))
}

fn count_of(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// One failure may be anybody's.
const ENOUGH: u32 = 2;

#[cfg(test)]
mod tests;
