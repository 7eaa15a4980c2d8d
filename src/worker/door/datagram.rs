//! A socket that receives datagrams. Its flows outlive the door: they come to their end over the same socket.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;

use tokio::task::spawn_local;

use super::Policies;
use crate::relay::udp::{self, Flows};
use crate::relay::{Context, Policy};

pub(in crate::worker) struct Door {
    flows: Rc<Flows<Entrance>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

struct Entrance {
    /// None: nobody new is let in.
    listener: Cell<Option<u32>>,
    policies: Rc<Policies>,
}

impl Door {
    pub(super) fn open(
        context: &Rc<Context>,
        policies: &Rc<Policies>,
        listener: u32,
        socket: UdpSocket,
    ) -> io::Result<Self> {
        let entrance = Entrance {
            listener: Cell::new(Some(listener)),
            policies: Rc::clone(policies),
        };
        let flows = Flows::open(context, socket, entrance)?;
        spawn_local(Rc::clone(&flows).serve());
        Ok(Self { flows })
    }

    pub(super) fn reassign(&self, listener: u32) {
        self.flows.entrance().listener.set(Some(listener));
    }

    pub(super) fn suspend(&self) {
        self.flows.entrance().listener.set(None);
    }

    pub(super) fn close(self) {
        self.flows.close();
    }
}

impl udp::Entrance for Entrance {
    fn policy(&self) -> Option<Rc<Policy>> {
        self.policies.of(self.listener.get()?)
    }
}
