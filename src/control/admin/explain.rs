//! `/v1/explain`: who somebody is, where it goes and why, how it fared, and what to do.
//!
//! Decides nothing and copies no rule: it asks the functions that sessions are placed by
//! ([`Claim`](crate::relay::placing::Claim), [`choose`](crate::pool::select::choose), [`Access`],
//! [`Recognition`](crate::relay::recognition::Recognition)), also for somebody who never came.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::StatusCode;

use super::answers::{CutOff, Explanation, Judged};
use super::listings;
use super::refusal::Refusal;
use super::status::{names, round};
use crate::clock::Moment;
use crate::config::{did_you_mean, model};
use crate::control::Shared;
use crate::control::us_or_them;
use crate::governor::View;
use crate::partner::table::Known;
use crate::partner::verdict::{Judgement, Verdict};
use crate::relay::recognition::KnownBy;
use crate::relay::session::{EndpointNumber, Survey};
use crate::snapshot::{Access, Snapshot};

mod advice;
mod meaning;
mod past;
mod place;
mod sources;

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
    let hint = did_you_mean(name, names)
        .unwrap_or_else(|| "see `pinfold partners`, or give an address".into());
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
        known_by: sources::known_by(&scene),
        comes_from: sources::comes_from(&scene),
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
    let nobody = |evidence: String| Judged {
        verdict: Verdict::Unknown.label().into(),
        node: None,
        listener: None,
        evidence,
    };
    let Some(known) = &subject.partner else {
        return nobody("only partners are compared with one another".into());
    };
    let name = &known.name;
    let Some(judgement) = us_or_them::picture(shared, now).of_partner(name) else {
        return nobody(format!("no session of {name} with a node was seen lately"));
    };
    let Judgement {
        verdict,
        listener,
        evidence,
    } = judgement;
    Judged {
        verdict: verdict.label().into(),
        node: match &verdict {
            Verdict::Node(node) => Some(node.to_string()),
            Verdict::Neither | Verdict::Partner | Verdict::Unknown => None,
        },
        listener: Some(listener.to_string()),
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
