//! `pinfold drain`, `resume` and `disable`: another state for a node.

use std::io::{self, BufRead, IsTerminal, Write};

use super::failure::Failure;
use super::table::{age, count};
use super::{Node, client, output};
use crate::control::admin::answers::{Changed, Node as Known, Nodes};
use crate::store::Wanted;

/// What is wanted of a node.
#[derive(Debug)]
pub(super) enum Order {
    Drain { deadline: Option<String> },
    Resume,
    Disable { is_sure: bool },
}

pub(super) fn change(order: &Order, node: &Node) -> Result<(), Failure> {
    let (verb, deadline) = match order {
        Order::Drain { deadline } => ("drain", deadline.as_deref()),
        Order::Resume => ("resume", None),
        Order::Disable { is_sure } => {
            if !is_sure {
                confirm(node)?;
            }
            ("disable", None)
        }
    };
    let path = format!("/v1/nodes/{}/{verb}", client::escape(&node.node));
    let parts = [
        ("pool", node.pool.as_deref()),
        ("deadline", deadline),
        ("reason", node.reason.as_deref()),
    ];
    let answer = client::post(&node.daemon, &client::with_query(&path, &parts))?;
    output::print(&describe(&client::read(&node.daemon, &answer)?))
}

/// Asks, with the number of sessions that will end.
fn confirm(node: &Node) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let text = "disable ends sessions at once: say --yes where nobody can be asked";
        return Err(Failure::Usage(text.into()));
    }
    let nodes: Nodes = client::read(&node.daemon, &client::get(&node.daemon, "/v1/nodes")?)?;
    let question = question(&nodes, &node.node, node.pool.as_deref());
    ask(&question)
}

/// Asks, and goes on after a yes alone.
pub(super) fn ask(question: &str) -> Result<(), Failure> {
    let mut stderr = io::stderr().lock();
    let asked = write!(stderr, "{question} Go on? [y/N] ").and_then(|()| stderr.flush());
    let mut reply = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut reply));
    read.map_err(|cause| Failure::System { what: "ask", cause })?;
    if matches!(reply.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Usage("nothing was changed".into()))
    }
}

fn question(nodes: &Nodes, name: &str, pool: Option<&str>) -> String {
    let is_meant = |node: &&Known| node.name == name && pool.is_none_or(|pool| node.pool == pool);
    let mut text = String::new();
    for node in nodes.nodes.iter().filter(is_meant) {
        let sessions = count(node.sessions, "session");
        text += &format!(
            "{name} (pool {}): {sessions} will lose this node now.",
            node.pool
        );
        let others = nodes.nodes.iter().filter(|other| {
            let is_other = other.pool == node.pool && other.name != name;
            is_other && other.services.iter().any(|each| each.standing == "takes")
        });
        if others.count() == 0 {
            text += &format!(" NOBODY ELSE in pool {} takes sessions.", node.pool);
        }
        text.push('\n');
    }
    text
}

fn describe(changed: &Changed) -> String {
    let mut text = String::new();
    for one in &changed.changed {
        let (name, pool, sessions) = (&one.node, &one.pool, count(one.sessions, "session"));
        text += &match (changed.state, changed.deadline_s) {
            (Wanted::Active, _) => {
                format!("{name} (pool {pool}) takes sessions again; it has {sessions}\n")
            }
            (Wanted::Disabled, _) if one.sip == 0 => {
                format!("{name} (pool {pool}) is disabled; {sessions} ended\n")
            }
            (Wanted::Disabled, _) => format!(
                "{name} (pool {pool}) is disabled; {sessions} taken off it:\n\
                 {} may go on with another node, {} ended\n",
                count(one.sip, "SIP session"),
                one.sessions.saturating_sub(one.sip),
            ),
            (Wanted::Draining, Some(deadline)) => format!(
                "{name} (pool {pool}) drains: no new sessions; {sessions} left, cut in {}\n",
                age(deadline)
            ),
            (Wanted::Draining, None) => format!(
                "{name} (pool {pool}) drains: no new sessions; {sessions} left, as long as they last\n\
                 federated links may last for days: --deadline ends them\n"
            ),
        };
    }
    if let (Wanted::Draining | Wanted::Disabled, Some(one)) =
        (changed.state, changed.changed.first())
    {
        text += &format!(
            "not seen from here: connections that {} opens itself, and servers inside that\n\
             reach it directly\n",
            one.node
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::answers::NodeChanged;

    fn node(name: &str, standing: &str) -> Known {
        let text = format!(
            r#"{{"name":"{name}","pool":"edge","state":"active","weight":1,"administered":null,
            "sessions":12,"services":[{{"listeners":["federation"],"address":"192.0.2.1:5061",
            "health":"up","standing":"{standing}","since":"2026-12-08T02:14:07Z","evidence":null,
            "evidence_at":null,"failures":0,"held_until":null,"sessions":12}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_question_tells_who_is_concerned_and_whether_anybody_is_left() {
        let mut nodes = Nodes {
            nodes: vec![node("edge1", "takes"), node("edge2", "takes")],
        };
        let expected = "edge1 (pool edge): 12 sessions will lose this node now.\n";
        assert_eq!(question(&nodes, "edge1", None), expected);
        assert_eq!(question(&nodes, "edge1", Some("other")), "");
        nodes.nodes[1] = node("edge2", "down");
        assert_eq!(
            question(&nodes, "edge1", Some("edge")),
            "edge1 (pool edge): 12 sessions will lose this node now. NOBODY ELSE in pool edge takes sessions.\n"
        );
    }

    #[test]
    fn a_change_is_confirmed_with_its_consequences() {
        let changed = |state, deadline_s| Changed {
            state,
            deadline_s,
            changed: vec![NodeChanged {
                pool: "edge".into(),
                node: "edge1".into(),
                sessions: 1,
                sip: 0,
            }],
        };
        let disabled = changed(Wanted::Disabled, None);
        assert!(
            describe(&disabled).starts_with("edge1 (pool edge) is disabled; 1 session ended\n")
        );
        let mut of_sip = disabled;
        (of_sip.changed[0].sessions, of_sip.changed[0].sip) = (12, 3);
        assert!(describe(&of_sip).starts_with(
            "edge1 (pool edge) is disabled; 12 sessions taken off it:\n\
             3 SIP sessions may go on with another node, 9 ended\n"
        ));
        assert_eq!(
            describe(&changed(Wanted::Active, None)),
            "edge1 (pool edge) takes sessions again; it has 1 session\n"
        );
        let drains = describe(&changed(Wanted::Draining, Some(600)));
        assert!(drains.starts_with(
            "edge1 (pool edge) drains: no new sessions; 1 session left, cut in 10m\n"
        ));
        assert!(drains.contains("not seen from here"));
        assert!(drains.lines().all(|line| line.len() <= 80), "{drains}");
        let drains = describe(&changed(Wanted::Draining, None));
        assert!(drains.lines().all(|line| line.len() <= 80), "{drains}");
    }
}
