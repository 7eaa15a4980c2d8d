//! Pins of addresses that a reload makes a partner's.
//!
//! Whoever writes a partner down names somebody who is connected already: the partner keeps the node that
//! its address had, instead of being placed anew. Workers take its sessions along (`relay/tcp/naming`).

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::PinAdopted;
use crate::clock::Moment;
use crate::config::model::{Config, Partner, Pin};
use crate::partner::table::PartnerTable;
use crate::pool::pins::{self, PinKey, PinTable};
use crate::pool::placement::Subject;

/// A pin that becomes a partner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adopted {
    pub(super) from: PinKey,
    pub(super) to: PinKey,
    /// The node that it keeps.
    pub(super) node: Arc<str>,
}

impl From<&Adopted> for PinAdopted {
    fn from(adopted: &Adopted) -> Self {
        Self {
            partner: adopted.to.subject.to_string(),
            address: adopted.from.subject.to_string(),
            affinity: adopted.to.scope.affinity.to_string(),
            node: adopted.node.to_string(),
        }
    }
}

/// The pins that become partners' when `new` takes the place of `old`: of each partner and scope the one that
/// is used most, unless the partner has one.
pub(super) fn adopted(old: &Config, new: &Config, pins: &PinTable, now: Moment) -> Vec<Adopted> {
    let newcomers = Newcomers::new(old, new);
    if newcomers.gained.is_empty() {
        return Vec::new();
    }
    let scopes: HashSet<(&str, &str)> = new
        .listeners
        .iter()
        .filter(|listener| listener.pin == Pin::Partner)
        .map(|listener| (&*listener.pool, &*listener.affinity))
        .collect();
    let owner = |key: &PinKey| match &key.subject {
        Subject::Prefix(net) => newcomers.owner(net),
        Subject::Partner(_) => None,
    };
    let is_concerned = |key: &PinKey, _: &pins::Pin| {
        let scope = (&*key.scope.pool, &*key.scope.affinity);
        owner(key).is_some() && scopes.contains(&scope)
    };
    let mut found = pins.list_where(now, is_concerned);
    found.sort_by_key(|(_, pin)| Reverse((pin.sessions, pin.last_used)));
    let mut taken = HashSet::new();
    let mut adopted = Vec::new();
    for (from, pin) in found {
        let Some(partner) = owner(&from) else {
            continue;
        };
        let to = PinKey::of_partner(&from.scope, partner);
        if pins.look_up(&to, now).is_none() && taken.insert(to.clone()) {
            let node = pin.node;
            adopted.push(Adopted { from, to, node });
        }
    }
    adopted
}

/// Partners that are pinned by name and have addresses which they did not have.
struct Newcomers {
    table: PartnerTable,
    /// Their names.
    gained: HashSet<Arc<str>>,
    /// Prefixes by which clients are pinned, and that are wider than an address that was gained.
    around: HashMap<IpNet, Arc<str>>,
}

impl Newcomers {
    fn new(old: &Config, new: &Config) -> Self {
        let before: HashMap<&str, &Partner> = old
            .partners
            .iter()
            .map(|partner| (&*partner.name, partner))
            .collect();
        let prefixes: HashSet<_> = new.listeners.iter().map(|each| each.pin_prefix).collect();
        let mut newcomers = Self {
            table: PartnerTable::new(&new.partners),
            gained: HashSet::new(),
            around: HashMap::new(),
        };
        let by_name = new.partners.iter();
        for partner in by_name.filter(|partner| partner.pin == Pin::Partner) {
            let name: Arc<str> = Arc::from(&*partner.name);
            let before = before.get(&*partner.name);
            for net in &partner.addresses {
                if before.is_some_and(|before| before.addresses.contains(net)) {
                    continue;
                }
                newcomers.gained.insert(Arc::clone(&name));
                for prefix in &prefixes {
                    if let Subject::Prefix(around) = Subject::of_client(net.addr(), *prefix)
                        && around.prefix_len() < net.prefix_len()
                    {
                        newcomers.around.insert(around, Arc::clone(&name));
                    }
                }
            }
        }
        newcomers
    }

    /// Whose the clients within `net` are now.
    fn owner(&self, net: &IpNet) -> Option<&Arc<str>> {
        let known = self.table.find(net.addr()).map(|known| &known.name);
        known
            .filter(|name| self.gained.contains(*name))
            .or_else(|| self.around.get(net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::pool::pins::{NewPin, PinScope, PinnedBy};

    fn config(partners: &str) -> Config {
        let text = format!(
            "version = 1\n[[pool]]\nname = \"edge\"\n[[pool.node]]\nname = \"edge1\"\naddress = \"198.51.100.1\"\n\
             [[listener]]\nname = \"federation\"\nbind = \"203.0.113.10:5061\"\nservice = \"federation\"\npool = \"edge\"\n\
             [[listener]]\nname = \"access\"\nbind = \"203.0.113.10:443\"\nservice = \"access\"\npool = \"edge\"\n\
             {partners}"
        );
        parse("a", &text).unwrap().config
    }

    fn partner(name: &str, addresses: &str) -> String {
        format!(
            "[[partner]]\nname = \"{name}\"\ngeneration = \"ocs-2007\"\naddresses = [{addresses}]\n"
        )
    }

    fn key(affinity: &str, subject: Subject) -> PinKey {
        let scope = PinScope {
            pool: "edge".into(),
            affinity: affinity.into(),
        };
        PinKey::new(&Arc::new(scope), subject)
    }

    fn prefix(net: &str) -> Subject {
        Subject::Prefix(net.parse().unwrap())
    }

    fn pins(all: &[(&PinKey, &str)]) -> PinTable {
        let pins = PinTable::new(100);
        for (second, (key, node)) in (0..).zip(all) {
            let new = NewPin {
                node: Arc::from(*node),
                by: PinnedBy::Placed,
                revision: 1,
                ttl: std::time::Duration::from_secs(1200),
                looks_legacy: false,
            };
            let _ = pins.pin(key, new, Moment::from_micros(second));
        }
        pins
    }

    #[test]
    fn a_partner_that_is_written_down_keeps_the_node_of_its_address() {
        let (early, late) = (prefix("192.0.2.3/32"), prefix("192.0.2.4/32"));
        let (six, other) = (prefix("2001:db8:0:7::/64"), prefix("198.18.0.1/32"));
        let federation = |subject: &Subject| key("federation", subject.clone());
        let old = config(&partner("litware", "\"192.0.2.0/28\""));
        let named = partner("fabrikam", "\"192.0.2.3\", \"192.0.2.4\"");
        let six_named = partner("woodgrove", "\"2001:db8:0:7::25\"");
        let wide = partner("litware", "\"192.0.2.0/28\"");
        let new = config(&format!("{wide}{named}{six_named}"));
        let (early, late, six) = (federation(&early), federation(&late), federation(&six));
        let access = key("access", prefix("192.0.2.3/32"));
        let pins = pins(&[
            (&early, "edge1"),
            (&late, "edge2"),
            (&six, "edge1"),
            (&access, "edge2"),
            (&federation(&other), "edge2"),
        ]);
        let mut found = adopted(&old, &new, &pins, Moment::from_micros(9));
        found.sort_by(|a, b| a.to.cmp(&b.to));
        let named = |name: &str| federation(&Subject::Partner(name.into()));
        let expected = [
            Adopted {
                from: late.clone(),
                to: named("fabrikam"),
                node: "edge2".into(),
            },
            Adopted {
                from: six,
                to: named("woodgrove"),
                node: "edge1".into(),
            },
        ];
        assert_eq!(
            found, expected,
            "the one that was used last; nobody is pinned by name on access"
        );

        // One that has a pin keeps it, and nothing is new the second time.
        pins.rekey(&late, &named("fabrikam"), Moment::from_micros(9));
        assert_eq!(adopted(&old, &new, &pins, Moment::from_micros(9)).len(), 1);
        assert_eq!(adopted(&new, &new, &pins, Moment::from_micros(9)), []);
    }
}
