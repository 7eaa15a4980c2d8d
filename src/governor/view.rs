//! How things stand, for the admin API.

use std::sync::Arc;

use super::addressing::TurnView;
use super::ledger::{Failover, Totals};
use crate::inspect::tls::Certificate;
use crate::pool::group::MemberView;
use crate::pool::invariant::Violations;
use crate::snapshot::Endpoint;
use crate::tls::Finding;

/// Everything the governor knows.
#[derive(Clone, Debug)]
pub struct View {
    /// Groups, in the order of the snapshot.
    pub groups: Vec<GroupView>,
    /// Failovers, oldest first.
    pub failovers: Vec<Arc<Failover>>,
    /// Figures of the ledger since the start.
    pub totals: Totals,
    /// Probes begun since the start.
    pub probes: u64,
    /// Partners that were active when their node died and have not come back in time.
    pub not_back: usize,
    /// How many break each invariant: must be 0.
    pub broken: Violations,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The pool.
    pub pool: Arc<str>,
    /// The listeners it serves.
    pub listeners: Vec<Arc<str>>,
    /// Whether its nodes show different certificates.
    pub certificates_differ: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Where it is dialled, and its counters.
    pub endpoint: Arc<Endpoint>,
    /// Its health.
    pub health: MemberView,
    /// What it last showed to a probe.
    pub certificate: Option<Arc<Certificate>>,
    /// What it has said to `turn-allocate` probes.
    pub turn: Option<TurnView>,
    /// Why it cannot be spoken to in TLS, as far as probes have tried.
    pub tls_fault: Option<Arc<Finding>>,
}
