//! The calls that maintenance is made of.

use std::collections::BTreeSet;

use crate::cli::failure::Failure;
use crate::cli::{Node, client};
use crate::control::admin::answers::{
    Explanation, MaintenanceBegun, Nodes, PinMoved, PinsMoved, SessionsEnded,
};

/// Why it does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// A call failed: nobody knows whether undoing would do good.
    Failed(Failure),
    /// The administrator wants it to stop.
    Interrupted,
    /// Things got worse.
    Regression(String),
}

impl Halt {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Interrupted => Failure::Usage("interrupted".into()),
            Self::Regression(why) => Failure::Usage(why),
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The daemon, as far as it concerns the node.
#[derive(Debug)]
pub(super) struct Daemon<'a> {
    node: &'a Node,
}

impl<'a> Daemon<'a> {
    pub(super) const fn new(node: &'a Node) -> Self {
        Self { node }
    }

    fn nodes(&self) -> Result<Nodes, Failure> {
        client::read(
            &self.node.daemon,
            &client::get(&self.node.daemon, "/v1/nodes")?,
        )
    }

    /// What administrators or the file want of the node: each state once.
    pub(super) fn states(&self) -> Result<BTreeSet<String>, Failure> {
        let nodes = self.nodes()?.nodes.into_iter();
        let of_name = nodes.filter(|each| each.name == self.node.node && self.is_pool(&each.pool));
        Ok(of_name.map(|each| each.state).collect())
    }

    /// Other nodes of its pools that are down, each with where.
    pub(super) fn troubled(&self) -> Result<BTreeSet<String>, Failure> {
        let nodes = self.nodes()?.nodes;
        let others = nodes
            .iter()
            .filter(|each| each.name != self.node.node && self.is_pool(&each.pool));
        let troubled = others.flat_map(|each| {
            let down = each
                .services
                .iter()
                .filter(|service| service.health == "down");
            down.map(|service| {
                format!("{} went down on {}", each.name, service.listeners.join(" "))
            })
        });
        Ok(troubled.collect())
    }

    fn is_pool(&self, pool: &str) -> bool {
        self.node
            .pool
            .as_deref()
            .is_none_or(|wanted| wanted == pool)
    }

    /// Moves a partner away.
    pub(super) fn move_away(&self, partner: &str) -> Result<Vec<PinMoved>, Failure> {
        let moved: PinsMoved = self.post("move", &[("partner", Some(partner))])?;
        Ok(moved.moved)
    }

    /// Whether a partner is served wherever it was sent.
    pub(super) fn are_served(&self, partner: &str, moved: &[&PinMoved]) -> Result<bool, Failure> {
        if moved.is_empty() {
            return Ok(true);
        }
        let path = format!("/v1/explain/{}", client::escape(partner));
        let told: Explanation =
            client::read(&self.node.daemon, &client::get(&self.node.daemon, &path)?)?;
        let is_served = |one: &&PinMoved| {
            let places = told
                .places
                .iter()
                .filter(|place| place.pool == one.pool && place.affinity == one.affinity);
            // A failover, or another administrator, may have sent it on meanwhile.
            let mut sessions = places.flat_map(|place| &place.sessions);
            sessions.any(|on| on.node != self.node.node && on.served > 0)
        };
        Ok(moved.iter().all(is_served))
    }

    /// The node takes no new sessions from now on, and no other of its pools may be maintained.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        self.post::<MaintenanceBegun>("maintain", &[]).map(drop)
    }

    /// Ends at most so many sessions.
    pub(super) fn end(&self, most: usize) -> Result<SessionsEnded, Failure> {
        self.post("end", &[("sessions", Some(&most.to_string()))])
    }

    /// Puts back what was moved, and the node into the state that it had.
    pub(super) fn put_back(&self) -> Result<Vec<PinMoved>, Failure> {
        let moved: PinsMoved = self.post("return", &[])?;
        Ok(moved.moved)
    }

    fn post<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        more: &[(&str, Option<&str>)],
    ) -> Result<T, Failure> {
        let path = format!("/v1/nodes/{}/{verb}", client::escape(&self.node.node));
        let mut parts = vec![
            ("pool", self.node.pool.as_deref()),
            ("reason", self.node.reason.as_deref()),
        ];
        parts.extend_from_slice(more);
        let answer = client::post(&self.node.daemon, &client::with_query(&path, &parts))?;
        client::read(&self.node.daemon, &answer)
    }
}
