//! What becomes of a session whose client turns out to be a partner while it lasts.
//!
//! From then on it is the partner's in all things: listed, cut, moved and missed as such, under the partner's pin.
//! What was counted of it before stays a stranger's.

use std::net::IpAddr;
use std::sync::Arc;

use super::Life;
use crate::clock::Moment;
use crate::config::model::Pin;
use crate::partner::table::Known;
use crate::pool::pins::PinKey;
use crate::pool::placement::Subject;
use crate::relay::placing::Hold;
use crate::relay::report::{Report, Served};
use crate::relay::{Context, Policy};
use crate::snapshot::Endpoint;

impl Life<'_> {
    /// More is known of who is who than when the session began; whether that has named it.
    pub(in crate::relay) fn look_again(&self, hold: &mut Option<Hold>) -> bool {
        let was = self.account.partner();
        let (context, ip) = (self.context(), self.account.client().ip());
        let partners = context.names.partners();
        let recognition = &context.recognition;
        let found = recognition.recognise_anew(&partners, ip, was.as_deref(), Moment::now());
        if let Some((known, _)) = &found {
            self.seat.mark_partner(known);
            self.take_name(hold, false);
        }
        found.is_some()
    }

    /// Makes it the partner's that it was marked for, if it is not yet, or `was_told` just now.
    pub(in crate::relay) fn take_name(&self, hold: &mut Option<Hold>, was_told: bool) {
        let Some(known) = self.seat.partner() else {
            return;
        };
        let is_new = self.account.recognise(&known);
        if is_new {
            let partners = self.context().names.partners();
            let configured = partners.find(self.account.client().ip());
            let is_configured = configured.is_some_and(|configured| configured.name == known.name);
            self.account.set_configured(is_configured);
            self.account.appear();
        }
        let is_held = hold.as_ref().is_some_and(|hold| hold.is_of(&known.name));
        if (is_new || was_told) && !is_held {
            self.hold_as(&known, hold);
        }
    }

    /// The session lives under its partner's pin from here on, where partners are pinned by name.
    fn hold_as(&self, known: &Arc<Known>, hold: &mut Option<Hold>) {
        let ip = self.account.client().ip();
        let key = take_pin_along(self.context(), self.policy(), ip, known);
        let lease = key.and_then(|key| self.context().pins.lease(&key, Moment::now()));
        let held = lease.map(|lease| Hold::new(self.context(), lease));
        // Never under the pin of whoever it was taken for before; that of its address may be its own.
        if held.is_some() || hold.as_ref().is_some_and(Hold::is_of_partner) {
            *hold = held;
        }
    }

    fn is_held_by(&self, hold: &Hold) -> bool {
        let partner = self.account.partner();
        partner.is_some_and(|partner| hold.is_of(&partner.name))
    }

    /// It was named: who waits for the partner is told that it is served since it came.
    pub(in crate::relay) fn tell_named(&self, hold: Option<&Hold>) {
        if let Some(endpoint) = self.account.endpoint()
            && !self.account.is_forsaken()
        {
            let is_its = |hold: &&Hold| !hold.is_of_partner() || self.is_held_by(hold);
            let names = |hold: &Hold| hold.names(&endpoint.node, Moment::now());
            let is_home = hold.filter(is_its).is_some_and(names);
            self.tell_served(&endpoint, self.account.started(), is_home);
        }
    }

    /// A node serves it: whoever waits for its partner is told.
    pub(in crate::relay) fn tell_served(
        &self,
        endpoint: &Endpoint,
        first_byte: Moment,
        is_home: bool,
    ) {
        let reports = &self.context().reports;
        if let Some(partner) = self.account.partner()
            && reports.is_anybody_awaited()
        {
            reports.send(Report::PartnerServed(Served {
                partner: Arc::clone(&partner.name),
                listener: Arc::clone(&self.policy().listener.state.name),
                endpoint: endpoint.number,
                connected: self.account.started(),
                first_byte,
                is_home,
            }));
        }
    }
}

/// The client at `ip` has turned out to be `known`: a partner that has no pin takes that of the address along, unless
/// its table wants another node. The key of its pin, where it has one by name, as its listener pins by now.
pub(in crate::relay) fn take_pin_along(
    context: &Context,
    policy: &Policy,
    ip: IpAddr,
    known: &Known,
) -> Option<PinKey> {
    let (pins, now) = (&context.pins, Moment::now());
    let listener = context.names.listener(policy.listener.state.number);
    let listener = listener.as_ref().unwrap_or(&policy.listener);
    if (listener.config.pin, known.pin) != (Pin::Partner, Pin::Partner) {
        return None;
    }
    let address = Subject::of_client(ip, listener.config.pin_prefix);
    let from = PinKey::new(&listener.pin_scope, address);
    let to = PinKey::of_partner(&listener.pin_scope, &known.name);
    let is_left_behind = |node: Arc<str>| {
        let wanted = known.wants_instead_of(&node);
        wanted.is_some_and(|wanted| listener.position(wanted).is_some())
    };
    let is_free = pins.look_up(&to, now).is_none();
    if is_free && pins.look_up(&from, now).is_some_and(is_left_behind) {
        return None;
    }
    pins.rekey(&from, &to, now);
    Some(to)
}
