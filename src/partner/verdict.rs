//! Us or them: whether a partner fails by its own doing or by a node's.
//!
//! Pure. Looks at how the last sessions of each partner with each node went. A partner that fails wherever
//! it comes while others are normal there has trouble of its own, or on its way; a node on which everybody
//! fails while others are normal elsewhere is at fault. Where neither is seen nobody is accused, and a
//! single failure accuses nobody. Decides nothing: administrators and the log are told.

use std::collections::BTreeMap;
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
///
/// Counts as it is drawn, so that judging one partner does not look at all others: ten thousand may fail at once.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Of each partner, by node: failures since it was last served; 0: it is normal.
    partners: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>,
    /// How partners fare on each node.
    nodes: BTreeMap<Arc<str>, Count>,
    /// How many partners are normal on just these nodes.
    normal: BTreeMap<Vec<Arc<str>>, usize>,
}

/// Partners on one node.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    normal: usize,
    failing: usize,
}

impl Count {
    const fn of(&mut self, failures: u32) -> &mut usize {
        match failures {
            0 => &mut self.normal,
            _ => &mut self.failing,
        }
    }
}

impl Picture {
    /// The picture that `seen` gives, in whatever order.
    #[must_use]
    pub fn new(seen: Vec<Seen>) -> Self {
        let mut by_partner: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for each in seen {
            let of_partner = by_partner.entry(Arc::clone(&each.partner));
            of_partner.or_default().push(each);
        }
        let mut picture = Self::default();
        for (partner, seen) in by_partner {
            picture.add(&partner, seen);
        }
        picture
    }

    /// Adds all that was `seen` of one partner, in whatever order; nothing where it was added before.
    pub fn add(&mut self, partner: &Arc<str>, mut seen: Vec<Seen>) {
        if seen.is_empty() || self.partners.contains_key(partner) {
            return;
        }
        // Of one moment the good counts last: it is not known to have failed since.
        seen.sort_by_key(|seen| (seen.at, seen.is_good));
        let mut fared: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for each in seen {
            let failures = fared.entry(each.node).or_default();
            *failures = if each.is_good { 0 } else { *failures + 1 };
        }
        for (node, failures) in &fared {
            let count = self.nodes.entry(Arc::clone(node)).or_default();
            *count.of(*failures) += 1;
        }
        *self.normal.entry(normal(&fared)).or_default() += 1;
        self.partners.insert(Arc::clone(partner), fared);
    }

    /// Who is at fault where `partner` fails.
    #[must_use]
    pub fn of_partner(&self, partner: &str) -> Judgement {
        let own = self.partners.get(partner).into_iter().flatten();
        let (normal, failing): (Vec<_>, Vec<_>) = own
            .map(|(node, failures)| (node, *failures))
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
        let accused = self.nodes.keys().filter_map(|node| {
            let evidence = self.accuse(node)?;
            Some((Arc::clone(node), evidence))
        });
        accused.collect()
    }

    /// Partners of which something was seen, in order of their names.
    pub fn partners(&self) -> impl Iterator<Item = &Arc<str>> {
        self.partners.keys()
    }

    /// Those of them that fail somewhere: nobody else can be accused.
    pub fn failing(&self) -> impl Iterator<Item = &Arc<str>> {
        let fails = |fared: &BTreeMap<_, u32>| fared.values().any(|failures| *failures > 0);
        let failing = self.partners.iter().filter(move |(_, fared)| fails(fared));
        failing.map(|(partner, _)| partner)
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
        let here = self.nodes.get(node)?;
        if here.failing < 2 || here.normal > 0 {
            return None;
        }
        let elsewhere = || self.nodes.iter().filter(|(other, _)| ***other != *node);
        let failing = elsewhere().any(|(_, count)| count.failing > 0);
        let well: Vec<_> = elsewhere().map(|(other, _)| other).collect();
        if failing || well.is_empty() {
            return None;
        }
        let count = here.failing;
        Some(format!(
            "{count} of {count} partners fail on {node} and none on {}: {node}",
            list(&well)
        ))
    }

    /// How others than `partner` fare on `node`.
    fn others(&self, partner: &str, node: &str) -> Count {
        let mut others = self.nodes.get(node).copied().unwrap_or_default();
        let own = self.partners.get(partner).and_then(|own| own.get(node));
        if let Some(failures) = own {
            *others.of(*failures) -= 1;
        }
        others
    }

    /// Others than `partner` that are normal on one of `nodes`.
    fn normal_on(&self, partner: &str, nodes: &[&Arc<str>]) -> usize {
        let is_there = |normal: &[Arc<str>]| normal.iter().any(|node| nodes.contains(&node));
        let all = self.normal.iter().filter(|(on, _)| is_there(on));
        let all: usize = all.map(|(_, count)| count).sum();
        let own = self.partners.get(partner).map(normal);
        all - usize::from(own.is_some_and(|own| is_there(&own)))
    }
}

/// The nodes on which it is normal.
fn normal(fared: &BTreeMap<Arc<str>, u32>) -> Vec<Arc<str>> {
    let normal = fared.iter().filter(|(_, failures)| **failures == 0);
    normal.map(|(node, _)| Arc::clone(node)).collect()
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
