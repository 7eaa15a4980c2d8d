//! `pinfold sessions`.

use crate::cli::table::{Layout, bytes, grouped};
use crate::control::admin::answers::Sessions;

pub(super) fn render(sessions: &Sessions, layout: &Layout) -> String {
    let rows = sessions.listeners.iter().map(|each| {
        vec![
            each.listener.clone(),
            grouped(each.sessions),
            grouped(u64::from(each.max_sessions)),
            grouped(each.sessions_total),
            bytes(each.bytes_up),
            bytes(each.bytes_down),
        ]
    });
    let headings = [
        "LISTENER",
        "#NOW",
        "#AT MOST",
        "#EVER",
        "#TO NODES",
        "#TO CLIENTS",
    ];
    let mut text = layout.table(&headings, rows.collect());

    let rows = sessions.nodes.iter().map(|each| {
        vec![
            each.node.clone(),
            each.pool.clone(),
            each.listeners.join(" "),
            grouped(u64::from(each.sessions)),
        ]
    });
    text.push('\n');
    text += &layout.table(&["NODE", "POOL", "LISTENERS", "#NOW"], rows.collect());

    let rows: Vec<_> = sessions
        .listeners
        .iter()
        .flat_map(|each| {
            each.outcomes.iter().map(|count| {
                vec![
                    each.listener.clone(),
                    count.outcome.clone(),
                    count.blame.clone(),
                    grouped(count.sessions),
                ]
            })
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text += &layout.table(&["LISTENER", "ENDED", "WHOSE DOING", "#SESSIONS"], rows);
    }
    text
}
