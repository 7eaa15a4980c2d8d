//! `pinfold partners`.

use super::pins;
use crate::cli::table::{Layout, grouped};
use crate::control::admin::answers::{Partner, PartnerPin, Partners};

pub(super) fn render(partners: &Partners, layout: &Layout) -> String {
    if partners.partners.is_empty() {
        return "no partners are configured\n".into();
    }
    let mut rows = Vec::new();
    for partner in &partners.partners {
        if partner.pins.is_empty() {
            rows.push(row(partner, None, layout));
        }
        rows.extend(
            partner
                .pins
                .iter()
                .map(|pin| row(partner, Some(pin), layout)),
        );
    }
    let headings = [
        "PARTNER",
        "GENERATION",
        "NODE",
        "SINCE",
        "#SESSIONS",
        "LAST",
        "NOTE",
    ];
    layout.table(&headings, rows)
}

fn row(partner: &Partner, pin: Option<&PartnerPin>, layout: &Layout) -> Vec<String> {
    let mut notes = Vec::new();
    if partner.federation == "blocked" {
        notes.push("blocked".to_owned());
    }
    if partner.awaited {
        notes.push("NOT BACK".into());
        notes.extend(partner.contact.clone());
    }
    if partner.legacy {
        notes.push("legacy".into());
    }
    if partner.names.iter().any(|name| name.error.is_some()) {
        notes.push("DNS fails".into());
    }
    if partner.pins.len() > 1 {
        notes.extend(pin.map(|pin| pin.affinity.clone()));
    }
    notes.extend(pin.map(|pin| pins::note(pin.order.as_ref(), pin.home.as_deref())));
    notes.retain(|note| !note.is_empty());
    let of_pin = |tell: &dyn Fn(&PartnerPin) -> String| pin.map_or_else(|| "-".into(), tell);
    // What one that has several pins has under each; of any other, all that it has.
    let (sessions, last_used) = match pin {
        Some(pin) if partner.pins.len() > 1 => (u64::from(pin.sessions), Some(pin.last_used)),
        _ => (partner.sessions, partner.last_used),
    };
    let last = match (sessions, last_used) {
        (0, None) => "never".into(),
        (0, Some(at)) => layout.age(at),
        _ => "now".into(),
    };
    vec![
        partner.name.clone(),
        partner.generation.clone(),
        of_pin(&|pin| pin.node.clone()),
        of_pin(&|pin| format!("{} {}", layout.age(pin.since), pin.by)),
        grouped(sessions),
        last,
        notes.join(", "),
    ]
}
