//! Who comes, and whether it may.

use std::sync::Arc;

use super::{Life, suspicion};
use crate::clock::Moment;
use crate::config::model::Allow;
use crate::partner::table::Known;
use crate::relay::recognition::KnownBy;
use crate::snapshot::{Access, Place, Ticket};
use crate::telemetry::outcome::Outcome;

/// A client that may come in.
#[derive(Debug)]
pub(in crate::relay) struct Entry {
    /// Its place within the limits.
    pub(in crate::relay) ticket: Ticket,
    /// The turn of the names by which it was recognised.
    pub(in crate::relay) turn: u64,
    /// The partner that it is by configuration.
    pub(in crate::relay) configured: Option<Arc<Known>>,
}

impl Life<'_> {
    /// Recognises the client, and lets it in if it is allowed and there is room. Whoever needs descriptors has a
    /// `place`.
    pub(in crate::relay) fn enter(self, place: Option<Place>) -> Result<Entry, Outcome> {
        let Self { seat, account } = self;
        let (context, policy) = (self.context(), self.policy());
        let (config, ip) = (&policy.listener.config, account.client().ip());
        seat.come_from(ip, config.pin_prefix);
        let turn = context.names.turn();
        // By the names of that turn: the policy may be older, where the client was slow to say who it is.
        let recognised = context.names.with_partners(|partners| {
            let recognition = &context.recognition;
            recognition.recognise(partners, ip, Moment::now())
        });
        if let Some((partner, _)) = &recognised {
            account.recognise(partner);
            seat.mark_partner(partner);
        }
        // What DNS says and what was learned only places: it neither lets in nor turns away.
        let configured = recognised.filter(|(_, by)| *by == KnownBy::Address);
        let configured = configured.map(|(partner, _)| partner);
        account.set_configured(configured.is_some());
        let access = Access::of(&config.allow, ip, configured.as_ref());
        if access == Access::NotAllowed && config.allow == Allow::Partners {
            suspicion::tell(self, ip);
        }
        if access != Access::Granted {
            return Err(Outcome::RefusedAccess);
        }
        let admission = &policy.listener.state.admission;
        let ticket = admission
            .enter(config, place, ip, configured.is_some())
            .ok_or(Outcome::RefusedLimit)?;
        Ok(Entry {
            ticket,
            turn,
            configured,
        })
    }
}
