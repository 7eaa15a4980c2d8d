//! Partners: one partner for each client, and what federation does to those that are pinned.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::config::diagnostics::{Diagnostic, Findings};
use crate::config::model::{Federation, Generation, Pin};
use crate::config::read::{Draft, PartnerDraft};
use crate::config::source::Span;

pub(super) fn check(draft: &Draft, findings: &Findings<'_>) {
    clashes(&draft.partners, findings);
    for partner in &draft.partners {
        if partner.partner.federation == Federation::Blocked {
            blocked(partner, findings);
        } else {
            discovered(partner, findings);
            cloud(partner, findings);
            unrecognised(partner, draft.resolve.names, findings);
        }
    }
}

/// The same prefix twice; a longer one inside another's is fine, the longest wins.
fn clashes(partners: &[PartnerDraft], findings: &Findings<'_>) {
    let mut owners: BTreeMap<IpNet, (&PartnerDraft, &Span)> = BTreeMap::new();
    for partner in partners {
        for (prefix, span) in partner.partner.addresses.iter().zip(&partner.addresses) {
            let Some((owner, place)) = owners.get(prefix) else {
                owners.insert(*prefix, (partner, span));
                continue;
            };
            let name = &owner.partner.name;
            let place = findings.source.place(Some(place));
            let title = format!("{prefix} already belongs to partner \"{name}\"");
            let why =
                format!("{name} has the same prefix ({place}); a client must have one partner");
            let help = "correct one of them, or write a longer prefix inside it (the longest wins)";
            findings.push(Diagnostic::error(span, title).why(why).help(help));
        }
    }
}

fn blocked(partner: &PartnerDraft, findings: &Findings<'_>) {
    let name = &partner.partner.name;
    let title = format!("partner \"{name}\" is blocked here by its addresses only");
    let why = "its domain reaches the Edge Servers from any other address";
    let domain = partner
        .partner
        .domains
        .first()
        .map_or("DOMAIN", String::as_str);
    let help = format!("block the domain on the Edge too: New-CsBlockedDomain -Identity {domain}");
    let span = partner.places.value("federation");
    findings.push(Diagnostic::warning(&span, title).why(why).help(help));
}

fn discovered(partner: &PartnerDraft, findings: &Findings<'_>) {
    if partner.partner.federation != Federation::DiscoveredDomain {
        return;
    }
    let name = &partner.partner.name;
    let help = "put it on the allow list with its server (New-CsAllowedDomain -ProxyFqdn), \
                and write federation = \"allowed-server\"";
    let span = partner.places.value("federation");
    if partner.partner.generation.is_legacy() {
        let title = format!(
            "partner \"{name}\" runs {} and is found by discovery",
            partner.partner.generation.name()
        );
        let why = "it stays on one Edge Server, where the throttle of discovered partners meets it: \
                   20 messages a second, 1,000 URIs";
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    } else if partner.partner.pin == Pin::Partner {
        let title = format!("partner \"{name}\" is discovered and pinned to one node");
        let why = "the throttle of discovered partners counts on each Edge Server: 20 messages a \
                   second, 1,000 URIs; pinned, it has the share of one";
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    }
}

fn cloud(partner: &PartnerDraft, findings: &Findings<'_>) {
    let model = &partner.partner;
    let is_cloud =
        model.federation == Federation::HostingProvider || model.generation == Generation::Online;
    if is_cloud && model.pin == Pin::Partner {
        let title = format!(
            "partner \"{}\" is a cloud and pinned to one node",
            model.name
        );
        let why = "all its traffic, often the largest share, would sit on one node; it fails over by itself";
        let span = partner.places.value("pin");
        findings.push(
            Diagnostic::warning(&span, title)
                .why(why)
                .help("write pin = \"source\""),
        );
    }
}

fn unrecognised(partner: &PartnerDraft, names: bool, findings: &Findings<'_>) {
    let (model, places) = (&partner.partner, &partner.places);
    // What was written and refused would be said twice.
    let says = |key: &str| places.sets(key);
    let is_known =
        says("addresses") || says("certificate_names") || says("edge") || says("domains");
    if model.pin != Pin::Partner {
        return;
    }
    let span = places.value("name");
    if !is_known {
        let title = format!("partner \"{}\" is never recognised", model.name);
        let why = "a partner is known by its addresses, by what DNS says of its names, or by its certificate";
        let help =
            "write `edge = [\"sip.fabrikam.com\"]`, `domains`, or `addresses = [\"192.0.2.0/28\"]`";
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    } else if !names && !says("addresses") {
        let title = format!(
            "partner \"{}\" is recognised by its certificate only",
            model.name
        );
        let why =
            "[resolve] names = false: its names are not looked up, and TLS 1.3 hides certificates";
        let help = "write `addresses = [\"192.0.2.0/28\"]`";
        findings.push(Diagnostic::warning(&span, title).why(why).help(help));
    }
}
