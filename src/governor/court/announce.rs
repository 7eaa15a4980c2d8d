//! What the log says of failovers: one line for each transition.

use std::sync::Arc;
use std::time::Duration;

use crate::governor::incident::Report;
use crate::governor::ledger::NotBack;
use crate::pool::health::{Evidence, State};
use crate::pool::pins::Moved;
use crate::snapshot::GroupPlan;
use crate::telemetry::log::Limiter;

pub(super) fn changed(
    plan: &GroupPlan,
    node: &Arc<str>,
    (from, to): (State, State),
    evidence: Option<Evidence>,
    doubts: &Limiter,
) {
    let listener = names(plan);
    let is_telling = matches!(
        evidence,
        Some(
            Evidence::Probe(_)
                | Evidence::DialRefused
                | Evidence::DialTimedOut
                | Evidence::DatagramsRefused
        )
    );
    let evidence = evidence.map_or("-", Evidence::label);
    let pool = &plan.key.pool;
    match (from, to) {
        (_, State::Down) => {
            tracing::error!(%node, %pool, listener, evidence, "node-down");
        }
        (State::Down | State::Unproven, State::Up) => {
            tracing::info!(%node, %pool, listener, evidence, was = from.label(), "node-up");
        }
        // Traffic alone makes many suspicions that the next probe dispels.
        (_, State::Suspect) if is_telling => {
            if let Some(suppressed) = doubts.allow() {
                tracing::warn!(%node, %pool, listener, evidence, suppressed, "node-suspect");
            }
        }
        _ => tracing::debug!(%node, %pool, listener, evidence, to = to.label(), "node-changed"),
    }
}

pub(super) fn cut(
    plan: &GroupPlan,
    node: &Arc<str>,
    failover: u64,
    sessions: u32,
    decided_in: Duration,
) {
    let (listener, pool) = (names(plan), &plan.key.pool);
    tracing::warn!(failover, %node, %pool, listener, sessions, ?decided_in, "failover-cut");
}

pub(super) fn pin_moved(failover: u64, moved: &Moved) {
    let Moved { key, from, to, .. } = moved;
    tracing::warn!(failover, partner = %key.subject, affinity = %key.scope.affinity, %from, %to, "pin-moved");
}

pub(super) fn partner_back(partner: &str, listener: &str, node: &str, cut_off: Duration) {
    tracing::info!(partner, listener, node, ?cut_off, "partner-back");
}

pub(super) fn not_back(missing: &NotBack, contact: Option<&str>) {
    let NotBack {
        partner,
        listener,
        node,
        failover,
        cut_off_since,
    } = missing;
    let contact = contact.unwrap_or("-");
    tracing::error!(
        %partner, %listener, lost = %node, failover, %cut_off_since, contact,
        "partner-not-back: see pinfold explain {partner}"
    );
}

/// One line for whoever is called at night. A warning, as long as nobody is missing who should be back.
pub(super) fn summed_up(report: &Report) {
    let list = |names: &[Arc<str>]| {
        let (first, more) = names.split_at(names.len().min(NAMES_MAX));
        match more.len() {
            _ if first.is_empty() => "-".to_owned(),
            0 => first.join(","),
            more => format!("{} and {more} more", first.join(",")),
        }
    };
    let (slowest, slowest_ms) = match &report.slowest {
        Some((partner, after)) => (&**partner, after.round()),
        None => ("-", 0.0),
    };
    let failovers = report.failovers.iter().map(u64::to_string);
    tracing::warn!(
        node = %report.node,
        listeners = list(&report.listeners),
        sessions = report.sessions,
        partners = report.partners,
        back = report.back,
        slowest,
        slowest_ms,
        not_back = list(&report.not_back),
        idle_before = list(&report.idle),
        failovers = failovers.collect::<Vec<_>>().join(","),
        "failover-report"
    );
}

pub(super) fn fail_static(plan: &GroupPlan, node: &Arc<str>) {
    // What no listener uses any more is nobody's pool.
    if plan.listeners.is_empty() {
        return;
    }
    let (listener, pool) = (names(plan), &plan.key.pool);
    tracing::error!(
        %node, %pool, listener,
        "pool-without-node: nothing is cut, pinned nodes are dialled anyway"
    );
}

pub(super) fn recovered(plan: &GroupPlan, node: &Arc<str>) {
    if plan.listeners.is_empty() {
        return;
    }
    let (listener, pool) = (names(plan), &plan.key.pool);
    tracing::info!(%node, %pool, listener, "pool-recovered");
}

fn names(plan: &GroupPlan) -> String {
    plan.listeners.join(",")
}

/// What a person reads in a line.
const NAMES_MAX: usize = 20;
