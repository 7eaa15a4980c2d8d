//! `pinfold partners --tls`.

use crate::cli::table::{Layout, grouped};
use crate::control::admin::answers::{Partner, PartnerTls, Partners};

pub(super) fn render(partners: &Partners, layout: &Layout) -> String {
    if partners.partners.is_empty() {
        return "no partners are configured\n".into();
    }
    let rows = partners.partners.iter().map(|each| row(each, layout));
    let headings = [
        "PARTNER",
        "OFFERS",
        "NEGOTIATED",
        "LAST 1.0/1.1",
        "TLS_MIN",
        "CERTIFICATE",
        "NOTE",
    ];
    let mut text = layout.table(&headings, rows.collect());
    text.push('\n');
    let since = partners.partners.iter();
    let since = since
        .filter_map(|partner| partner.tls.as_ref()?.since)
        .min();
    if let Some(since) = since {
        text += &format!("Handshakes since {}.\n", since.strftime("%F"));
    }
    let losing = |partner: &&Partner| is_old(partner.tls.as_ref());
    let losing = partners.partners.iter().filter(losing);
    let losing: Vec<&str> = losing.map(|partner| &*partner.name).collect();
    if !losing.is_empty() {
        let line = format!(
            "If tls_min = \"1.2\" were enforced for all, these would be cut off: {}.",
            losing.join(", ")
        );
        text += &layout.wrapped("", &line);
    }
    text
}

/// Whether it offers nothing newer than TLS 1.1.
fn is_old(tls: Option<&PartnerTls>) -> bool {
    let offers = tls.and_then(|tls| tls.offers.as_deref());
    offers.is_some_and(|offers| ["ssl3", "1.0", "1.1"].contains(&offers))
}

fn row(partner: &Partner, layout: &Layout) -> Vec<String> {
    let none = || "-".to_owned();
    let tls = partner.tls.as_ref();
    let negotiated = tls.map(|tls| {
        let counts = tls.negotiated.iter();
        let counts =
            counts.map(|count| format!("{} ×{}", count.version, grouped(count.handshakes)));
        counts.collect::<Vec<_>>().join(", ")
    });
    let mut note = partner.generation.clone();
    if let Some(looks) = partner
        .looks_like
        .as_deref()
        .filter(|looks| *looks != "unknown")
    {
        note += &format!(", looks like {looks}");
    }
    vec![
        partner.name.clone(),
        tls.and_then(|tls| tls.offers.clone()).unwrap_or_else(none),
        negotiated
            .filter(|text| !text.is_empty())
            .unwrap_or_else(none),
        tls.and_then(|tls| tls.old_last)
            .map_or_else(none, |time| layout.age(time)),
        partner.tls_min.clone().unwrap_or_else(none),
        tls.and_then(|tls| tls.certificate.clone())
            .unwrap_or_else(none),
        note,
    ]
}
