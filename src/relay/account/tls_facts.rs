//! Watching a session's handshake, and what is made of it when nothing more can be learned.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Account;
use crate::clock::Moment;
use crate::inspect::tls::{Alert, Certificate, Facts, Handshake, Side, Version};
use crate::partner::learned::{Lesson, Spoken};
use crate::partner::table::Known;
use crate::relay::history::{Ended, Told};
use crate::relay::inspection::{Hello, Inspection, TlsFacts};
use crate::relay::life::take_pin_along;
use crate::relay::recognition::{Counted, What};
use crate::telemetry::outcome::Outcome;

impl Account {
    /// Begins to watch the handshake, of which the client has sent `first`, where the service has one.
    pub fn watch(&self, first: &[u8]) {
        let listener = &self.policy.listener;
        let is_watched = listener.config.service.speaks_tls() || listener.termination.is_some();
        // Plain text is told by its first byte, and costs nothing.
        if is_watched && first.first().is_none_or(|byte| !byte.is_ascii_graphic()) {
            *self.inspection.borrow_mut() = Some(Inspection::begin());
            self.inspect(Side::Client, first);
        }
    }

    /// Whether the handshake is watched.
    #[must_use]
    pub fn is_inspected(&self) -> bool {
        let inspection = self.inspection.borrow();
        inspection
            .as_ref()
            .is_some_and(|inspection| inspection.handshake.is_some())
    }

    /// `side` has sent `bytes`; whether there is more to be learned.
    pub fn inspect(&self, side: Side, bytes: &[u8]) -> bool {
        let mut inspection = self.inspection.borrow_mut();
        let Some(Inspection { handshake, facts }) = inspection.as_deref_mut() else {
            return false;
        };
        let Some(watched) = handshake else {
            return false;
        };
        watched.feed(side, bytes);
        facts.note_hello(watched.facts());
        if !watched.has_ended() {
            return true;
        }
        let ended = handshake.take();
        drop(inspection);
        if let Some(ended) = ended {
            self.conclude(ended.facts());
        }
        false
    }

    /// What is known of the client's hello.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let inspection = self.inspection.borrow();
        match inspection.as_deref() {
            Some(Inspection { facts, handshake }) => match (facts.offered, handshake) {
                (Some(offered), _) => Hello::Known(offered, facts.era),
                (None, Some(_)) => Hello::Awaited,
                (None, None) => Hello::None,
            },
            None => Hello::None,
        }
    }

    /// What is known of the handshake.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFacts> {
        let inspection = self.inspection.borrow();
        let facts = inspection.as_ref().map(|inspection| &inspection.facts);
        facts.filter(|facts| !facts.is_empty()).cloned()
    }

    /// `outcome`, or the alert that explains it.
    #[must_use]
    pub fn explained(&self, outcome: Outcome) -> Outcome {
        let is_an_end = matches!(
            outcome,
            Outcome::ClientClosed | Outcome::NodeClosed | Outcome::ClientReset | Outcome::NodeReset
        );
        match self.alert_from().filter(|_| is_an_end) {
            Some(Side::Client) => Outcome::TlsAlertClient,
            Some(Side::Node) => Outcome::TlsAlertNode,
            None => outcome,
        }
    }

    /// Who has ended the handshake by an alert.
    #[must_use]
    pub fn alert_from(&self) -> Option<Side> {
        let inspection = self.inspection.borrow();
        let alert = inspection.as_ref()?.facts.alert;
        alert.map(|(side, _)| side)
    }

    /// A handshake that `tls_min` would have refused.
    pub fn count_would_refuse(&self) {
        self.count(What::WouldRefuse);
    }

    /// Ends the watching, where it has not ended by itself.
    pub(super) fn stop_watching(&self) {
        if let Some(ended) = self.take_handshake() {
            self.conclude(ended.facts());
        }
    }

    /// The session has ended by `outcome`: whoever is of interest is told of.
    pub(super) fn tell_history(&self, outcome: Outcome) {
        let partner = self.owner.name();
        let is_of_interest = partner.is_some() || outcome.is_refusal();
        if !is_of_interest {
            return;
        }
        let node = self.endpoint().map(|endpoint| Arc::clone(&endpoint.node));
        let ended = Ended {
            partner,
            listener: Arc::clone(&self.policy.listener.state.name),
            client: self.client(),
            node,
            started: self.started,
            ended: Moment::now(),
            outcome,
            tls: self.tls(),
            up: self.bytes_up.get(),
            down: self.bytes_down.get(),
        };
        let told = Told::Ended(Box::new(ended));
        self.context.recognition.history.tell(told);
    }

    /// The handshake ended here: `version` was agreed, and the client has shown `certificate`, which is good.
    pub fn note_terminated(&self, version: Option<Version>, certificate: Option<Certificate>) {
        let Some(handshake) = self.take_handshake() else {
            return;
        };
        let mut facts = handshake.into_facts();
        facts.completed = true;
        facts.negotiated = version;
        facts.client_certificate = certificate.map(Box::new);
        self.conclude(&facts);
        // What was learned of an address may be somebody else's who comes from there; this is its own.
        if !self.is_configured()
            && let Some(certificate) = &facts.client_certificate
            && let Some(owner) = self.policy.partners.by_certificate(&certificate.names)
        {
            self.recognise(owner);
        }
    }

    /// The handshake was to end here, and `side` has ended it by `alert`.
    pub fn note_alert(&self, side: Side, alert: Alert) {
        let Some(handshake) = self.take_handshake() else {
            return;
        };
        let mut facts = handshake.into_facts();
        facts.alert = Some((side, alert));
        self.conclude(&facts);
    }

    fn take_handshake(&self) -> Option<Box<Handshake>> {
        self.inspection.borrow_mut().as_mut()?.handshake.take()
    }

    /// Nothing more can be learned of the handshake.
    fn conclude(&self, facts: &Facts) {
        let known = TlsFacts::from(facts);
        if facts.completed {
            self.learn(facts, &known);
        }
        if let Some(version) = known.negotiated {
            self.count(What::Session(version.label()));
        }
        if let Some((side, alert)) = known.alert {
            let side = match side {
                Side::Client => "client",
                Side::Node => "node",
            };
            self.count(What::Alert(side, alert.name()));
        }
        if let Some(partner) = self.owner.name()
            && !known.is_empty()
        {
            self.context.recognition.history.tell(Told::Handshake {
                partner,
                listener: Arc::clone(&self.policy.listener.state.name),
                node: self.endpoint().map(|endpoint| Arc::clone(&endpoint.node)),
                facts: known.clone(),
                ja4: facts.hello.as_ref().map(|hello| hello.ja4().into()),
                at: Moment::now(),
            });
        }
        let mut inspection = self.inspection.borrow_mut();
        match inspection.as_mut() {
            Some(inspection) if !known.is_empty() => inspection.facts = known,
            Some(_) | None => *inspection = None,
        }
    }

    fn learn(&self, facts: &Facts, known: &TlsFacts) {
        let learned = &self.context.recognition.learned;
        let (address, now) = (self.client().ip(), Moment::now());
        let spoken = Spoken {
            offered: known.offered.map_or(0, |version| version.0),
            negotiated: known.negotiated.map_or(0, |version| version.0),
        };
        match &facts.client_certificate {
            Some(certificate) => {
                let table = &self.policy.partners;
                let mut names = certificate.names.clone();
                // Few are kept, and these must be among them.
                names.sort_by_key(|name| table.owner(name).is_none());
                let lesson = learned.observe(address, &names, spoken, now);
                match table.find(address).or_else(|| table.named(address)) {
                    Some(trusted) => self.compare(trusted, certificate),
                    None => {
                        if !self.is_partner()
                            && let Some(owner) = table.by_certificate(&names)
                            && matches!(lesson, Lesson::New | Lesson::Renewed)
                        {
                            self.recognise(owner);
                            self.appear();
                            let _ = take_pin_along(
                                &self.context,
                                &self.policy,
                                self.client().ip(),
                                owner,
                            );
                            if lesson == Lesson::New {
                                self.context.recognition.turned_out.fetch_add(1, Relaxed);
                            }
                        }
                    }
                }
            }
            None if known.resumed => learned.renew(address, spoken, now),
            None => {}
        }
    }

    /// The configuration says who is at this address, and so does the certificate.
    fn compare(&self, configured: &Arc<Known>, certificate: &Certificate) {
        let table = &self.policy.partners;
        let mut owners = certificate
            .names
            .iter()
            .filter_map(|name| table.owner(name));
        let agrees = owners.any(|owner| owner.name == configured.name);
        if agrees || !configured.has_names {
            return;
        }
        self.count(What::NameDisagrees);
        if let Some(suppressed) = self.context.disagreements.allow() {
            let (partner, client) = (&*configured.name, self.client());
            let (certificate, listener) = (certificate.name(), &*self.policy.listener.state.name);
            tracing::warn!(
                listener,
                partner,
                %client,
                certificate,
                suppressed,
                remedy = "correct its addresses, or add the name to its certificate_names",
                "name-disagrees"
            );
        }
    }

    fn count(&self, what: What) {
        let counted = Counted {
            listener: Arc::clone(&self.policy.listener.state.name),
            partner: self.owner.name().unwrap_or_default(),
            what,
        };
        self.context
            .recognition
            .tally
            .add(self.context.worker, counted);
    }
}
