//! What the requests of one client connection share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};

use super::lines::Lines;
use super::observed::Seen;
use crate::addr::ClientAddr;
use crate::config::model::{self, LogSessions};
use crate::partner::table::Known;
use crate::relay::life::{Approach, Life};
use crate::relay::placing::{Claimant, Hold};
use crate::relay::session::Seat;
use crate::relay::{Context, Policy};
use crate::snapshot::Termination;

/// One client's connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) context: Rc<Context>,
    pub(super) policy: Rc<Policy>,
    pub(super) terms: model::Http,
    pub(super) client: ClientAddr,
    partner: Option<Arc<Known>>,
    is_configured: bool,
    /// The PROXY header that nodes are to see.
    pub(super) header: Vec<u8>,
    pub(super) seen: Arc<Seen>,
    pub(super) lines: Lines,
    tunnel: RefCell<Option<JoinHandle<()>>>,
    /// On the pin of the client's address, where it has one.
    hold: RefCell<Option<Hold>>,
}

impl Visit {
    pub(super) fn new(
        life: Life<'_>,
        terms: &model::Http,
        header: Vec<u8>,
        seen: Arc<Seen>,
    ) -> Self {
        Self {
            context: Rc::clone(life.context()),
            policy: Rc::clone(life.policy()),
            terms: terms.clone(),
            client: life.account.client(),
            partner: life.account.partner(),
            is_configured: life.account.is_configured(),
            header,
            seen,
            lines: Lines::default(),
            tunnel: RefCell::default(),
            hold: RefCell::default(),
        }
    }

    /// Who claims a node.
    pub(super) fn claimant(&self) -> Claimant<'_> {
        Claimant {
            client: self.client.ip(),
            partner: self.partner.as_ref(),
            looks_legacy: false,
        }
    }

    /// How a node is reached whose wait ends with `seat`.
    pub(super) fn approach<'a>(&'a self, seat: &'a Seat) -> Approach<'a> {
        Approach {
            context: &self.context,
            policy: &self.policy,
            seat,
            client: self.client,
            is_configured: self.is_configured,
        }
    }

    /// What ended the client's TLS.
    pub(super) fn termination(&self) -> Option<&Termination> {
        self.policy.listener.termination.as_ref()
    }

    /// Whether its requests leave lines in the log.
    pub(super) fn is_logged(&self) -> bool {
        match self.context.log_sessions.get() {
            LogSessions::Off => false,
            LogSessions::Partners => self.partner.is_some(),
            LogSessions::All => true,
        }
    }

    /// The name of the partner it is, if it is one.
    pub(super) fn partner(&self) -> Option<&str> {
        self.partner.as_ref().map(|partner| &*partner.name)
    }

    /// The pin by which its last node was found is held until the client is gone.
    pub(super) fn hold(&self, hold: Option<Hold>) {
        if hold.is_some() {
            *self.hold.borrow_mut() = hold;
        }
    }

    /// What the connection has become a tunnel of.
    pub(super) fn dig(&self, tunnel: JoinHandle<()>) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// The tunnel that the connection has become, if it has; whoever has it lets go of it by dropping it.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take().map(Tunnel)
    }
}

/// Two upgraded connections and the task that joins them, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Tunnel(JoinHandle<()>);

impl Future for Tunnel {
    type Output = Result<(), JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.abort();
    }
}
