//! What is written down of a session: counters while it lives, a line when it ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::pump::Meter;
use super::report::{Lost, Report};
use super::session::Seat;
use super::{Context, Policy};
use crate::addr::ClientAddr;
use crate::clock::Moment;
use crate::config::model::LogSessions;
use crate::partner::table::Known;
use crate::snapshot::{Endpoint, ListenerCounters};
use crate::telemetry::counters::EndpointSlot;
use crate::telemetry::outcome::Outcome;

/// The account of one session. A session that ends without closing it has panicked.
#[derive(Debug)]
pub struct Account {
    context: Rc<Context>,
    policy: Rc<Policy>,
    /// Where the client is.
    pub client: ClientAddr,
    /// Who it is, where configured.
    pub partner: Option<Arc<Known>>,
    /// When it began.
    pub started: Moment,
    endpoint: Option<Arc<Endpoint>>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
    is_open: bool,
}

impl Account {
    /// Opens the account of a session from `client`.
    #[must_use]
    pub fn open(context: &Rc<Context>, policy: &Rc<Policy>, client: ClientAddr) -> Self {
        let account = Self {
            context: Rc::clone(context),
            policy: Rc::clone(policy),
            client,
            partner: None,
            started: Moment::now(),
            endpoint: None,
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            is_open: true,
        };
        account.slot().active.add(1);
        account
    }

    /// The session now stands and falls with `endpoint`.
    pub fn bind(&mut self, seat: &Seat, endpoint: &Arc<Endpoint>) {
        self.unbind();
        seat.bind(endpoint.number);
        endpoint.slot(self.context.worker).sessions.add(1);
        self.endpoint = Some(Arc::clone(endpoint));
    }

    /// The endpoint it is bound to.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.endpoint.as_ref()
    }

    fn unbind(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
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

    /// A node at fault ended the session, or a dial of it, while it was bound to `endpoint`.
    pub fn tell_lost(&self, last_byte: Moment, outcome: Outcome) {
        if let (Some(partner), Some(endpoint)) = (&self.partner, &self.endpoint) {
            self.context.reports.send(Report::PartnerLost(Lost {
                partner: Arc::clone(&partner.name),
                listener: Arc::clone(&self.policy.listener.state.name),
                endpoint: endpoint.number,
                node: Arc::clone(&endpoint.node),
                last_byte,
                ended: Moment::now(),
                outcome,
            }));
        }
    }

    /// The first bytes were sent again.
    pub fn count_replay(&self) {
        self.slot().replayed.add(1);
    }

    /// Ends the account.
    pub fn close(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.is_open = false;
        let slot = self.slot();
        slot.active.subtract(1);
        if let Some(ended) = slot.ended.get(outcome.index()) {
            ended.add(1);
        }
        self.log(outcome);
        self.unbind();
    }

    fn log(&self, outcome: Outcome) {
        let wanted = match self.context.log_sessions.get() {
            LogSessions::Off => false,
            LogSessions::Partners => self.partner.is_some(),
            LogSessions::All => true,
        };
        if !wanted {
            return;
        }
        let listener = &*self.policy.listener.state.name;
        let partner = self.partner.as_ref().map_or("-", |partner| &*partner.name);
        let node = self
            .endpoint
            .as_ref()
            .map_or("-", |endpoint| &*endpoint.node);
        let to = self
            .endpoint
            .as_ref()
            .map(|endpoint| tracing::field::display(endpoint.address));
        let age = Moment::now().since(self.started).as_secs_f64();
        let (up, down) = (self.bytes_up.get(), self.bytes_down.get());
        let (label, blame) = (outcome.label(), outcome.blame().label());
        tracing::info!(
            target: "pinfold::session",
            listener, partner, client = %self.client, node, to, age, up, down,
            outcome = label, blame,
            "session-end"
        );
    }

    fn slot(&self) -> &ListenerCounters {
        self.policy.listener.state.slot(self.context.worker)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.is_open {
            self.settle(Outcome::InternalError);
        }
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
        self.endpoint.hear(self.account.context.sessions.now());
    }
}
