//! One listening socket of a worker, and the loop that accepts on it.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Policies;
use crate::addr::ClientAddr;
use crate::net::accept::{Observer, accept, take_waiting};
use crate::net::options::{ListenOptions, reset_on_close};
use crate::relay::{Context, tcp};
use crate::telemetry::log::Limiter;

/// A socket that is accepted on, until the door is closed.
#[derive(Debug)]
pub(in crate::worker) struct Door {
    entrance: Rc<Entrance>,
    // Dropped before the stop is seen, because the loop runs on this thread.
    socket: Rc<tokio::net::TcpListener>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Entrance {
    listener: Cell<u32>,
    context: Rc<Context>,
    policies: Rc<Policies>,
    limiter: Limiter,
}

impl Door {
    pub(super) fn open(
        context: &Rc<Context>,
        policies: &Rc<Policies>,
        listener: u32,
        socket: TcpListener,
    ) -> io::Result<Self> {
        let socket = Rc::new(tokio::net::TcpListener::from_std(socket)?);
        let entrance = Rc::new(Entrance {
            listener: Cell::new(listener),
            context: Rc::clone(context),
            policies: Rc::clone(policies),
            limiter: Limiter::default(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (loop_entrance, loop_socket) = (Rc::clone(&entrance), Rc::clone(&socket));
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = accept(&loop_socket, &*loop_entrance) => {}
                _ = stopped => {
                    // Whoever waits in the queue has been promised a session by the kernel. The door
                    // has let go of the socket, so this is the last reference.
                    if let Ok(socket) = Rc::try_unwrap(loop_socket) {
                        take_waiting(socket, &*loop_entrance);
                    }
                }
            }
        });
        Ok(Self {
            entrance,
            socket,
            _stop: stop,
        })
    }

    pub(super) fn reassign(&self, listener: u32) {
        self.entrance.listener.set(listener);
    }

    pub(super) fn adjust(&self, options: &ListenOptions) {
        if let Err(error) = options.apply(&*self.socket) {
            tracing::warn!(%error, "cannot change the options of a listening socket");
        }
    }

    /// Empties the queue and closes the socket.
    pub(super) fn close(self) {
        let Self {
            entrance,
            socket,
            _stop,
        } = self;
        drop((entrance, socket));
    }
}

impl Observer for Entrance {
    fn accepted(&self, stream: TcpStream, client: ClientAddr) {
        match self.policies.of(self.listener.get()) {
            Some(policy) => tcp::welcome(&self.context, policy, stream, client),
            // Reloads that removed the listener were faster than this client.
            None => reset_on_close(&stream),
        }
    }

    fn short(&self, error: &io::Error, pause: Duration) {
        if let Some(suppressed) = self.limiter.allow() {
            tracing::warn!(%error, ?pause, suppressed, "cannot accept for now");
        }
    }
}
