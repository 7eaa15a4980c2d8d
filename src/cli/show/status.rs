//! `pinfold status`.

use std::collections::BTreeSet;

use crate::cli::table::{Layout, age, count, grouped};
use crate::control::admin::answers::{KernelTls, Listener, ListenerNode, Node, Nodes, Status};

pub(super) fn render(status: &Status, nodes: &Nodes, layout: &Layout) -> String {
    let mut text = head(status);
    let things = &status.attention;
    if !things.is_empty() {
        text += &match things.len() {
            1 => "1 thing needs you\n".into(),
            many => format!("{many} things need you\n"),
        };
        for thing in things {
            text += &layout.wrapped("  ", thing);
        }
    }
    text.push('\n');
    text += &listeners(&status.listeners, layout);
    text.push('\n');
    text += &nodes_table(nodes, layout);
    text.push('\n');
    text += &foot(status);
    text
}

fn head(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    format!(
        "pinfold {}   up {}   revision {} of {}   {ready}\n",
        status.version,
        age(status.uptime_s),
        status.revision,
        status.source
    )
}

fn foot(status: &Status) -> String {
    let (pins, partners) = (status.pins, status.partners);
    let awaited = match partners.awaited {
        0 => String::new(),
        awaited => format!(", {awaited} not back"),
    };
    format!(
        "PARTNERS {}{awaited}   PINS {} of partners, {} of {} addresses\n",
        grouped(partners.configured as u64),
        grouped(pins.partners as u64),
        grouped(pins.addresses as u64),
        grouped(pins.max as u64),
    ) + &status.sandbox.as_deref().map_or_else(String::new, sandbox)
        + &status
            .kernel_tls
            .as_deref()
            .map_or_else(String::new, kernel_tls)
}

fn kernel_tls(versions: &[KernelTls]) -> String {
    if versions.is_empty() {
        return "KERNEL TLS off\n".into();
    }
    let told = versions.iter().map(|each| match &each.refusal {
        None => each.version.clone(),
        Some(refusal) => format!("not {}: {refusal}", each.version),
    });
    format!("KERNEL TLS {}\n", told.collect::<Vec<_>>().join("; "))
}

fn sandbox(measures: &[String]) -> String {
    match measures {
        [] => "SANDBOX off\n".into(),
        measures => format!("SANDBOX {}\n", measures.join(", ")),
    }
}

/// A column for each node where they fit, else the number of those that are up.
fn listeners(listeners: &[Listener], layout: &Layout) -> String {
    let names: BTreeSet<&str> = listeners
        .iter()
        .flat_map(|listener| listener.nodes.iter().map(|node| node.node.as_str()))
        .collect();
    let fit = names.len() <= NODE_COLUMNS_MAX;
    let mut headings: Vec<String> = ["LISTENER", "BIND", "#SESSIONS"].map(Into::into).into();
    if fit {
        headings.extend(names.iter().map(|name| name.to_uppercase()));
    } else {
        headings.push("NODES".into());
    }
    let rows = listeners.iter().map(|listener| {
        let mut row = vec![
            listener.name.clone(),
            bind(listener),
            grouped(listener.sessions),
        ];
        if fit {
            let of_name = |name: &&str| listener.nodes.iter().find(|node| node.node == *name);
            let cell = |node: &ListenerNode| {
                condition(&node.health, &node.standing, || layout.age(node.since))
            };
            row.extend(
                names
                    .iter()
                    .map(|name| of_name(name).map_or_else(|| "-".into(), cell)),
            );
        } else {
            let up = listener
                .nodes
                .iter()
                .filter(|node| node.standing == "takes");
            row.push(format!("{} of {} up", up.count(), listener.nodes.len()));
        }
        row
    });
    layout.table(&headings, rows.collect())
}

fn bind(listener: &Listener) -> String {
    let bound = listener.bound.join(" ");
    if listener.open {
        bound
    } else if bound.is_empty() {
        "closed".into()
    } else {
        format!("{bound} closed")
    }
}

fn nodes_table(nodes: &Nodes, layout: &Layout) -> String {
    let row = |node: &Node| {
        vec![
            node.name.clone(),
            node.pool.clone(),
            node.state.clone(),
            grouped(node.sessions),
            summary(node, layout),
        ]
    };
    let headings = ["NODE", "POOL", "STATE", "#SESSIONS", "HEALTH"];
    layout.table(&headings, nodes.nodes.iter().map(row).collect())
}

/// `up`, or on how many services it is not.
fn summary(node: &Node, layout: &Layout) -> String {
    let not_up: Vec<_> = node
        .services
        .iter()
        .filter(|each| each.health != "up")
        .collect();
    match not_up.as_slice() {
        [] => match node.services.iter().map(|each| each.since).max() {
            Some(since) => format!("up {}", layout.age(since)),
            None => "-".into(),
        },
        [first, ..] if not_up.len() == node.services.len() => {
            format!("{} {}", first.health, layout.age(first.since))
        }
        some => {
            let of = count(node.services.len() as u64, "service");
            format!("{} of {of} not up", some.len())
        }
    }
}

/// `up`, `down 8m`, `held`: what it is good for where that says more than its health.
pub(super) fn condition(health: &str, standing: &str, age: impl Fn() -> String) -> String {
    match (health, standing) {
        ("down", "never") => "down, disabled".into(),
        (_, "never") => "disabled".into(),
        ("up", "takes") => "up".into(),
        ("up" | "suspect", "held" | "draining") => standing.into(),
        ("suspect", _) => "suspect".into(),
        (health, _) => format!("{health} {}", age()),
    }
}

/// More would not fit beside the addresses.
const NODE_COLUMNS_MAX: usize = 4;
