//! `/v1/explain`: who somebody is, where it goes and why, how it fared, and what to do.
//!
//! Decides nothing and copies no rule: it asks the functions that sessions are placed by
//! ([`Claim`](crate::relay::placing::Claim), [`choose`](crate::pool::select::choose), [`Access`],
//! [`Recognition`](crate::relay::recognition::Recognition)), also for somebody who never came.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;

use super::answers::{CutOff, Explanation, Judged, Source};
use super::listings;
use super::refusal::Refusal;
use super::status::{names, round};
use crate::clock::Moment;
use crate::config::model;
use crate::control::Shared;
use crate::control::us_or_them;
use crate::governor::View;
use crate::partner::learned::Learned;
use crate::partner::table::Known;
use crate::partner::verdict::{Judgement, Verdict};
use crate::relay::recognition::KnownBy;
use crate::relay::session::{EndpointNumber, Survey};
use crate::snapshot::{Access, Snapshot};

mod advice;
mod meaning;
mod past;
mod place;

/// Where a partner's sessions are.
pub(super) type Located = HashMap<EndpointNumber, Survey>;

/// Whom it is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// As it was asked for.
    name: String,
    /// The address, where one was asked about.
    address: Option<IpAddr>,
    partner: Option<Arc<Known>>,
    by: Option<KnownBy>,
}

impl Subject {
    /// Whoever `name` is: a partner, or a client with this address.
    pub(super) fn find(shared: &Shared, name: &str) -> Result<Self, Refusal> {
        let snapshot = shared.snapshot.load();
        if let Some(known) = snapshot.partners.by_name(name) {
            return Ok(Self {
                name: name.into(),
                address: None,
                partner: Some(Arc::clone(known)),
                by: None,
            });
        }
        let Ok(ip) = name.parse::<IpAddr>().map(|ip| ip.to_canonical()) else {
            return Err(unknown(&snapshot, name));
        };
        let recognition = &shared.recognition;
        let recognised = recognition.recognise(&snapshot.partners, ip, Moment::now());
        let (partner, by) = recognised.unzip();
        Ok(Self {
            name: ip.to_string(),
            address: Some(ip),
            partner,
            by,
        })
    }

    /// The partner's name, where it is one.
    pub(super) fn partner_name(&self) -> Option<Arc<str>> {
        self.partner.as_ref().map(|known| Arc::clone(&known.name))
    }

    /// The partner, where its configured addresses say so: only that lets in or turns away.
    fn configured(&self) -> Option<&Arc<Known>> {
        let is_configured = self.by.is_none_or(|by| by == KnownBy::Address);
        self.partner.as_ref().filter(|_| is_configured)
    }

    /// Where it comes from; of a partner the first of its addresses.
    fn client(&self, config: &model::Config) -> IpAddr {
        let first = || {
            let partner = self.config(config)?;
            partner.addresses.first().map(|net| net.addr())
        };
        let client = self.address.or_else(first);
        client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn config<'c>(&self, config: &'c model::Config) -> Option<&'c model::Partner> {
        let known = self.partner.as_ref()?;
        config
            .partners
            .iter()
            .find(|each| *each.name == *known.name)
    }
}

fn unknown(snapshot: &Snapshot, name: &str) -> Refusal {
    let names = snapshot.config.partners.iter().map(|known| &*known.name);
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = best.filter(|best| likeness(best) > 0.8).map_or_else(
        || "see `pinfold partners`, or give an address".into(),
        |best| format!("did you mean \"{best}\"?"),
    );
    let error = format!("\"{name}\" is neither a partner nor an address: {hint}");
    let mut refusal = Refusal::new(StatusCode::NOT_FOUND, error);
    refusal.exits_with(64);
    refusal
}

/// Explains `subject`, whose sessions are `located`, on all listeners or one.
pub(super) fn explain(
    shared: &Shared,
    view: &View,
    located: &Located,
    subject: &Subject,
    listener: Option<&str>,
) -> Result<Explanation, Refusal> {
    let now = Moment::now();
    let snapshot = shared.snapshot.load_full();
    let scene = place::Scene {
        shared,
        snapshot: &snapshot,
        view,
        located,
        subject,
        now,
    };
    let places = scene.places(listener)?;
    let name = subject.partner_name();
    let partner = name.and_then(|name| listings::partner(shared, view, &name));
    let judgement = judge(shared, subject, now);
    let attempts = past::attempts(&scene);
    let mut explanation = Explanation {
        subject: subject.name.clone(),
        is_address: subject.address.is_some(),
        known_by: known_by(shared, &snapshot, subject, now),
        cut_off: subject
            .partner
            .as_ref()
            .and_then(|known| cut_off(view, &known.name)),
        partner,
        places,
        attempts,
        verdict: judgement,
        next: Vec::new(),
    };
    explanation.next = advice::next(&scene, &explanation);
    Ok(explanation)
}

fn judge(shared: &Shared, subject: &Subject, now: Moment) -> Judged {
    let Some(known) = &subject.partner else {
        return Judged {
            verdict: Verdict::Unknown.label().into(),
            node: None,
            evidence: "only partners are compared with one another".into(),
        };
    };
    let Judgement { verdict, evidence } = us_or_them::picture(shared, now).of_partner(&known.name);
    Judged {
        verdict: verdict.label().into(),
        node: match &verdict {
            Verdict::Node(node) => Some(node.to_string()),
            Verdict::Neither | Verdict::Partner | Verdict::Unknown => None,
        },
        evidence,
    }
}

/// The last failover that cut `partner` off.
fn cut_off(view: &View, partner: &str) -> Option<CutOff> {
    view.failovers.iter().rev().find_map(|failover| {
        let mut gaps = failover.partners.iter();
        let gap = gaps.find(|gap| *gap.partner == *partner)?;
        Some(CutOff {
            failover: failover.number,
            node: failover.node.to_string(),
            evidence: failover.evidence.to_string(),
            first_evidence: round(failover.first_evidence),
            cut: round(failover.cut),
            gap: gap.clone().into(),
        })
    })
}

/// By what it is known, in the order of trust. What DNS says of its names belongs after the addresses.
fn known_by(shared: &Shared, snapshot: &Snapshot, subject: &Subject, now: Moment) -> Vec<Source> {
    let learned = &shared.recognition.learned;
    if let Some(ip) = subject.address {
        return address_known_by(learned, snapshot, subject, ip, now);
    }
    let mut sources = Vec::new();
    let mut add = |source: &str, what: String| sources.push(Source::new(source, what));
    let (Some(config), Some(known)) = (subject.config(&snapshot.config), &subject.partner) else {
        return sources;
    };
    if !config.addresses.is_empty() {
        let nets: Vec<_> = config.addresses.iter().map(ToString::to_string).collect();
        add("addresses", format!("{} configured", nets.join(", ")));
    }
    for (at, named) in snapshot.partners.resolved().iter() {
        if named.partner == known.name {
            add("dns", format!("{} is {at}", named.name));
        }
    }
    for each in learned.export(now) {
        let shown: Vec<Box<str>> = each.names.iter().map(|name| Box::from(&**name)).collect();
        let owner = snapshot.partners.by_certificate(&shown);
        if owner.is_some_and(|owner| owner.name == known.name) {
            let what = format!("{} seen from {}", each.names.join(", "), each.address);
            add("certificate", what);
        }
    }
    let expected: Vec<_> = config
        .edge
        .iter()
        .chain(&config.certificate_names)
        .cloned()
        .collect();
    if !expected.is_empty() {
        add(
            "edge",
            format!("{} expected in its certificate", expected.join(", ")),
        );
    }
    let chronicle = shared.chronicle.lock();
    let chronicle = chronicle.unwrap_or_else(PoisonError::into_inner);
    let shown = chronicle
        .partner(&known.name)
        .and_then(|chapter| chapter.tls.certificate.clone());
    drop(chronicle);
    if let Some(shown) = shown
        && !sources.iter().any(|source| source.source == "certificate")
    {
        let what = format!("{shown} shown last");
        sources.push(Source::new("certificate", what));
    }
    sources
}

/// What is known of an address, in the order of trust.
fn address_known_by(
    learned: &Learned,
    snapshot: &Snapshot,
    subject: &Subject,
    ip: IpAddr,
    now: Moment,
) -> Vec<Source> {
    let nets = subject.config(&snapshot.config).into_iter();
    let nets = nets.flat_map(|partner| &partner.addresses);
    let around = nets.filter(|net| net.contains(&ip));
    let configured = around.max_by_key(|net| net.prefix_len());
    let configured = configured.map(|net| Source::new("addresses", format!("{net} configured")));
    let named = snapshot.partners.resolved().get(ip);
    let named = named.map(|named| Source::new("dns", format!("{} is {ip}", named.name)));
    let shown = learned.names(ip, now).map(|shown| {
        let shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
        Source::new(
            "certificate",
            format!("{} seen from there", shown.join(", ")),
        )
    });
    configured.into_iter().chain(named).chain(shown).collect()
}

impl Source {
    fn new(source: &str, what: String) -> Self {
        Self {
            source: source.into(),
            what,
        }
    }
}

/// The rule that lets a client in, or does not.
fn rule(listener: &model::Listener, access: Access) -> String {
    if access == Access::Blocked {
        return "federation = \"blocked\" in its table".into();
    }
    match &listener.allow {
        model::Allow::Any => "allow = \"any\"".into(),
        model::Allow::Partners => "allow = \"partners\"".into(),
        model::Allow::Prefixes(prefixes) => {
            let prefixes: Vec<_> = prefixes.iter().map(|net| format!("\"{net}\"")).collect();
            format!("allow = [{}]", prefixes.join(", "))
        }
    }
}

/// Names of listeners.
fn listeners(list: &[&Arc<crate::snapshot::Listener>]) -> Vec<String> {
    names(
        &list
            .iter()
            .map(|each| Arc::clone(&each.state.name))
            .collect::<Vec<_>>(),
    )
}
