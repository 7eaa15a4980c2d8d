//! `[gateway]` and its `[[gateway.snat]]`.

use crate::config::diagnostics::Findings;
use crate::config::model::{Gateway, GatewaySnat, TransportPort};
use crate::config::names::{FAMILIES, TRANSPORTS};
use crate::config::schema::Section;
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value::{self, Item, spans, values};

/// `[gateway]`, read.
pub(in crate::config) struct GatewayDraft {
    pub(in crate::config) gateway: Gateway,
    pub(in crate::config) places: Places,
    /// Of each `[[gateway.snat]]`, in order.
    pub(in crate::config) snat: Vec<SnatPlaces>,
}

/// Where the keys of a `[[gateway.snat]]` stand.
pub(in crate::config) struct SnatPlaces {
    pub(in crate::config) table: Places,
    /// Of each port, in order.
    pub(in crate::config) ports: Vec<Span>,
}

/// `None` where the file has no such table.
pub(super) fn gateway(mut table: Table<'_, '_>) -> Option<GatewayDraft> {
    let is_present = table.is_present();
    let outside = "write the interface towards clients: `outside = \"ens192\"`";
    let inside = "write the interface towards the nodes: `inside = \"ens224\"`";
    let outside = table.take_required("outside", value::interface, outside);
    let inside = table.take_required("inside", value::interface, inside);
    let media_inbound = table.take("media_inbound", value::boolean, false);
    let tables = table.tables("snat", Section::GatewaySnat);
    let (snat, places): (Vec<_>, Vec<_>) = tables.into_iter().map(snat).unzip();
    let places_of_snat = snat.iter().zip(places).filter(|(snat, _)| snat.is_some());
    let draft = GatewayDraft {
        snat: places_of_snat.map(|(_, places)| places).collect(),
        gateway: Gateway {
            outside: outside.unwrap_or_default(),
            inside: inside.unwrap_or_default(),
            media_inbound,
            snat: snat.into_iter().flatten().collect(),
        },
        places: table.finish(),
    };
    is_present.then_some(draft)
}

fn snat(mut table: Table<'_, '_>) -> (Option<GatewaySnat>, SnatPlaces) {
    let families = value::choice(FAMILIES);
    let family = table.take_required("family", families, "write `family = \"access\"`");
    let port_list = value::at_least_one(port);
    let ports = table.take_required("ports", port_list, "write `ports = [\"tcp/5061\"]`");
    let to = table.take_required("to", value::address, "write `to = \"203.0.113.10\"`");
    let ports = ports.unwrap_or_default();
    let places = SnatPlaces {
        ports: spans(&ports),
        table: table.finish(),
    };
    let snat = family.zip(to).map(|(family, to)| GatewaySnat {
        family,
        ports: values(ports),
        to,
    });
    (snat, places)
}

/// `tcp/5061`.
fn port(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<TransportPort> {
    let wanted = value::Wanted {
        what: "a port with its transport",
        why: "a port alone could be TCP or UDP",
        help: "write \"tcp/5061\" or \"udp/3478\", each port by itself",
    };
    item.parsed(findings, wanted, |text| {
        let (transport, port) = text.split_once('/')?;
        let &(_, transport) = TRANSPORTS.iter().find(|&&(word, _)| word == transport)?;
        let is_number = port.chars().all(|c| c.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| port != 0 && is_number)?;
        Some(TransportPort { transport, port })
    })
}
