//! Us or them on one listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ENOUGH, Judgement, Verdict};

/// How all partners fared on all nodes of one listener lately.
///
/// Counts as it is drawn, so that judging one partner does not look at all others: ten thousand may fail at once.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    listener: Arc<str>,
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

impl Ground {
    /// Nothing was seen on `listener` yet.
    pub(super) fn on(listener: Arc<str>) -> Self {
        Self {
            listener,
            partners: BTreeMap::new(),
            nodes: BTreeMap::new(),
            normal: BTreeMap::new(),
        }
    }

    /// Adds how one partner `fared`; it was not added before.
    pub(super) fn add(&mut self, partner: &Arc<str>, fared: BTreeMap<Arc<str>, u32>) {
        for (node, failures) in &fared {
            let count = self.nodes.entry(Arc::clone(node)).or_default();
            *count.of(*failures) += 1;
        }
        *self.normal.entry(normal(&fared)).or_default() += 1;
        self.partners.insert(Arc::clone(partner), fared);
    }

    /// Who is at fault where `partner` fails.
    pub(super) fn of_partner(&self, partner: &str) -> Judgement {
        let own = self.partners.get(partner).into_iter().flatten();
        let (normal, failing): (Vec<_>, Vec<_>) = own
            .map(|(node, failures)| (node, *failures))
            .partition(|(_, failures)| *failures == 0);
        let normal: Vec<_> = normal.into_iter().map(|(node, _)| node).collect();
        let times = self.failures(partner);
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
                return self.judge(Verdict::Partner, evidence);
            }
            let evidence = format!(
                "{partner} fails on {places} and is normal on {}; {} on {places}: what {first} asks of \
                 {partner} differs (TLS versions, certificates it trusts)",
                list(&normal),
                are_normal(count)
            );
            return self.judge(Verdict::Node(Arc::clone(first)), evidence);
        }
        if let [node] = failing.as_slice()
            && let Some(evidence) = self.accuse(node)
        {
            return self.judge(Verdict::Node(Arc::clone(node)), evidence);
        }
        let evidence = format!(
            "{partner} failed on {places}, and so did others elsewhere, or nobody else was there"
        );
        self.judge(Verdict::Unknown, evidence)
    }

    /// Nodes on which everybody fails while others are normal elsewhere, and what speaks against each.
    pub(super) fn accused(&self) -> impl Iterator<Item = (Arc<str>, Judgement)> {
        self.nodes.keys().filter_map(|node| {
            let evidence = self.accuse(node)?;
            let judgement = self.judge(Verdict::Node(Arc::clone(node)), evidence);
            Some((Arc::clone(node), judgement))
        })
    }

    /// Whether anything was seen of it here.
    pub(super) fn knows(&self, partner: &str) -> bool {
        self.partners.contains_key(partner)
    }

    /// How often it failed since it was last served, wherever it fails.
    pub(super) fn failures(&self, partner: &str) -> u32 {
        let own = self.partners.get(partner).into_iter().flatten();
        own.fold(0, |sum, (_, failures)| sum.saturating_add(*failures))
    }

    /// Partners that fail on some node.
    pub(super) fn failing(&self) -> impl Iterator<Item = &Arc<str>> {
        let fails = |fared: &BTreeMap<_, u32>| fared.values().any(|failures| *failures > 0);
        let failing = self.partners.iter().filter(move |(_, fared)| fails(fared));
        failing.map(|(partner, _)| partner)
    }

    fn nobody(&self, partner: &str, normal: &[&Arc<str>]) -> Judgement {
        if normal.is_empty() {
            let evidence = format!("no session of {partner} with a node was seen lately");
            return self.judge(Verdict::Unknown, evidence);
        }
        let places = list(normal);
        let others = match self.normal_on(partner, normal) {
            0 => String::new(),
            count => format!("; {} there, too", are_normal(count)),
        };
        self.judge(
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

    fn judge(&self, verdict: Verdict, evidence: String) -> Judgement {
        judge(&self.listener, verdict, evidence)
    }
}

/// The nodes on which it is normal.
fn normal(fared: &BTreeMap<Arc<str>, u32>) -> Vec<Arc<str>> {
    let normal = fared.iter().filter(|(_, failures)| **failures == 0);
    normal.map(|(node, _)| Arc::clone(node)).collect()
}

pub(super) fn judge(listener: &Arc<str>, verdict: Verdict, evidence: String) -> Judgement {
    Judgement {
        verdict,
        listener: Arc::clone(listener),
        evidence,
    }
}

/// `edge1 and edge2`.
pub(super) fn list(nodes: &[&Arc<str>]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| &***node).collect();
    names.join(" and ")
}

pub(super) fn are_normal(count: usize) -> String {
    let be = if count == 1 { "is" } else { "are" };
    format!("{} {be} normal", count_of(count, "other partner"))
}

pub(super) fn count_of(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
