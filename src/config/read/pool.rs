//! `[[pool]]` and `[[pool.node]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::diagnostics::Findings;
use crate::config::model::{
    Balance, Family, Flap, Node, NodeAddress, NodeState, Pool, Rate, ReturnAfter,
};
use crate::config::names;
use crate::config::schema::Section;
use crate::config::source::Span;
use crate::config::table::{Places, Table};
use crate::config::value::{self, Item, values};

/// `[[pool]]`, read.
pub(in crate::config) struct PoolDraft {
    pub(in crate::config) pool: Pool,
    pub(in crate::config) places: Places,
    /// Of each node, in order.
    pub(in crate::config) nodes: Vec<NodePlaces>,
}

/// Where the keys of a node stand.
pub(in crate::config) struct NodePlaces {
    pub(in crate::config) node: Places,
    pub(in crate::config) addresses: Places,
}

impl NodePlaces {
    /// The address of `family`, as far as it is set.
    pub(in crate::config) fn address(&self, family: Family) -> Span {
        match self.addresses.sets(family.name()) {
            true => self.addresses.value(family.name()),
            false => self.node.value("address"),
        }
    }
}

pub(super) fn pool(mut table: Table<'_, '_>) -> PoolDraft {
    let name = table.take_required("name", value::name, "write `name = \"edge\"`");
    let balance = value::choice(names::BALANCES);
    let sources = table.take("source_addresses", value::list(value::address), Vec::new());
    let (nodes, places) = table
        .tables("node", Section::Node)
        .into_iter()
        .map(node)
        .unzip();
    let pool = Pool {
        name: name.unwrap_or_default(),
        balance: table.take("balance", balance, Balance::LeastSessions),
        return_after: table.take(
            "return_after",
            return_after,
            ReturnAfter::Healthy(Duration::from_secs(30)),
        ),
        source_addresses: values(sources),
        max_new_per_node: table.take("max_new_per_node", value::rate_or_off, Some(ADMISSION)),
        max_share: table.take("max_share", value::percent, 100),
        warm_up: table.take("warm_up", value::duration, Duration::from_secs(60)),
        flap: table.take("flap", value::flap_or_off, Some(FLAP)),
        nodes,
    };
    PoolDraft {
        pool,
        places: table.finish(),
        nodes: places,
    }
}

/// As fast as a survivor can take sign-ins of users who had been on the node that died.
const ADMISSION: Rate = Rate {
    count: 200,
    per: Duration::from_secs(1),
};

const FLAP: Flap = Flap {
    downs: 3,
    within: Duration::from_secs(600),
    hold: Duration::from_secs(300),
};

fn node(mut table: Table<'_, '_>) -> (Node, NodePlaces) {
    let name = table.take_required("name", value::name, "write `name = \"edge1\"`");
    let help = "write `address = \"198.51.100.11\"`, the address of its Access Edge";
    let access = table.take_required("address", value::node_address, help);
    let mut inner = table.table("addresses", Section::NodeAddresses);
    let mut addresses: BTreeMap<Family, NodeAddress> = names::FAMILIES
        .iter()
        .filter(|&&(_, family)| family != Family::Access)
        .filter_map(|&(key, family)| Some((family, inner.take_optional(key, value::node_address)?)))
        .collect();
    addresses.extend(access.map(|address| (Family::Access, address)));
    let node = Node {
        name: name.unwrap_or_default(),
        addresses,
        weight: table.take("weight", value::integer(1, 10_000), 1),
        state: table.take(
            "state",
            value::choice(names::NODE_STATES),
            NodeState::Active,
        ),
    };
    let places = NodePlaces {
        addresses: inner.finish(),
        node: table.finish(),
    };
    (node, places)
}

/// A duration, or `"manual"`.
fn return_after(item: &Item<'_, '_>, findings: &Findings<'_>) -> Option<ReturnAfter> {
    if item.value.get_ref().as_str() == Some("manual") {
        return Some(ReturnAfter::Manual);
    }
    value::duration(item, findings).map(ReturnAfter::Healthy)
}
