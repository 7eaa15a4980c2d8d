//! Where a wish applies, and why it cannot be granted.

use std::sync::Arc;
use std::time::Duration;

use super::super::Control;
use super::{Scopes, Wish};
use crate::config::did_you_mean;
use crate::config::model::{self, NodeState};
use crate::pool::pins::PinKey;
use crate::pool::select::Standing;
use crate::snapshot::{Listener, Snapshot};

/// Why pins were not changed, or not kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PinRefused {
    /// There is no such partner.
    #[error("no partner \"{0}\" in the configuration: {1}")]
    UnknownPartner(String, String),
    /// It has no pin of its own.
    #[error(
        "partner \"{0}\" has no pin of its own (its pin is \"{1}\"): set pin = \"partner\" in its table, and reload"
    )]
    NotByName(String, &'static str),
    /// No listener pins by partner there.
    #[error(
        "no listener{0} pins by partner: see pool and affinity of the listeners in the configuration"
    )]
    NoPlace(String),
    /// There is no such node.
    #[error("no node \"{0}\" in {1}")]
    UnknownNode(String, String),
    /// The node takes no sessions by an administrator's word.
    #[error(
        "node \"{node}\" (pool {pool}) {state}: `pinfold resume {node}` first, or choose another"
    )]
    Unavailable {
        /// The node.
        node: String,
        /// The pool.
        pool: String,
        /// What is the matter.
        state: &'static str,
    },
    /// Ending sessions would only bring the partner to yet another node.
    #[error(
        "node \"{node}\" (pool {pool}) is down: to end sessions now would send the partner elsewhere; choose another node, or wait until `pinfold nodes` has it up"
    )]
    Down {
        /// The node.
        node: String,
        /// The pool.
        pool: String,
    },
    /// There is nothing to remove.
    #[error("nothing is pinned for \"{0}\"")]
    NotPinned(String),
    /// What is to be imported has mistakes: one line each.
    #[error("nothing was imported: {} in the file", count(.0))]
    Mistakes(Vec<String>),
    /// It stands, but could not be made durable.
    #[error(
        "done, but NOT durable, and lost if pinfold ends now: {0}. It is tried again until it succeeds"
    )]
    NotKept(String),
}

fn count(mistakes: &[String]) -> String {
    match mistakes.len() {
        1 => "1 mistake".into(),
        many => format!("{many} mistakes"),
    }
}

/// One pin that a wish is about.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: PinKey,
    pub(super) ttl: Duration,
    /// What the node is good for, where that is not much.
    pub(super) standing: Option<String>,
}

impl Control {
    /// The pins that the wish is about, at least one.
    pub(super) fn places(&self, wish: &Wish) -> Result<Vec<Place>, PinRefused> {
        let mut partners = self.config.partners.iter();
        let Some(partner) = partners.find(|known| known.name == wish.partner) else {
            return Err(self.unknown_partner(&wish.partner));
        };
        match partner.pin {
            model::Pin::Partner => {}
            model::Pin::Source => {
                return Err(PinRefused::NotByName(partner.name.clone(), "source"));
            }
            model::Pin::None => return Err(PinRefused::NotByName(partner.name.clone(), "none")),
        }
        let snapshot = self.shared.snapshot.load();
        let listeners: Vec<_> = listeners(&snapshot, wish).collect();
        if listeners.is_empty() {
            return Err(PinRefused::NoPlace(wish.place()));
        }
        let mut places = Scopes::new();
        for listener in &listeners {
            let Some(position) = listener.position(&wish.node) else {
                continue;
            };
            self.refuse_unavailable(&listener.pool, &wish.node)?;
            let Some(seat) = listener.nodes.get(position) else {
                continue;
            };
            let scope = &listener.pin_scope;
            let name = (Arc::clone(&scope.pool), Arc::clone(&scope.affinity));
            let place = places.entry(name).or_insert_with(|| Place {
                key: PinKey::of_partner(scope, &Arc::from(&*wish.partner)),
                ttl: listener.config.pin_ttl,
                standing: None,
            });
            let standing = seat.endpoint.standing();
            if wish.is_now && standing == Standing::Down {
                return Err(PinRefused::Down {
                    node: wish.node.clone(),
                    pool: listener.pool.to_string(),
                });
            }
            if !standing.keeps_pinned() {
                place.standing = Some(standing.label().into());
            }
        }
        if places.is_empty() {
            return Err(self.unknown_node(wish, &listeners));
        }
        let mut places: Vec<_> = places.into_values().collect();
        places.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(places)
    }

    fn refuse_unavailable(&self, pool: &str, node: &str) -> Result<(), PinRefused> {
        let state = self.state_of(pool, node);
        let state = match state {
            Some(NodeState::Disabled) => "is disabled",
            Some(NodeState::Draining) => "drains",
            Some(NodeState::Active) | None => return Ok(()),
        };
        Err(PinRefused::Unavailable {
            node: node.into(),
            pool: pool.into(),
            state,
        })
    }

    /// What is wanted of a node, by an administrator or by the file.
    pub(in crate::control) fn state_of(&self, pool: &str, node: &str) -> Option<NodeState> {
        let administered = self.shared.administered.load();
        let mut words = administered.iter();
        let word = words.find(|word| word.pool == pool && word.node == node);
        let mut pools = self.config.pools.iter().filter(|known| known.name == pool);
        let configured = pools.find_map(|pool| {
            let mut nodes = pool.nodes.iter();
            nodes
                .find(|known| known.name == node)
                .map(|node| node.state)
        });
        word.map(|word| NodeState::from(word.state)).or(configured)
    }

    fn unknown_node(&self, wish: &Wish, listeners: &[&Arc<Listener>]) -> PinRefused {
        let mut pools: Vec<_> = listeners.iter().map(|each| &*each.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        let pools = pools.into_iter().map(|name| {
            let of_pool = self.config.pools.iter().filter(|pool| pool.name == name);
            let nodes = of_pool.flat_map(|pool| &pool.nodes);
            let nodes: Vec<_> = nodes.map(|node| node.name.as_str()).collect();
            format!("pool \"{name}\" (it has {})", nodes.join(", "))
        });
        let pools: Vec<_> = pools.collect();
        PinRefused::UnknownNode(wish.node.clone(), pools.join(" or "))
    }

    pub(in crate::control) fn unknown_partner(&self, name: &str) -> PinRefused {
        let names = self.config.partners.iter().map(|known| known.name.as_str());
        let hint = did_you_mean(name, names).unwrap_or_else(|| "see `pinfold partners`".into());
        PinRefused::UnknownPartner(name.into(), hint)
    }
}

/// The listeners that pin by partner where the wish applies.
fn listeners<'s>(snapshot: &'s Snapshot, wish: &Wish) -> impl Iterator<Item = &'s Arc<Listener>> {
    snapshot.listeners.iter().filter(|listener| {
        let scope = &listener.pin_scope;
        listener.config.pin == model::Pin::Partner
            && wish.pool.as_ref().is_none_or(|pool| **pool == *scope.pool)
            && wish
                .affinity
                .as_ref()
                .is_none_or(|affinity| **affinity == *scope.affinity)
    })
}

impl Wish {
    /// Where it applies, in words.
    fn place(&self) -> String {
        let pool = self.pool.iter().map(|pool| format!(" of pool \"{pool}\""));
        let affinity = self.affinity.iter();
        let affinity = affinity.map(|affinity| format!(" with affinity \"{affinity}\""));
        pool.chain(affinity).collect()
    }
}
