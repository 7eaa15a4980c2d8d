//! One socket of a worker that clients come to.

use std::io;
use std::rc::Rc;

use super::policies::Policies;
use crate::net::listen::Listening;
use crate::net::options::ListenOptions;
use crate::relay::Context;

mod datagram;
mod stream;

/// A socket that clients come to, until the door is closed.
#[derive(Debug)]
pub(super) enum Door {
    /// Which accepts connections.
    Stream(stream::Door),
    /// Which receives datagrams.
    Datagram(datagram::Door),
}

impl Door {
    pub(super) fn open(
        context: &Rc<Context>,
        policies: &Rc<Policies>,
        listener: u32,
        socket: Listening,
    ) -> io::Result<Self> {
        Ok(match socket {
            Listening::Stream(socket) => {
                Self::Stream(stream::Door::open(context, policies, listener, socket)?)
            }
            Listening::Datagram(socket) => {
                Self::Datagram(datagram::Door::open(context, policies, listener, socket)?)
            }
        })
    }

    /// Whoever comes from here on comes to another listener.
    pub(super) fn reassign(&self, listener: u32) {
        match self {
            Self::Stream(door) => door.reassign(listener),
            Self::Datagram(door) => door.reassign(listener),
        }
    }

    pub(super) fn adjust(&self, options: &ListenOptions) {
        match self {
            Self::Stream(door) => door.adjust(options),
            // What options there are concern connections.
            Self::Datagram(_) => {}
        }
    }

    /// Lets nobody new in until it is reassigned. Connections have sockets of their own, so that only a door for
    /// datagrams is worth keeping.
    pub(super) fn suspend(&self) {
        match self {
            Self::Stream(_) => {}
            Self::Datagram(door) => door.suspend(),
        }
    }

    /// Lets nobody in any more.
    pub(super) fn close(self) {
        match self {
            Self::Stream(door) => door.close(),
            Self::Datagram(door) => door.close(),
        }
    }
}
