//! A session's place in the list, by which its task speaks of it.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::list::{SessionId, Sessions};
use super::{EndpointNumber, Session};
use crate::addr::mapped;
use crate::clock::Moment;
use crate::config::model::PinPrefix;
use crate::pool::placement::Subject;

/// A session's place in the list, held by its task.
#[derive(Debug)]
pub struct Seat {
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    id: SessionId,
}

impl Seat {
    pub(super) const fn new(sessions: Rc<Sessions>, session: Rc<Session>, id: SessionId) -> Self {
        Self {
            sessions,
            session,
            id,
        }
    }

    /// Starts a phase that may last `limit` without a byte, at most seven weeks; `None`: for ever.
    pub fn arm(&self, limit: Option<Duration>) {
        let limit = limit.map(|limit| {
            let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN)
        });
        self.session.touch(self.sessions.now());
        self.session.limit.set(limit);
        if let Some(deadline) = self.session.deadline() {
            self.sessions.schedule(self.id, &self.session, deadline);
        }
    }

    /// An interrupt was passed over. A deadline that came together with it was passed over as well, so the
    /// session is put on the wheel again.
    pub fn go_on_regardless(&self) {
        if let Some(deadline) = self.session.deadline() {
            self.sessions.schedule(self.id, &self.session, deadline);
        }
    }

    /// Bytes have passed. Reads the clock, which costs a hundredth of the system call that moved
    /// them, so that the ledger can tell a cut-off of milliseconds.
    fn mark_active(&self) -> Moment {
        let now = Moment::now();
        self.sessions.note_now(now);
        self.session.touch(now);
        now
    }

    /// Bytes have passed, none of them the node's.
    pub fn mark_asked(&self) {
        let now = self.mark_active();
        if self.session.asked_at.get() <= self.session.heard_at.get() {
            self.session.asked_at.set(now);
        }
    }

    /// Bytes have passed, some of them the node's: a client may go on talking to a dead node.
    pub fn mark_heard(&self) {
        let now = self.mark_active();
        self.session.heard_at.set(now);
        self.session.is_answered.set(true);
    }

    /// Its client is at `ip`. Clients are told apart by their prefix, since whoever has an IPv6 address has
    /// many.
    pub fn come_from(&self, ip: IpAddr, prefix: PinPrefix) {
        let client = Subject::of_client(ip, prefix);
        self.session.from.set(mapped(ip));
        let mut hasher = SipHasher13::new();
        client.hash(&mut hasher);
        let [_, _, _, _, a, b, c, d] = hasher.finish().to_be_bytes();
        self.session.client.set(u32::from_be_bytes([a, b, c, d]));
    }

    /// From here on it stands and falls with `endpoint`.
    pub fn bind(&self, endpoint: EndpointNumber) {
        self.session.endpoint.set(endpoint);
    }
}

impl std::ops::Deref for Seat {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.leave(self.id);
    }
}
