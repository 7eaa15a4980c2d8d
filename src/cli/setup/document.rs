//! The file that a plan makes: a comment for each choice, and little that only repeats a default.
//!
//! Invariant: what was answered stands between quotes, escaped; nothing of it can end them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::plan::{Node, Partner, Plan};

pub(super) fn text(plan: &Plan) -> String {
    let mut text = HEAD.to_owned();
    server(&mut text, plan);
    gateway(&mut text, plan);
    pool(&mut text, plan);
    let mut said = Said::default();
    for listener in listeners(plan) {
        listener.write(&mut text, plan, &mut said);
    }
    partners(&mut text, plan);
    text
}

fn server(text: &mut String, plan: &Plan) {
    text.push_str(SERVER);
    if let Some(key) = &plan.placement_key {
        text.push_str(
            "\n# The same secret on both appliances of the pair: a partner lands on the same node, whichever of them \
             has\n# the VIP.\n",
        );
        line(text, "placement_key", &quoted(key));
    }
    if !plan.view.is_empty() {
        text.push_str("\n# Where the admin API can be read, and nothing be changed.\n");
        line(text, "view", &list(&plan.view));
    }
    if !plan.view_from.is_empty() {
        text.push_str("# Who may do that over the network.\n");
        line(text, "view_from", &list(&plan.view_from));
    }
}

fn gateway(text: &mut String, plan: &Plan) {
    let Some(gateway) = &plan.gateway else { return };
    text.push_str(
        "\n# The nodes' gateway is this machine: `pinfold check --host-rules` makes its rules from this, and the \
         unit\n# pinfold-host-rules puts them in force.\n[gateway]\n# Towards clients and partners, and towards the \
         nodes' outer addresses.\n",
    );
    line(text, "outside", &quoted(&gateway.outside));
    line(text, "inside", &quoted(&gateway.inside));
    if let Some(source) = plan.source_of_federation() {
        let mut ports = vec!["tcp/5061".to_owned()];
        if plan.services.xmpp {
            ports.push("tcp/5269".to_owned());
        }
        text.push_str(
            "\n  # What the nodes themselves send to partners comes from the VIP, which partners' firewalls know.\n  \
             [[gateway.snat]]\n",
        );
        line(text, "  family", "\"access\"");
        line(text, "  ports", &list(&ports));
        line(text, "  to", &quoted(&source.to_string()));
    }
}

fn pool(text: &mut String, plan: &Plan) {
    if plan.nodes.is_empty() {
        return;
    }
    text.push_str("\n\n# The Edge Servers.\n[[pool]]\n");
    line(text, "name", &quoted(&plan.pool));
    plan.nodes.iter().for_each(|each| node(text, each));
}

fn node(text: &mut String, node: &Node) {
    text.push_str("\n  [[pool.node]]\n");
    line(text, "  name", &quoted(&node.name));
    line(text, "  address", &quoted(&node.access));
    let families = [
        ("webconf", &node.webconf),
        ("av", &node.av),
        ("internal", &node.internal),
    ];
    let families = families
        .iter()
        .filter_map(|(family, address)| Some(format!("{family} = {}", quoted(address.as_ref()?))));
    let families: Vec<_> = families.collect();
    if !families.is_empty() {
        line(
            text,
            "  addresses",
            &format!("{{ {} }}", families.join(", ")),
        );
    }
}

/// Comments that are written already: one that stands above is not repeated below.
#[derive(Debug, Default)]
struct Said(BTreeSet<&'static str>);

impl Said {
    fn once(&mut self, text: &mut String, comment: &'static str) {
        if self.0.insert(comment) {
            text.push_str(comment);
        }
    }
}

/// A `[[listener]]`.
struct Listener<'p> {
    service: &'static str,
    about: &'static str,
    vips: &'p [String],
    port: u16,
    /// Federation, of which there is more to say.
    is_federation: bool,
    /// Depends on the inside, where that is asked for.
    needs_inside: bool,
}

/// Those whose address is known.
fn listeners(plan: &Plan) -> Vec<Listener<'_>> {
    let vips = &plan.vips;
    let listener = |service, about, vips, port| Listener {
        service,
        about,
        vips,
        port,
        is_federation: false,
        needs_inside: false,
    };
    let outside = |service, about, vips, port| Listener {
        needs_inside: true,
        ..listener(service, about, vips, port)
    };
    let federated = |service, about, vips, port| Listener {
        is_federation: true,
        ..outside(service, about, vips, port)
    };
    let mut listeners = vec![
        federated(
            "federation",
            "Federation: partners, SIP over TLS.",
            &vips.federation,
            5061,
        ),
        federated("xmpp", "XMPP partners.", &vips.xmpp, 5269),
        outside("access", "Remote users.", &vips.access, 443),
        outside("webconf", "Web conferencing.", &vips.webconf, 443),
        listener(
            "av-tcp",
            "Audio and video: nodes see the clients' own addresses, and a client's TCP and UDP go to one node.",
            &vips.av,
            443,
        ),
        listener("av-udp", "", &vips.av, 3478),
        listener(
            "internal-sip",
            "The inside. Microsoft supports balancing on both sides, or on none.",
            &vips.internal,
            5061,
        ),
        listener("mras", "", &vips.internal, 5062),
    ];
    if plan.services.av {
        listeners.push(listener("internal-av-tcp", "", &vips.internal, 443));
        listeners.push(listener("internal-av-udp", "", &vips.internal, 3478));
    }
    listeners.retain(|listener| !listener.vips.is_empty());
    listeners
}

impl Listener<'_> {
    fn write(&self, text: &mut String, plan: &Plan, said: &mut Said) {
        text.push('\n');
        if !self.about.is_empty() {
            let _ = writeln!(text, "\n# {}", self.about);
        }
        text.push_str("[[listener]]\n");
        line(text, "name", &quoted(self.service));
        let binds: Vec<_> = self.vips.iter().map(|vip| bind(vip, self.port)).collect();
        let bind = match binds.as_slice() {
            [one] => quoted(one),
            many => list(many),
        };
        line(text, "bind", &bind);
        line(text, "service", &quoted(self.service));
        line(text, "pool", &quoted(&plan.pool));
        if let Some(port) = self.own_port() {
            said.once(text, "# The nodes listen on the same port.\n");
            line(text, "node_port", &port.to_string());
        }
        if self.is_federation {
            let (about, allow) = match plan.is_closed {
                true => (CLOSED, "\"partners\""),
                false => (OPEN, "\"any\""),
            };
            said.once(text, about);
            line(text, "allow", allow);
        }
        if self.needs_inside && plan.needs_inside && !plan.vips.internal.is_empty() {
            said.once(text, NEEDS_INSIDE);
            line(text, "needs", "[\"internal-sip\"]");
        }
        if self.is_federation && plan.are_paused {
            text.push_str("\n  [listener.probe]\n");
            said.once(text, PAUSED);
            line(text, "  silence", "\"3s\"");
        }
    }

    /// The port, where it is one for all addresses and not the usual one.
    fn own_port(&self) -> Option<u16> {
        let port = |vip: &String| Some(vip.parse::<SocketAddr>().ok()?.port());
        let first = self.vips.first().and_then(port)?;
        let is_one = self.vips.iter().all(|vip| port(vip) == Some(first));
        (is_one && first != self.port && first != 0).then_some(first)
    }
}

fn partners(text: &mut String, plan: &Plan) {
    if plan.partners.is_empty() {
        text.push_str(NO_PARTNERS);
        return;
    }
    text.push_str(
        "\n\n# Federation partners. Those that cannot fail over by themselves (OCS 2007 and older) stay on one node, and \
         are\n# brought to another one when it dies.\n",
    );
    for (number, each) in plan.partners.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        partner(text, each);
    }
}

fn partner(text: &mut String, partner: &Partner) {
    text.push_str("[[partner]]\n");
    line(text, "name", &quoted(&partner.name));
    line(text, "generation", &quoted(partner.generation));
    for (key, names) in [
        ("domains", &partner.domains),
        ("edge", &partner.edge),
        ("addresses", &partner.addresses),
    ] {
        if !names.is_empty() {
            line(text, key, &list(names));
        }
    }
    if let Some(contact) = &partner.contact {
        line(text, "contact", &quoted(contact));
    }
}

/// An address with its port; what is none is left for the checker to complain of.
fn bind(vip: &str, port: u16) -> String {
    match vip.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => vip.to_owned(),
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {value}");
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// TOML 1.0, "Basic strings".
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

const HEAD: &str = "\
# Configuration of Pinfold, begun by `pinfold setup`.
#
# Every key with its default, and why: `man pinfold.toml`. After a change: `pinfold check`, then `pinfold reload`.
version = 1
";

const SERVER: &str = "
[server]
# Pins, the ledger of failovers and what administrators did to nodes last over restarts by this.
state_dir = \"/var/lib/pinfold\"
";

const CLOSED: &str = "\
# Closed federation: whoever is not below at [[partner]] with its addresses is refused.
";

const OPEN: &str = "\
# Open federation: anybody may connect. \"partners\" lets only those below in.
";

const NEEDS_INSIDE: &str = "\
# A node that does not answer inside serves nobody here either.
";

const PAUSED: &str = "  \
  # Backup and migration pause the Edge Servers: silence of less than this cuts nobody. A refusal counts at once
  # all the same.
";

const NO_PARTNERS: &str = "

# Federation partners: for each that cannot fail over by itself, a table like this one.
# [[partner]]
# name = \"fabrikam\"
# generation = \"ocs-2007\"
# domains = [\"fabrikam.com\"]
# edge = [\"sip.fabrikam.com\"]
# addresses = [\"192.0.2.0/28\"]
# contact = \"NOC +49 30 5550 111\"
";
