//! `pinfold nodes`.

use jiff::Timestamp;

use super::status::condition;
use crate::cli::table::{Layout, clock, count, grouped};
use crate::cli::turn;
use crate::control::admin::answers::{Node, NodeService, Nodes};

pub(super) fn render(nodes: &Nodes, layout: &Layout) -> String {
    let mut rows = Vec::new();
    for node in &nodes.nodes {
        let mut state = format!("{} {}", node.pool, node.state);
        let mut name = node.name.clone();
        if node.services.is_empty() {
            rows.push([&*name, &state, "-", "-", "-", "0"].map(Into::into).into());
        }
        for service in &node.services {
            rows.push(vec![
                std::mem::take(&mut name),
                std::mem::take(&mut state),
                listeners(service),
                service.address.clone(),
                condition(&service.health, &service.standing, || {
                    layout.age(service.since)
                }),
                grouped(u64::from(service.sessions)),
            ]);
        }
    }
    let headings = [
        "NODE",
        "POOL, STATE",
        "LISTENERS",
        "ADDRESS",
        "HEALTH",
        "#SESSIONS",
    ];
    let mut text = layout.table(&headings, rows);
    let notes: Vec<_> = nodes
        .nodes
        .iter()
        .flat_map(|node| notes(node, layout.now))
        .collect();
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text += &layout.wrapped("", &note);
    }
    text
}

fn listeners(service: &NodeService) -> String {
    if service.listeners.is_empty() {
        "(removed)".into()
    } else {
        service.listeners.join(" ")
    }
}

/// What is to be done about its certificate.
fn of_certificate(node: &Node, service: &NodeService, now: Timestamp) -> Option<String> {
    let shown = service.certificate.as_ref()?;
    let end = shown.not_after?;
    let days = (end.as_second() - now.as_second()).div_euclid(24 * 3600);
    let (name, listeners) = (&node.name, listeners(service));
    let (certificate, end) = (&shown.name, end.strftime("%F"));
    if days < 0 {
        return Some(format!(
            "{name} shows a certificate on {listeners} that has expired: {certificate}, {end}"
        ));
    }
    if days <= 30 {
        return Some(format!(
            "{name} shows a certificate on {listeners} that expires in {}: {certificate}, {end}",
            count(days.unsigned_abs(), "day"),
        ));
    }
    (!shown.same).then(|| {
        format!("{name} shows another certificate on {listeners} than others: {certificate}, {end}")
    })
}

/// Who changed it, and what speaks against it.
fn notes(node: &Node, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(word) = &node.administered {
        let reason = word.reason.as_ref().map(|reason| format!(" \"{reason}\""));
        let deadline = word
            .deadline
            .map(|time| format!("; what is left is cut at {}", clock(time)));
        let maintenance = word.maintenance.as_ref().map(|begun| {
            let (since, by) = (clock(begun.since), &begun.by);
            format!("; under maintenance since {since} by {by}")
        });
        notes.push(format!(
            "{} (pool {}) {} since {} by {}{}{}{}",
            node.name,
            node.pool,
            node.state,
            clock(word.since),
            word.by,
            reason.unwrap_or_default(),
            deadline.unwrap_or_default(),
            maintenance.unwrap_or_default(),
        ));
    }
    for service in &node.services {
        notes.extend(of_certificate(node, service, now));
        let said = service.turn.as_ref();
        notes.extend(said.and_then(|said| turn::advice(&node.name, &listeners(service), said)));
        notes.extend(service.tls_fault.as_ref().map(|fault| {
            format!(
                "{} cannot be spoken to in TLS on {}: {}; {}",
                node.name,
                listeners(service),
                fault.says,
                fault.remedy
            )
        }));
        if service.health != "up" {
            let evidence = service.evidence.as_deref().unwrap_or("not probed yet");
            let until = service.held_until.as_deref();
            let kept = until
                .and_then(|until| until.parse().ok())
                .map(|until| format!("; kept down until {}, since it came and went", clock(until)))
                .unwrap_or_default();
            notes.push(format!(
                "{} {} on {} since {}: {evidence}, {}{kept}",
                node.name,
                service.health,
                listeners(service),
                clock(service.since),
                count(u64::from(service.failures), "failure"),
            ));
        } else if let Some(until) = &service.held_until {
            notes.push(match until.parse() {
                Ok(time) => format!(
                    "{} held on {} until {}: only pinned clients",
                    node.name,
                    listeners(service),
                    clock(time)
                ),
                Err(_) => format!(
                    "{} held on {} until you resume it: only pinned clients",
                    node.name,
                    listeners(service)
                ),
            });
        }
    }
    notes
}
