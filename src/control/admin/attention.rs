//! What an administrator must know: sentences, worst first, each with how severe it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::answers::{Alarm, Severity};
use super::named;
use super::readiness::{self, Scope};
use super::status::{at, names};
use crate::clock::Moment;
use crate::config::model::NodeState;
use crate::control::{Shared, certificates, diverting, us_or_them};
use crate::governor::{EndpointView, Failover, Fault, GroupView, View};
use crate::partner::verdict::{Judgement, Verdict};
use crate::pool::group::MemberView;
use crate::pool::health::{Evidence, Hold, State};
use crate::pool::select::Standing;

pub(super) fn alarms(shared: &Shared, view: &View) -> Vec<Alarm> {
    let alarm = |severity| move |text| Alarm { severity, text };
    let diverting = diverting::troubles(shared);
    let warnings = warnings(shared, view, &diverting).into_iter();
    let critical = closed(shared).into_iter().chain(diverting);
    let critical = critical.map(alarm(Severity::Critical));
    critical
        .chain(warnings.map(alarm(Severity::Warning)))
        .collect()
}

/// Listeners whose clients are not served.
fn closed(shared: &Shared) -> Vec<String> {
    let shut = readiness::shut(shared, &Scope::All).into_iter();
    let mut sentences: Vec<_> = shut.map(|reason| format!("NOT READY {reason}")).collect();
    for (pool, listeners) in readiness::without_node(shared, &Scope::All) {
        let listeners = listeners.join(", ");
        sentences.push(format!(
            "NO NODE of pool {pool} is up for {listeners}: pinned nodes are dialled all the same"
        ));
    }
    sentences
}

fn warnings(shared: &Shared, view: &View, diverting: &[String]) -> Vec<String> {
    let mut sentences = troubled(view);
    sentences.extend(last_ones(view));
    sentences.extend(not_back(&view.failovers));
    sentences.extend(failing(shared));
    sentences.extend(not_kept(shared));
    sentences.extend(misaddressed(view));
    sentences.extend(unspeakable(view));
    sentences.extend(diverting::strays(shared, diverting));
    sentences.extend(own_expiring(shared, Timestamp::now()));
    sentences.extend(expiring(view, Timestamp::now()));
    sentences.extend(crowded(shared));
    sentences.extend(named::unresolved(shared));
    let revision = shared.snapshot.load().revision;
    if shared.last_failure.load().is_some() {
        sentences.push(format!(
            "RELOAD was refused: revision {revision} stays in force. → pinfold check {}",
            shared.source
        ));
    }
    let keys = shared.restart_needed.load();
    if !keys.is_empty() {
        let keys = keys.join(", ");
        sentences.push(format!(
            "RESTART needed: {keys} changed in the file since the start"
        ));
    }
    sentences
}

/// A/V Edges that send their clients astray, or do not ask who they are.
pub(super) fn misaddressed(view: &View) -> Vec<String> {
    let faults = served(view).filter_map(|(group, each)| Some((group, each, each.turn?.fault?)));
    faults
        .map(|(group, each, fault)| {
            let (node, own) = (&each.endpoint.node, each.endpoint.address);
            let on = names(&group.listeners).join(", ");
            match fault {
                Fault::Elsewhere(there) => format!(
                    "ADDRESSING {node} sends clients of {on} to {there}, and its address is {own}: their audio goes \
                     astray. → correct the external address of its A/V Edge, or that of the node"
                ),
                Fault::Code(code) => format!(
                    "ALLOCATE on {node} for {on} is refused by {code}, not by 401: it lives, and may serve nobody"
                ),
                Fault::Open => format!(
                    "ALLOCATE on {node} for {on} is not refused without credentials: it relays for anybody"
                ),
            }
        })
        .collect()
}

/// Nodes that cannot be spoken to in TLS.
fn unspeakable(view: &View) -> Vec<String> {
    let faults =
        served(view).filter_map(|(group, each)| Some((group, each, each.tls_fault.as_ref()?)));
    faults
        .map(|(group, each, finding)| {
            let (node, on) = (&each.endpoint.node, names(&group.listeners).join(", "));
            let remedy = finding.remedy();
            format!("TLS of {node} for {on}: {finding}. → {remedy}")
        })
        .collect()
}

/// Certificates that expire within a month, or have expired: one sentence each, however many nodes and
/// listeners show it.
pub(super) fn expiring(view: &View, now: Timestamp) -> Vec<String> {
    let mut shown = BTreeMap::<_, (BTreeSet<&str>, BTreeSet<&str>)>::new();
    for (group, each) in served(view) {
        let Some(certificate) = &each.certificate else {
            continue;
        };
        let days = certificate.days_left(now.as_second());
        if days <= EXPIRING_DAYS {
            let key = (days, certificate.name(), certificate.key);
            let (nodes, listeners) = shown.entry(key).or_default();
            nodes.insert(&each.endpoint.node);
            listeners.extend(group.listeners.iter().map(|name| &**name));
        }
    }
    let join = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    let tell = |((days, name, _), (nodes, listeners)): ((i64, &str, _), _)| {
        let (when, nodes, listeners) = (expires(days), join(nodes), join(listeners));
        format!("CERTIFICATE {name} {when}: {nodes} on {listeners}")
    };
    shown.into_iter().map(tell).collect()
}

fn expires(days: i64) -> String {
    match days {
        ..0 => "has expired".into(),
        0 => "expires today".into(),
        1 => "expires tomorrow".into(),
        _ => format!("expires in {days} days"),
    }
}

/// Certificates of the listeners' own that expire within a month, or have expired.
fn own_expiring(shared: &Shared, now: Timestamp) -> Vec<String> {
    let snapshot = shared.snapshot.load();
    let mut sentences = Vec::new();
    for (listener, credential) in certificates::own(&snapshot.config) {
        let days = credential.certificate.days_left(now.as_second());
        if days <= EXPIRING_DAYS {
            let (name, when) = (credential.certificate.name(), expires(days));
            let file = credential.chain.display();
            sentences.push(format!(
                "CERTIFICATE {name} {when}: {file} of listener {listener}. → renew the file, then pinfold reload"
            ));
        }
    }
    sentences.dedup();
    sentences
}

/// Partners and nodes that fail, where it is clear whose doing that is.
fn failing(shared: &Shared) -> Vec<String> {
    let picture = us_or_them::picture(shared, Moment::now());
    let accusations = us_or_them::accusations(&picture).into_iter();
    let tell = |(who, judgement): (Arc<str>, Judgement)| {
        let next = match &judgement.verdict {
            Verdict::Node(node) if *node == who => String::new(),
            Verdict::Neither | Verdict::Partner | Verdict::Node(_) | Verdict::Unknown => {
                format!(". → pinfold explain {who}")
            }
        };
        let Judgement {
            listener, evidence, ..
        } = judgement;
        format!("FAILING {who} on {listener}: {evidence}{next}")
    };
    accusations.map(tell).collect()
}

/// What would be lost at a restart, and what was lost at the last one.
fn not_kept(shared: &Shared) -> Vec<String> {
    let Some(store) = &shared.store else {
        return Vec::new();
    };
    let condition = store.condition();
    let trouble = condition.trouble.map(|trouble| {
        format!(
            "NOT KEPT since {}: {}. Pins and the ledger live in memory alone; it is tried again",
            clock(trouble.since),
            trouble.what
        )
    });
    let aside = condition.set_aside.into_iter().map(|aside| {
        let aside = aside.display();
        format!("SET ASIDE {aside}: the state of before could not be read; what was pinned by hand must be again")
    });
    let dropped = (condition.dropped > 0).then(|| {
        let dropped = condition.dropped;
        format!(
            "NOT KEPT: {dropped} changes of the ledger found no room while nothing could be written"
        )
    });
    trouble.into_iter().chain(aside).chain(dropped).collect()
}

/// A table of pins that is nearly full.
fn crowded(shared: &Shared) -> Option<String> {
    let max = shared.snapshot.load().config.server.max_pins;
    let addresses = shared.pins.counts().addresses;
    is_crowded(addresses, max).then(|| {
        format!(
            "PINS of addresses: {addresses} of {max}; beyond that the oldest idle ones go. → raise max_pins"
        )
    })
}

/// Whether the alarm is due: at four fifths.
pub(in crate::control) const fn is_crowded(addresses: usize, max: usize) -> bool {
    max > 0 && addresses.saturating_mul(5) >= max.saturating_mul(4)
}

/// Nodes that are down or held: one sentence each, however many listeners are concerned.
fn troubled(view: &View) -> Vec<String> {
    let mut down = BTreeMap::<_, Vec<(&GroupView, &EndpointView)>>::new();
    let mut held = BTreeMap::<_, Vec<_>>::new();
    for (group, each) in served(view) {
        let health = &each.health;
        let name = (&each.endpoint.node, &each.endpoint.pool);
        if health.admin == NodeState::Disabled {
            continue;
        }
        if health.state == State::Down {
            down.entry(name).or_default().push((group, each));
        } else if health.hold == Some(Hold::Manual) {
            held.entry(name).or_default().push(group);
        }
    }
    let down = down.into_iter().filter_map(|((node, pool), places)| {
        let (_, first) = places.iter().min_by_key(|(_, each)| each.health.since)?;
        let since = clock(at(first.health.since));
        let evidence = why_down(node, &first.health);
        let whom = whom(view, pool, places.iter().map(|(group, _)| *group));
        let next = match first.health.hold {
            Some(Hold::Flapping(_)) => String::new(),
            _ => format!(". → pinfold probe {node}"),
        };
        Some(format!(
            "DOWN {node} since {since} for {whom}: {evidence}{next}"
        ))
    });
    let held = held.into_iter().map(|((node, pool), groups)| {
        let whom = whom(view, pool, groups.into_iter());
        format!("HELD {node} for {whom}: it is up again and waits for you. → pinfold resume {node}")
    });
    down.chain(held).collect()
}

/// Nodes whose failure would leave nobody, where there could be somebody.
fn last_ones(view: &View) -> Vec<String> {
    let mut last_ones = BTreeMap::<_, Vec<&GroupView>>::new();
    for group in view.groups.iter().filter(|group| group.endpoints.len() > 1) {
        let takes = |each: &&EndpointView| match each.health.standing {
            // A node that drains is used where nobody else is left.
            Standing::Takes | Standing::Suspect | Standing::Held | Standing::Draining => true,
            Standing::Unproven | Standing::Down | Standing::Never => false,
        };
        let mut left = group.endpoints.iter().filter(takes);
        if let (Some(last), None) = (left.next(), left.next())
            && !group.listeners.is_empty()
        {
            let name = (&last.endpoint.node, &last.endpoint.pool);
            last_ones.entry(name).or_default().push(group);
        }
    }
    let sentence = |((node, pool), groups): ((&Arc<str>, &Arc<str>), Vec<&GroupView>)| {
        let whom = whom(view, pool, groups.into_iter());
        format!("ONLY {node} is left for {whom}: if it fails, nobody is")
    };
    last_ones.into_iter().map(sentence).collect()
}

/// Endpoints that some listener uses.
fn served(view: &View) -> impl Iterator<Item = (&GroupView, &EndpointView)> {
    let groups = view
        .groups
        .iter()
        .filter(|group| !group.listeners.is_empty());
    groups.flat_map(|group| group.endpoints.iter().map(move |each| (group, each)))
}

/// The listeners of `groups`, or the whole pool in a word.
fn whom<'v>(view: &View, pool: &str, groups: impl Iterator<Item = &'v GroupView>) -> String {
    let of_pool = view.groups.iter().filter(|group| *group.pool == *pool);
    let all: usize = of_pool.map(|group| group.listeners.len()).sum();
    let listeners: Vec<_> = groups.flat_map(|group| names(&group.listeners)).collect();
    if listeners.len() == all && all > 1 {
        format!("every listener of pool {pool}")
    } else {
        listeners.join(", ")
    }
}

/// Partners that were busy when their node died, and that have not come back in time.
fn not_back(failovers: &[Arc<Failover>]) -> Vec<String> {
    let mut sentences = Vec::new();
    for failover in failovers.iter().rev() {
        for gap in &failover.partners {
            if gap.is_alarmed && gap.is_open() {
                sentences.push(format!(
                    "NOT BACK {} on {} since {}: {} went down (failover {}). → pinfold explain {}",
                    gap.partner,
                    gap.listener,
                    clock(gap.cut_off_since),
                    failover.node,
                    failover.number,
                    gap.partner,
                ));
            }
        }
    }
    sentences
}

/// What keeps a node down: what its probes say, unless they are good and it came and went too often.
pub(super) fn why_down(node: &str, health: &MemberView) -> String {
    match (health.hold, health.evidence) {
        (Some(Hold::Flapping(until)), what) => {
            let has_answered = matches!(what, Some((Evidence::Answered, _)));
            let answers = if has_answered { "answers, and " } else { "" };
            format!(
                "it {answers}is kept down until {}, since it came and went. → pinfold resume {node}",
                clock(at(until))
            )
        }
        (_, Some((what, _))) => what.label().into(),
        (_, None) => "not probed".into(),
    }
}

/// `2026-12-08 02:14:07Z`.
fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// As the log says it first.
const EXPIRING_DAYS: i64 = 30;
