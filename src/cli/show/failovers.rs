//! `pinfold failovers`.

use crate::cli::table::{Layout, clock, grouped, millis};
use crate::control::admin::answers::{Failover, Failovers, Gap};

pub(super) fn render(failovers: &Failovers, layout: &Layout) -> String {
    let Some(last) = failovers.failovers.last() else {
        return "no failover is on record\n".into();
    };
    let rows = failovers.failovers.iter().map(row);
    let headings = [
        "#NO",
        "NODE",
        "CUT AT",
        "LISTENERS",
        "#DECIDED",
        "#SESSIONS",
        "BACK",
        "#SLOWEST",
    ];
    let mut text = layout.table(&headings, rows.collect());
    if !last.partners.is_empty() {
        text += &format!(
            "\nlast: no {}, {} on {}: {}\n",
            last.number,
            last.node,
            last.listeners.join(" "),
            last.evidence
        );
        let headings = ["PARTNER", "LISTENER", "#CUT OFF", "SINCE", "NOW ON"];
        text += &layout.table(&headings, last.partners.iter().map(gap).collect());
    }
    text
}

fn row(failover: &Failover) -> Vec<String> {
    let served = || {
        failover
            .partners
            .iter()
            .filter_map(|gap| gap.served_after_ms)
    };
    let slowest = served().max_by(f64::total_cmp);
    let back = match failover.partners.len() {
        0 => "-".into(),
        partners => format!("{} of {partners}", served().count()),
    };
    vec![
        failover.number.to_string(),
        failover.node.clone(),
        clock(failover.cut),
        failover.listeners.join(" "),
        millis(failover.decided_in_ms),
        grouped(u64::from(failover.sessions)),
        back,
        slowest.map_or_else(|| "-".into(), millis),
    ]
}

fn gap(gap: &Gap) -> Vec<String> {
    vec![
        gap.partner.clone(),
        gap.listener.clone(),
        gap.served_after_ms.map_or_else(|| "-".into(), millis),
        clock(gap.cut_off_since),
        gap.node.clone().unwrap_or_else(|| {
            let waited_for = if gap.given_up { "given up" } else { "not back" };
            waited_for.into()
        }),
    ]
}
