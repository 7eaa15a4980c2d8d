//! `pinfold reload`.

use super::failure::Failure;
use super::table::count;
use super::{Daemon, client, output};
use crate::control::admin::answers::{PinAdopted, Reloaded};

pub(super) fn reload(daemon: &Daemon, is_plan: bool, reason: Option<&str>) -> Result<(), Failure> {
    let plan = is_plan.then_some("true");
    let path = client::with_query("/v1/reload", &[("plan", plan), ("reason", reason)]);
    let reloaded: Reloaded = client::read(daemon, &client::post(daemon, &path)?)?;
    for warning in &reloaded.warnings {
        output::say(&format!("warning: {warning}"));
    }
    output::print(&describe(&reloaded, is_plan))
}

fn describe(reloaded: &Reloaded, is_plan: bool) -> String {
    let revision = reloaded.revision;
    let mut text = match (is_plan, reloaded.changed) {
        (true, true) => format!("would change: {}\n", reloaded.summary),
        (true, false) => format!("would change nothing; revision {revision}\n"),
        (false, true) => format!("revision {revision}: {}\n", reloaded.summary),
        (false, false) => format!("nothing changed; revision {revision}\n"),
    };
    if reloaded.sessions_draining > 0 {
        let sessions = count(reloaded.sessions_draining, "session");
        text += &format!("{sessions} of what is gone will be cut after drain_timeout\n");
    }
    for adopted in &reloaded.adopted {
        let PinAdopted {
            partner,
            address,
            affinity,
            node,
            instead,
        } = adopted;
        text += &match instead {
            None => format!("{partner} keeps {node}, to which {address} was pinned ({affinity})\n"),
            Some(to) => format!(
                "{partner} leaves {node}, to which {address} was pinned, for {to}, as its table says ({affinity})\n"
            ),
        };
    }
    if !reloaded.restart_needed.is_empty() {
        let keys = reloaded.restart_needed.join(", ");
        text += &format!("restart needed for: {keys}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_says_what_changed_what_is_cut_and_what_waits() {
        let mut reloaded = Reloaded {
            revision: 3,
            changed: true,
            summary: "1 listener removed".into(),
            restart_needed: vec!["workers".into()],
            warnings: Vec::new(),
            sessions_draining: 12,
            adopted: vec![PinAdopted {
                partner: "fabrikam".into(),
                address: "192.0.2.4".into(),
                affinity: "federation".into(),
                node: "edge2".into(),
                instead: None,
            }],
        };
        let rest = "12 sessions of what is gone will be cut after drain_timeout\n\
                    fabrikam keeps edge2, to which 192.0.2.4 was pinned (federation)\n\
                    restart needed for: workers\n";
        assert_eq!(
            describe(&reloaded, false),
            format!("revision 3: 1 listener removed\n{rest}")
        );
        assert_eq!(
            describe(&reloaded, true),
            format!("would change: 1 listener removed\n{rest}")
        );
        reloaded = Reloaded {
            changed: false,
            restart_needed: Vec::new(),
            sessions_draining: 0,
            adopted: Vec::new(),
            ..reloaded
        };
        assert_eq!(describe(&reloaded, false), "nothing changed; revision 3\n");
        assert_eq!(
            describe(&reloaded, true),
            "would change nothing; revision 3\n"
        );
    }
}
