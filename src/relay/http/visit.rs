//! What the requests of one client connection share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::lines::{BUFFER_MAX, Lines};
use super::observed::Seen;
use super::upgrade::Tunnel;
use crate::addr::ClientAddr;
use crate::partner::table::Known;
use crate::relay::life::{Approach, Life};
use crate::relay::names::Today;
use crate::relay::placing::{Claimant, Hold};
use crate::relay::session::Seat;
use crate::relay::{Context, Policy};

/// One client's connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) context: Rc<Context>,
    pub(super) client: ClientAddr,
    partner: Option<Arc<Known>>,
    is_configured: bool,
    /// The PROXY header that nodes are to see.
    pub(super) header: Vec<u8>,
    pub(super) seen: Arc<Seen>,
    pub(super) lines: Lines,
    tunnel: RefCell<Option<Tunnel>>,
    /// On the pin of the client's address, where it has one.
    hold: RefCell<Option<Hold>>,
    policy: RefCell<Rc<Policy>>,
    is_closing: Cell<bool>,
}

impl Visit {
    pub(super) fn new(life: Life<'_>, header: Vec<u8>, seen: Arc<Seen>) -> Self {
        Self {
            context: Rc::clone(life.context()),
            client: life.account.client(),
            partner: life.account.partner(),
            is_configured: life.account.is_configured(),
            header,
            seen,
            lines: Lines::new(),
            tunnel: RefCell::default(),
            hold: RefCell::default(),
            policy: RefCell::new(Rc::clone(life.policy())),
            is_closing: Cell::new(false),
        }
    }

    /// What a request goes by that begins now: a connection may outlive many reloads, and its nodes. Once its listener
    /// is gone, or does not speak HTTP any more, the connection is to close.
    pub(super) fn policy_now(&self) -> Rc<Policy> {
        let mut known = self.policy.borrow_mut();
        match self.context.names.today(&known) {
            Today::Same => {}
            Today::Changed(now) if now.listener.http().is_some() => {
                *known = Rc::new(now);
            }
            Today::Changed(_) | Today::Gone => self.is_closing.set(true),
        }
        Rc::clone(&known)
    }

    /// Looks whether the memory of slow readers is used up; its client's connection goes by that.
    pub(super) fn look_at_memory(&self) -> bool {
        let is_scarce = !self.context.gear.memory().has_room(BUFFER_MAX);
        self.seen.note_scarce(is_scarce);
        is_scarce
    }

    /// Whether the client is to come again by another connection.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.get()
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
    pub(super) fn approach<'a>(&'a self, policy: &'a Policy, seat: &'a Seat) -> Approach<'a> {
        Approach {
            context: &self.context,
            policy,
            seat,
            client: self.client,
            is_configured: self.is_configured,
        }
    }

    /// Whether its requests leave lines in the log.
    pub(super) fn is_logged(&self) -> bool {
        let wanted = self.context.log_sessions.get();
        wanted.wants(self.partner.is_some())
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

    /// The connection becomes this tunnel once it is answered.
    pub(super) fn dig(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// The tunnel that the connection has become, if it has.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }
}
