//! The same by looking at everything for each question: what the counting must agree with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::ground::{are_normal, count_of, judge, list};
use super::super::{ENOUGH, Judgement, Verdict};
use super::Seen;

/// How all partners fared on all nodes of one listener.
#[derive(Debug, Default)]
pub(super) struct Picture {
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
    pub(super) fn new(mut seen: Vec<Seen>) -> Self {
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
    pub(super) fn of_partner(&self, partner: &str) -> Judgement {
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
                return here(Verdict::Partner, evidence);
            }
            let evidence = format!(
                "{partner} fails on {places} and is normal on {}; {} on {places}: what {first} asks of \
                 {partner} differs (TLS versions, certificates it trusts)",
                list(&normal),
                are_normal(count)
            );
            return here(Verdict::Node(Arc::clone(first)), evidence);
        }
        if let [node] = failing.as_slice()
            && let Some(evidence) = self.accuse(node)
        {
            return here(Verdict::Node(Arc::clone(node)), evidence);
        }
        let evidence = format!(
            "{partner} failed on {places}, and so did others elsewhere, or nobody else was there"
        );
        here(Verdict::Unknown, evidence)
    }

    /// Nodes on which everybody fails while others are normal elsewhere, and what speaks against each.
    pub(super) fn accused(&self) -> Vec<(Arc<str>, String)> {
        let nodes: BTreeSet<_> = self.failures.keys().map(|(_, node)| node).collect();
        let accused = nodes.into_iter().filter_map(|node| {
            let evidence = self.accuse(node)?;
            Some((Arc::clone(node), evidence))
        });
        accused.collect()
    }

    /// Partners of which something was seen.
    pub(super) fn partners(&self) -> BTreeSet<&Arc<str>> {
        self.failures.keys().map(|(partner, _)| partner).collect()
    }

    fn nobody(&self, partner: &str, normal: &[&Arc<str>]) -> Judgement {
        if normal.is_empty() {
            let evidence = format!("no session of {partner} with a node was seen lately");
            return here(Verdict::Unknown, evidence);
        }
        let places = list(normal);
        let others = match self.normal_on(partner, normal) {
            0 => String::new(),
            count => format!("; {} there, too", are_normal(count)),
        };
        here(
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

/// On whatever listener these are seen on.
fn here(verdict: Verdict, evidence: String) -> Judgement {
    judge(&Arc::from(""), verdict, evidence)
}
