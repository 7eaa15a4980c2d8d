//! Certificates that probes have seen: noted, compared, and told.

use std::sync::Arc;

use jiff::Timestamp;

use super::Court;
use crate::clock::Moment;
use crate::governor::certificates::Notice;
use crate::inspect::tls::Certificate;
use crate::snapshot::{GroupPlan, MemberPlan};

impl Court {
    /// A node has shown a certificate to a probe.
    pub(super) fn note_certificate(&mut self, index: usize, node: &Arc<str>, shown: Certificate) {
        let Some(watched) = self.watched.get(index) else {
            return;
        };
        let plan = &watched.plan;
        let Some(member) = plan.member(node) else {
            return;
        };
        let unix = Timestamp::now().as_second();
        let number = member.endpoint.number;
        let notices = self.certificates.note(number, shown, unix);
        let others = plan.members.iter().filter(|member| !member.is_removed);
        let others = others.map(|member| member.endpoint.number);
        let compared = self.certificates.compare(&plan.key, others, Moment::now());
        let Some(certificate) = self.certificates.of(number) else {
            return;
        };
        for notice in notices.iter().chain(&compared) {
            tell(plan, member, certificate, notice);
        }
    }

    /// Forgets the certificates of endpoints that are gone.
    pub(super) fn forget_certificates(&mut self) {
        let watched = &self.watched;
        let members = || watched.iter().flat_map(|each| &each.plan.members);
        self.certificates.keep(
            |number| members().any(|member| member.endpoint.number == number),
            |key| watched.iter().any(|each| each.plan.key == *key),
        );
    }
}

fn tell(plan: &GroupPlan, member: &MemberPlan, certificate: &Certificate, notice: &Notice) {
    let (node, pool, listener) = (&*member.name, &*plan.key.pool, plan.listeners.join(","));
    let (name, until) = (certificate.name(), day(certificate));
    match notice {
        Notice::Changed { from } => {
            let before = day(from);
            tracing::info!(
                node,
                pool,
                listener,
                certificate = name,
                until,
                before,
                "certificate-changed"
            );
        }
        Notice::Expiring(0) => {
            tracing::error!(
                node,
                pool,
                listener,
                certificate = name,
                until,
                "certificate-expired"
            );
        }
        Notice::Expiring(days) => {
            tracing::warn!(
                node,
                pool,
                listener,
                certificate = name,
                until,
                days,
                "certificate-expiring"
            );
        }
        Notice::Differs { is_overdue: false } => {
            tracing::info!(
                node,
                pool,
                listener,
                certificate = name,
                until,
                "certificate-differs"
            );
        }
        Notice::Differs { is_overdue: true } => {
            tracing::warn!(
                node,
                pool,
                listener,
                certificate = name,
                until,
                "certificate-differs for a day"
            );
        }
        Notice::Agrees => {
            tracing::info!(
                pool,
                listener,
                certificate = name,
                until,
                "certificate-agrees"
            );
        }
    }
}

/// The last day of a certificate.
fn day(certificate: &Certificate) -> String {
    let end = Timestamp::from_second(certificate.not_after);
    end.map_or_else(
        |_| "beyond all time".into(),
        |end| end.strftime("%F").to_string(),
    )
}
