//! `pinfold drill --dry-run`: what would happen if a node were gone, as a report that can be filed.

use std::process::ExitCode;

use jiff::Timestamp;

use super::failure::Failure;
use super::table::{Layout, clock, count, grouped};
use super::{Node, client, output};
use crate::control::admin::answers::{Drill, DrillPartner};

/// Plays it and shows it; exit 1 where the others cannot do without the node.
pub(super) fn drill(node: &Node, is_json: bool) -> Result<ExitCode, Failure> {
    let (json, drill) = play(node)?;
    if is_json {
        output::print(&(json + "\n"))?;
    } else {
        output::print(&render(&drill, &layout()))?;
    }
    Ok(ExitCode::from(u8::from(!drill.holds)))
}

/// The drill as it came, and what it says.
pub(super) fn play(node: &Node) -> Result<(String, Drill), Failure> {
    let path = format!("/v1/drill/{}", client::escape(&node.node));
    let path = client::with_query(&path, &[("pool", node.pool.as_deref())]);
    let json = client::get(&node.daemon, &path)?;
    let drill = client::read(&node.daemon, &json)?;
    Ok((json, drill))
}

fn render(drill: &Drill, layout: &Layout) -> String {
    let (node, version) = (&drill.node, env!("CARGO_PKG_VERSION"));
    let mut text = format!("What if {node} were gone?   {}\n", clock(drill.at));
    text += &layout.wrapped(
        "",
        &format!(
            "pinfold {version}, revision {} of {}",
            drill.revision, drill.source
        ),
    );
    text.push('\n');
    text += &loss(drill, layout);
    if !drill.partners.is_empty() {
        text.push('\n');
        let rows = drill.partners.iter().map(row).collect();
        let headings = ["PARTNER", "AFFINITY", "#SESSIONS", "WOULD GO TO", "NOTE"];
        text += &layout.table(&headings, rows);
    }
    if !drill.survivors.is_empty() {
        text.push('\n');
        let rows = drill.survivors.iter().map(|each| {
            vec![
                each.node.clone(),
                each.listeners.join(" "),
                each.standing.clone(),
                grouped(each.sessions),
                grouped(each.sessions_then),
                format!("{} %", each.sessions_then * 100 / each.ports.max(1)),
            ]
        });
        let headings = [
            "NODE",
            "LISTENERS",
            "STANDING",
            "#NOW",
            "#THEN",
            "#OF ITS PORTS",
        ];
        text += &layout.table(&headings, rows.collect());
    }
    text.push('\n');
    text += &remarks(drill, layout);
    text += &match drill.holds {
        true => format!("N-1 HOLDS without {node}\n"),
        false => format!("N-1 DOES NOT HOLD without {node}\n"),
    };
    text
}

/// What the node has that would be lost.
pub(super) fn loss(drill: &Drill, layout: &Layout) -> String {
    let partners = drill.partners.len() as u64;
    let legacy = drill.partners.iter().filter(|each| each.legacy).count();
    let of_partners: u64 = drill
        .partners
        .iter()
        .map(|each| u64::from(each.sessions))
        .sum();
    let users: u64 = drill.users.iter().map(|each| each.sessions).sum();
    let by_listener = drill
        .users
        .iter()
        .map(|each| format!("{} on {}", grouped(each.sessions), each.listeners.join(" ")));
    let by_listener: Vec<_> = by_listener.collect();
    let by_listener = if by_listener.is_empty() {
        String::new()
    } else {
        format!(" ({})", by_listener.join(", "))
    };
    let text = format!(
        "{} loses: {} of {}, {legacy} legacy; {} of others{by_listener}",
        drill.node,
        count(of_partners, "session"),
        count(partners, "partner"),
        count(users, "session"),
    );
    layout.wrapped("", &text)
}

/// How long it takes, what hurts, and what is wrong.
pub(super) fn remarks(drill: &Drill, layout: &Layout) -> String {
    let mut text = String::new();
    if let Some(seconds) = drill.users_back_s.filter(|seconds| *seconds >= 1.0) {
        let line = format!("users: all back in {seconds:.0} s at max_new_per_node");
        text += &layout.wrapped("", &line);
    }
    for hurt in &drill.hurts {
        text += &layout.wrapped("", &format!("it hurts: {hurt}"));
    }
    for problem in &drill.problems {
        text += &layout.wrapped("", &format!("PROBLEM: {problem}"));
    }
    text
}

pub(super) fn layout() -> Layout {
    Layout {
        width: output::width(),
        now: Timestamp::now(),
    }
}

fn row(partner: &DrillPartner) -> Vec<String> {
    vec![
        partner.partner.clone(),
        partner.affinity.clone(),
        grouped(u64::from(partner.sessions)),
        partner.to.clone().unwrap_or_else(|| "NOWHERE".into()),
        if partner.legacy {
            "legacy".into()
        } else {
            String::new()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_moves_where_and_whether_it_holds_in_80_columns() {
        let text = r#"{"node":"edge1","at":"2026-12-08T19:00:00Z","revision":23,
        "source":"/etc/pinfold/pinfold.toml","holds":false,
        "problems":["webconf is left without a node: edge2 is down"],
        "hurts":["no N-1 is left on federation: if edge2 fails too, nobody serves"],
        "partners":[{"partner":"fabrikam","pool":"edge","affinity":"federation","legacy":true,
          "sessions":4,"to":"edge2","alarm_after_s":60,"contact":null},
          {"partner":"woodgrove","pool":"edge","affinity":"federation","legacy":false,
          "sessions":0,"to":null,"alarm_after_s":60,"contact":null}],
        "users":[{"pool":"edge","listeners":["access"],"sessions":5894}],
        "survivors":[{"pool":"edge","node":"edge2","listeners":["access"],"standing":"takes",
          "sessions":6186,"sessions_then":12080,"ports":28000}],"users_back_s":29.5}"#;
        let mut drill: Drill = serde_json::from_str(text).unwrap();
        let layout = Layout {
            width: Some(80),
            now: drill.at,
        };
        let text = render(&drill, &layout);
        for expected in [
            "edge1 loses: 4 sessions of 2 partners, 1 legacy; 5 894 sessions of others",
            "NOWHERE",
            "12 080",
            "43 %",
            "PROBLEM: webconf",
            "N-1 DOES NOT HOLD without edge1\n",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        drill.holds = true;
        assert!(render(&drill, &layout).ends_with("N-1 HOLDS without edge1\n"));
    }
}
