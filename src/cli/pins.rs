//! `pinfold pin`, `unpin`, `pins export` and `pins import`: pins by hand, and as a file.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::failure::Failure;
use super::table::{count, grouped};
use super::{Daemon, client, output};
use crate::control::admin::answers::{Imported, PinFile, PinWish, Pins, PinsChanged, PinsRemoved};

/// Pins a partner to a node.
pub(super) fn pin(daemon: &Daemon, partner: &str, wish: &PinWish) -> Result<(), Failure> {
    let path = format!("/v1/pins/{}", client::escape(partner));
    let answer = client::put(daemon, &path, json(wish)?)?;
    output::print(&describe_pinned(partner, &client::read(daemon, &answer)?))
}

/// Removes the pins of a partner, an address or a prefix.
pub(super) fn unpin(
    daemon: &Daemon,
    subject: &str,
    pool: Option<&str>,
    reason: Option<&str>,
) -> Result<(), Failure> {
    let path = format!("/v1/pins/{}", client::escape(subject));
    let path = client::with_query(&path, &[("pool", pool), ("reason", reason)]);
    let answer = client::delete(daemon, &path)?;
    output::print(&describe_unpinned(&client::read(daemon, &answer)?))
}

/// Writes all pins to `file`, or to standard output.
pub(super) fn export(daemon: &Daemon, file: Option<&Path>) -> Result<(), Failure> {
    let pins: Pins = client::read(daemon, &client::get(daemon, "/v1/pins")?)?;
    let text = json(&PinFile {
        version: VERSION,
        exported: Timestamp::now(),
        pins: pins.pins,
    })?;
    let Some(file) = file else {
        return output::print(&(text + "\n"));
    };
    let written = fs::write(file, text + "\n");
    written.map_err(|cause| Failure::Unwritten {
        path: file.into(),
        cause,
    })?;
    let total = count((pins.partners + pins.addresses) as u64, "pin");
    output::say(&format!("{total} exported to {}", file.display()));
    Ok(())
}

/// Puts the pins of `file` beside those that there are.
pub(super) fn import(daemon: &Daemon, file: &PathBuf, is_dry_run: bool) -> Result<(), Failure> {
    let text = fs::read_to_string(file).map_err(|cause| Failure::File {
        path: file.clone(),
        cause,
    })?;
    let dry_run = is_dry_run.then_some("true");
    let path = client::with_query("/v1/pins/import", &[("dry_run", dry_run)]);
    // So that an empty file is sent, and refused, as JSON, too.
    let answer = client::post_body(daemon, &path, text + "\n")?;
    output::print(&describe_imported(&client::read(daemon, &answer)?))
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|cause| Failure::System {
        what: "write JSON",
        cause: cause.into(),
    })
}

fn describe_pinned(partner: &str, changed: &PinsChanged) -> String {
    let mut text = String::new();
    for one in &changed.changed {
        let place = format!("pool {}, {}", one.pool, one.affinity);
        text += &match &one.before {
            Some(before) if *before == one.node => {
                format!(
                    "{partner} stays pinned to {} ({place}), now by hand\n",
                    one.node
                )
            }
            Some(before) => format!(
                "{partner} is pinned to {} ({place}), not {before}\n",
                one.node
            ),
            None => format!("{partner} is pinned to {} ({place})\n", one.node),
        };
        let sessions = count(one.elsewhere as u64, "session");
        let of_sip = count(one.sip as u64, "SIP session");
        text += &match (one.elsewhere, one.sip, one.ended) {
            (0, _, _) => "  it has no sessions on other nodes\n".into(),
            (_, 0, true) => format!("  {sessions} on other nodes ended\n"),
            (all, sip, true) => format!(
                "  {sessions} taken off other nodes: {of_sip} may go on with {}, {} ended\n",
                one.node,
                all.saturating_sub(sip)
            ),
            (_, 0, false) => {
                format!("  {sessions} on other nodes stay as long as they last; --now ends them\n")
            }
            (_, _, false) => format!(
                "  {sessions} on other nodes stay as long as they last; --now ends them,\n  \
                 but for {of_sip}, which may go on with {}\n",
                one.node
            ),
        };
        if let Some(standing) = &one.standing {
            text += &format!(
                "  {} is {standing} at this moment: if {partner} comes before it is up, it goes elsewhere and stays there\n",
                one.node
            );
        }
    }
    text
}

fn describe_unpinned(removed: &PinsRemoved) -> String {
    let mut text = String::new();
    for one in &removed.removed {
        let sessions = match one.sessions {
            0 => String::new(),
            many => format!("; {} go on", count(many.into(), "session")),
        };
        text += &format!(
            "{} is pinned to {} no more (pool {}, {}){sessions}\n",
            one.subject, one.node, one.pool, one.affinity
        );
    }
    text + "new sessions are placed anew\n"
}

fn describe_imported(imported: &Imported) -> String {
    let would = if imported.dry_run { "would be " } else { "" };
    let number = |count: usize| grouped(count as u64);
    let mut text = format!(
        "{} {would}made, {} {would}moved, {} as they were\n",
        number(imported.made),
        number(imported.moved),
        number(imported.kept)
    );
    if imported.lapsed > 0 {
        text += &format!("{} had lapsed since the export\n", number(imported.lapsed));
    }
    if imported.beyond > 0 {
        text += &format!("{} find no room: raise max_pins\n", number(imported.beyond));
    }
    text
}

/// Of the file.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::answers::PinChanged;

    #[test]
    fn a_pin_by_hand_is_confirmed_with_its_consequences() {
        let changed =
            |before: Option<&str>, (elsewhere, sip), ended, standing: Option<&str>| PinsChanged {
                changed: vec![PinChanged {
                    pool: "edge".into(),
                    affinity: "federation".into(),
                    node: "edge1".into(),
                    before: before.map(Into::into),
                    standing: standing.map(Into::into),
                    elsewhere,
                    sip,
                    ended,
                }],
            };
        let cases = [
            (
                changed(None, (0, 0), false, None),
                "no sessions on other nodes",
            ),
            (
                changed(Some("edge2"), (2, 0), false, None),
                "2 sessions on other nodes stay",
            ),
            (
                changed(Some("edge2"), (1, 0), true, None),
                "1 session on other nodes ended",
            ),
            (
                changed(Some("edge2"), (3, 1), true, None),
                "3 sessions taken off other nodes: 1 SIP session may go on with edge1, 2 ended\n",
            ),
            (
                changed(Some("edge2"), (3, 2), false, None),
                "--now ends them,\n  but for 2 SIP sessions, which may go on with edge1\n",
            ),
            (
                changed(Some("edge1"), (0, 0), true, None),
                "stays pinned to edge1",
            ),
            (
                changed(None, (0, 0), false, Some("down")),
                "edge1 is down at this moment",
            ),
        ];
        for (changed, expected) in cases {
            let text = describe_pinned("fabrikam", &changed);
            assert!(text.contains(expected), "{text}");
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        }
    }
}
