//! What A/V Edges say to an Allocate, as people read it.

use crate::control::admin::answers::NodeTurn;

/// What is to be done about where an A/V Edge sends its clients.
pub(super) fn advice(name: &str, listeners: &str, turn: &NodeTurn) -> Option<String> {
    let configured = &turn.configured;
    Some(match turn.fault.as_deref()? {
        "elsewhere" => {
            let there = turn.alternate_server.as_deref().unwrap_or("nowhere");
            format!(
                "{name} sends clients of {listeners} to {there}, and its address is {configured}: correct the \
                 external address of its A/V Edge, or that of the node"
            )
        }
        "open" => {
            format!(
                "{name} relays on {listeners} for anybody: an Allocate without credentials is not refused"
            )
        }
        _ => {
            let code = turn
                .code
                .map_or_else(String::new, |code| format!(" by {code},"));
            format!(
                "{name} refuses an Allocate on {listeners}{code} not by 401: it lives, and may serve nobody"
            )
        }
    })
}
