//! `pinfold pins`.

use crate::cli::table::{Layout, count, grouped};
use crate::control::admin::answers::{Pin, PinOrder, Pins, SubjectKind};

pub(super) fn render(pins: &Pins, layout: &Layout) -> String {
    let total = pins.partners + pins.addresses;
    let mut text = String::new();
    if !pins.pins.is_empty() {
        let mut rows: Vec<_> = pins.pins.iter().map(|pin| row(pin, layout)).collect();
        let mut headings = vec![
            "SUBJECT",
            "KIND",
            "POOL",
            "AFFINITY",
            "NODE",
            "SINCE",
            "#SESSIONS",
            "LAST",
            "#REV",
            "NOTE",
        ];
        // Most tables have nothing to note, and are read on narrow terminals.
        if rows
            .iter()
            .all(|row| row.last().is_some_and(String::is_empty))
        {
            headings.pop();
            rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        text += &layout.table(&headings, rows);
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
        pin.revision.to_string(),
        match pin.looks_legacy {
            true => "looks legacy".into(),
            false => note(pin.order.as_ref(), pin.home.as_deref()),
        },
    ]
}

/// Who pinned it and why; and where it comes from.
pub(super) fn note(order: Option<&PinOrder>, home: Option<&str>) -> String {
    let order = order.map(|order| match &order.reason {
        Some(reason) => format!("{}: {reason}", order.by),
        None => order.by.clone(),
    });
    let home = home.map(|home| format!("from {home}"));
    order.into_iter().chain(home).collect::<Vec<_>>().join(", ")
}
