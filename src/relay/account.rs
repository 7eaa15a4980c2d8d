//! What is written down of a session: counters while it lives, a line when it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::inspection::Inspection;
use super::owner::Owner;
use super::pump::{Meter, Side};
use super::report::{Lost, Report};
use super::session::{Interrupt, Seat};
use super::{Context, Policy};
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::inspect::tls;
use crate::net::options::LegOptions;
use crate::partner::presence::Place;
use crate::partner::table::Known;
use crate::snapshot::{Endpoint, ListenerCounters};
use crate::telemetry::counters::EndpointSlot;
use crate::telemetry::outcome::Outcome;

mod tls_facts;

/// The account of one session. A session that ends without closing it has panicked.
#[derive(Debug)]
pub struct Account {
    context: Rc<Context>,
    policy: Rc<Policy>,
    client: Cell<ClientAddr>,
    owner: Owner,
    started: Moment,
    endpoint: RefCell<Option<Arc<Endpoint>>>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
    inspection: RefCell<Option<Box<Inspection>>>,
    /// Its partner's configured addresses say who it is.
    is_configured: Cell<bool>,
    presence: Cell<Presence>,
    /// As what its partner counts it, if it is one's.
    counted: Cell<Presence>,
    /// Whoever misses its partner was told that its node has left it.
    is_told_lost: Cell<bool>,
    is_open: Cell<bool>,
}

/// How a session counts in the presence of its partner, if it is one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Not at all: no node has answered it.
    None,
    /// As served by the endpoint it is bound to.
    Served,
    /// As left on an endpoint that is dead.
    Forsaken,
}

impl Account {
    /// Opens the account of a session from `client`.
    #[must_use]
    pub fn open(context: &Rc<Context>, policy: Rc<Policy>, client: ClientAddr) -> Self {
        let account = Self {
            context: Rc::clone(context),
            policy,
            client: Cell::new(client),
            owner: Owner::default(),
            started: Moment::now(),
            endpoint: RefCell::new(None),
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            inspection: RefCell::new(None),
            is_configured: Cell::new(false),
            presence: Cell::new(Presence::None),
            counted: Cell::new(Presence::None),
            is_told_lost: Cell::new(false),
            is_open: Cell::new(true),
        };
        account.slot().active.add(1);
        account
    }

    /// What its worker shares.
    #[must_use]
    pub fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// What it goes by.
    #[must_use]
    pub fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Where the client is.
    #[must_use]
    pub fn client(&self) -> ClientAddr {
        self.client.get()
    }

    /// A trusted proxy says that the client is elsewhere.
    pub fn announce(&self, client: ClientAddr) {
        self.client.set(client);
    }

    /// Who the client is, where configured.
    #[must_use]
    pub fn partner(&self) -> Option<Arc<Known>> {
        self.owner.get()
    }

    /// Whether the client is where its partner is configured to be: then it may have what only such clients have.
    pub fn set_configured(&self, is_configured: bool) {
        self.is_configured.set(is_configured);
    }

    /// Whether configured addresses say who the client is.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.is_configured.get()
    }

    /// Whether the client is a partner, whatever told so.
    #[must_use]
    pub fn is_partner(&self) -> bool {
        self.owner.is_known()
    }

    /// The client is this partner, whoever it was taken for before; whether that is news.
    pub fn recognise(&self, partner: &Arc<Known>) -> bool {
        if self.owner.is(&partner.name) {
            return false;
        }
        let presence = self.presence.replace(Presence::None);
        self.count_present();
        self.owner.set(partner);
        self.presence.set(presence);
        self.count_present();
        true
    }

    /// A node has answered it: its partner is there, if it is one's.
    pub fn appear(&self) {
        if self.presence.get() == Presence::None {
            self.presence.set(Presence::Served);
        }
        self.count_present();
    }

    /// Its node is dead, and it is left to end by itself.
    pub fn forsake(&self) {
        if self.presence.get() == Presence::Served {
            self.presence.set(Presence::Forsaken);
            self.count_present();
        }
    }

    /// Whether it was left on a node that is dead.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.presence.get() == Presence::Forsaken
    }

    /// Its node sends: one that was taken for dead is not.
    fn revive(&self) {
        if self.presence.get() == Presence::Forsaken {
            self.presence.set(Presence::Served);
            self.count_present();
        }
    }

    /// Counts it in its partner's presence as it stands, once it has one.
    fn count_present(&self) {
        let (Some(partner), Some(endpoint)) = (self.partner(), &*self.endpoint.borrow()) else {
            return;
        };
        let listener = self.policy.listener.state.number;
        let place = |presence| match presence {
            Presence::None => None,
            Presence::Served => Some(endpoint.number),
            Presence::Forsaken => Some(Place::FORSAKEN),
        };
        let place = |presence| place(presence).map(|endpoint| Place { listener, endpoint });
        let (worker, now) = (self.context.worker, self.context.sessions.now());
        let presence = self.presence.get();
        let before = self.counted.replace(presence);
        if before == presence {
            return;
        }
        if let Some(place) = place(presence) {
            partner.presence.begin(worker, place, now);
        }
        if let Some(place) = place(before) {
            partner.presence.end(worker, place, now);
        }
    }

    /// When the session began.
    #[must_use]
    pub fn started(&self) -> Moment {
        self.started
    }

    /// The session now stands and falls with `endpoint`.
    pub fn bind(&self, seat: &Seat, endpoint: &Arc<Endpoint>) {
        self.unbind();
        seat.bind(endpoint.number);
        endpoint.slot(self.context.worker).sessions.add(1);
        *self.endpoint.borrow_mut() = Some(Arc::clone(endpoint));
    }

    /// The session goes on without the endpoint it was bound to, until it is bound to another.
    pub fn leave(&self, seat: &Seat) {
        self.presence.set(Presence::None);
        self.count_present();
        self.unbind();
        seat.bind(0);
        self.is_told_lost.set(false);
    }

    /// The endpoint it is bound to.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.endpoint.borrow().as_ref().map(Arc::clone)
    }

    fn unbind(&self) {
        if let Some(endpoint) = self.endpoint.borrow_mut().take() {
            endpoint.slot(self.context.worker).sessions.subtract(1);
        }
    }

    /// The meter of its bytes.
    #[must_use]
    pub fn meter<'a>(&'a self, endpoint: &'a Endpoint) -> Counting<'a> {
        Counting {
            account: self,
            listener: self.slot(),
            endpoint: endpoint.slot(self.context.worker),
        }
    }

    /// Its node has finished in order, and the client is told now: a partner that comes again at once must be
    /// missed by then, or nobody would ask whether it is served.
    fn node_finishes(&self, seat: &Seat) {
        let outcome = Outcome::NodeClosed;
        if self.is_partner() && self.explained(outcome) == outcome {
            self.tell_lost(seat, outcome);
        }
    }

    /// A node at fault ended the session, or a dial of it, while it was bound to an endpoint. Told once.
    pub fn tell_lost(&self, seat: &Seat, outcome: Outcome) {
        if self.is_told_lost.replace(true) {
            return;
        }
        let ended = Moment::now();
        let Some(endpoint) = self.endpoint() else {
            return;
        };
        // Whoever is paced when it comes back is counted when it is lost.
        if !self.is_configured() {
            endpoint.pace.recovery().lose();
        }
        let Some(partner) = self.owner.name() else {
            return;
        };
        self.context.reports.send(Report::PartnerLost(Lost {
            partner,
            listener: Arc::clone(&self.policy.listener.state.name),
            endpoint: endpoint.number,
            node: Arc::clone(&endpoint.node),
            cut_off_since: seat.cut_off_since(ended),
            ended,
            active_at: seat.active_at(),
            outcome,
        }));
    }

    /// So many bytes have passed inside TLS that ends here.
    pub fn count_bytes(&self, up: u64, down: u64) {
        self.bytes_up.set(self.bytes_up.get() + up);
        self.bytes_down.set(self.bytes_down.get() + down);
        self.slot().bytes_up.add(up);
        self.slot().bytes_down.add(down);
    }

    /// The first bytes were sent again.
    pub fn count_replay(&self) {
        self.slot().replayed.add(1);
    }

    /// Ends the account.
    pub fn close(self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&self, outcome: Outcome) {
        self.is_open.set(false);
        self.stop_watching();
        let slot = self.slot();
        slot.active.subtract(1);
        if let Some(ended) = slot.ended.get(outcome.index()) {
            ended.add(1);
        }
        self.log(outcome);
        self.tell_history(outcome);
    }

    fn log(&self, outcome: Outcome) {
        let wanted = self.context.log_sessions.get().wants(self.is_partner());
        let is_trouble = matches!(
            outcome,
            Outcome::RefusedLimit | Outcome::Shortage | Outcome::NoNode | Outcome::DialFailed
        );
        if is_trouble && let Some(suppressed) = self.context.refusals.allow() {
            let (listener, client) = (&*self.policy.listener.state.name, self.client.get());
            let (outcome, partner) = (outcome.label(), self.owner.name());
            let partner = partner.as_deref();
            tracing::warn!(listener, %client, partner, outcome, suppressed, "session-refused");
        }
        if !wanted {
            return;
        }
        let listener = &*self.policy.listener.state.name;
        let partner = self.owner.name();
        let partner = partner.as_deref().unwrap_or("-");
        let endpoint = self.endpoint.borrow();
        let node = endpoint.as_ref().map_or("-", |endpoint| &*endpoint.node);
        let to = endpoint
            .as_ref()
            .map(|endpoint| tracing::field::display(endpoint.address));
        let age = Moment::now().since(self.started).as_secs_f64();
        let (up, down) = (self.bytes_up.get(), self.bytes_down.get());
        let tls = self.tls().unwrap_or_default();
        let version = tls.negotiated.or(tls.offered).map(tls::Version::label);
        let certificate = tls.certificate.as_deref();
        let alert = tls.alert.map(|(_, alert)| alert.name());
        let (label, blame) = (outcome.label(), outcome.blame().label());
        tracing::info!(
            target: "pinfold::session",
            listener, partner, client = %self.client.get(), node, to, tls = version, certificate, alert,
            age, up, down, outcome = label, blame,
            "session-end"
        );
    }

    fn slot(&self) -> &ListenerCounters {
        self.policy.listener.state.slot(self.context.worker)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_open.get() {
            self.settle(Outcome::InternalError);
        }
        self.presence.set(Presence::None);
        self.count_present();
        self.unbind();
    }
}

/// Counts a session's bytes where its worker counts, and notes when its node was asked and heard.
#[derive(Clone, Copy, Debug)]
pub struct Counting<'a> {
    account: &'a Account,
    listener: &'a ListenerCounters,
    endpoint: &'a EndpointSlot,
}

impl Meter for Counting<'_> {
    fn sent_up(&self, bytes: u64) {
        self.account
            .bytes_up
            .set(self.account.bytes_up.get() + bytes);
        self.listener.bytes_up.add(bytes);
        self.endpoint.ask(self.account.context.sessions.now());
    }

    fn came_down(&self, bytes: u64) {
        self.account
            .bytes_down
            .set(self.account.bytes_down.get() + bytes);
        self.listener.bytes_down.add(bytes);
        self.account.revive();
        self.endpoint.hear(self.account.context.sessions.now());
    }

    fn is_inspected(&self) -> bool {
        self.account.is_inspected()
    }

    fn inspect(&self, seat: &Seat, side: Side, bytes: &[u8]) -> bool {
        let side = match side {
            Side::Client => tls::Side::Client,
            Side::Node => tls::Side::Node,
        };
        let goes_on = self.account.inspect(side, bytes);
        // Perhaps it was recognised just now: then it goes on under its partner's pin.
        if !goes_on
            && !seat.is_partner()
            && let Some(partner) = self.account.partner()
        {
            seat.mark_partner(&partner);
            seat.interrupt(Interrupt::Named);
        }
        goes_on
    }

    fn node_finishes(&self, seat: &Seat) {
        self.account.node_finishes(seat);
    }

    fn lasted(&self, node: &TcpStream) {
        let options = LegOptions::from(&self.account.policy.listener.config);
        // A connection that refuses them is about to fail by itself.
        let _ = options.apply_lasting(node);
    }
}
