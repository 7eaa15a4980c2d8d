//! `pinfold pins`.

use crate::cli::table::{Layout, count, grouped};
use crate::control::admin::answers::{Pin, Pins, SubjectKind};

pub(super) fn render(pins: &Pins, layout: &Layout) -> String {
    let total = pins.partners + pins.addresses;
    let mut text = String::new();
    if !pins.pins.is_empty() {
        let rows = pins.pins.iter().map(|pin| row(pin, layout));
        let headings = [
            "SUBJECT",
            "KIND",
            "POOL",
            "AFFINITY",
            "NODE",
            "SINCE",
            "#SESSIONS",
            "LAST",
        ];
        text += &layout.table(&headings, rows.collect());
        text.push('\n');
    }
    text += &format!(
        "{} of partners, {} of {} addresses\n",
        count(pins.partners as u64, "pin"),
        grouped(pins.addresses as u64),
        grouped(pins.max as u64)
    );
    if pins.pins.len() < total {
        let shown = grouped(pins.pins.len() as u64);
        text += &format!("{shown} of them are shown; --limit 0 shows all\n");
    }
    text
}

fn row(pin: &Pin, layout: &Layout) -> Vec<String> {
    let kind = match pin.subject.kind {
        SubjectKind::Partner => "partner",
        SubjectKind::Address => "address",
    };
    let last = match pin.sessions {
        0 => layout.age(pin.last_used),
        _ => "now".into(),
    };
    vec![
        pin.subject.name.clone(),
        kind.into(),
        pin.pool.clone(),
        pin.affinity.clone(),
        pin.node.clone(),
        format!("{} {}", layout.age(pin.since), pin.by),
        grouped(u64::from(pin.sessions)),
        last,
    ]
}
