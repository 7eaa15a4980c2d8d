//! Addresses of `view`: opened at the start and by reloads, given up by reloads and at the stop.
//!
//! Invariant: an address that stays is never reopened. Who may use the TCP ones is asked of the snapshot in
//! force, client by client, so that a reload changes it at once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::connection::{Gate, Realm};
use super::{Socket, bind_unix};
use crate::config::model::{Config, View};
use crate::confine::files::{self, Wish};
use crate::control::Shared;
use crate::control::error::StartError;
use crate::net::listen::{self, Listening, Local, Transport};
use crate::net::options::{LegOptions, ListenOptions};

/// Those that are open.
#[derive(Debug, Default)]
pub(in crate::control) struct Views(Vec<Open>);

#[derive(Debug)]
struct Open {
    configured: View,
    /// With a port 0 resolved.
    bound: View,
    accepting: AbortHandle,
}

/// What is to be open; the sockets that were bound for it close when it is dropped.
#[derive(Debug)]
pub(in crate::control) struct Prepared {
    wanted: Vec<View>,
    opened: Vec<(View, Socket)>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for (_, socket) in &self.opened {
            if let Socket::Unix(_, path) = socket {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Views {
    /// Binds what is new in `config`. Nothing that answers has changed when this fails.
    pub(in crate::control) fn prepare(&self, config: &Config) -> Result<Prepared, StartError> {
        let mut prepared = Prepared {
            wanted: config.server.view.clone(),
            opened: Vec::new(),
        };
        for view in &config.server.view {
            if self.0.iter().any(|open| open.configured == *view) {
                continue;
            }
            let socket = bind(view, config.server.freebind).map_err(|cause| StartError::View {
                place: view.to_string(),
                remedy: remedy(view, &cause),
                cause,
            })?;
            prepared.opened.push((view.clone(), socket));
        }
        Ok(prepared)
    }

    /// Puts `prepared` in force: from here on nothing fails. To be called within the runtime that serves them.
    pub(in crate::control) fn commit(&mut self, mut prepared: Prepared, shared: &Arc<Shared>) {
        let is_given_up = |open: &mut Open| !prepared.wanted.contains(&open.configured);
        for open in self.0.extract_if(.., is_given_up) {
            open.close();
        }
        for (configured, socket) in prepared.opened.drain(..) {
            let (realm, bound) = match &socket {
                Socket::Unix(_, path) => (Realm::Reading, View::Unix(path.clone())),
                Socket::Tcp(listener) => {
                    let address = listener.local_addr().map(View::Tcp);
                    (
                        Realm::Readiness,
                        address.unwrap_or_else(|_| configured.clone()),
                    )
                }
            };
            tracing::info!(view = %bound, "the admin API can be read");
            let gate = Gate::new(Arc::clone(shared), realm);
            self.0.push(Open {
                configured,
                bound,
                accepting: tokio::spawn(gate.accept(socket)).abort_handle(),
            });
        }
        let addresses = self.0.iter().map(|open| open.bound.to_string());
        shared.views.addresses.store(Arc::new(addresses.collect()));
    }

    /// Closes them all.
    pub(in crate::control) fn close(&mut self) {
        self.0.drain(..).for_each(Open::close);
    }
}

/// What helps where the file of a socket cannot be made.
fn remedy(view: &View, cause: &io::Error) -> Option<&'static str> {
    match view {
        View::Unix(path) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let ours = files::remedy(path, Wish::Listen, cause);
            Some(ours.unwrap_or("let the user that pinfold runs as write to its folder"))
        }
        View::Unix(_) | View::Tcp(_) => None,
    }
}

impl Open {
    /// Whoever is being answered is still answered.
    fn close(self) {
        self.accepting.abort();
        if let View::Unix(path) = self.bound {
            let _ = fs::remove_file(path);
        }
    }
}

fn bind(view: &View, freebind: bool) -> io::Result<Socket> {
    match view {
        View::Unix(path) => {
            let listener = bind_unix(path)?;
            Ok(Socket::Unix(listener, PathBuf::clone(path)))
        }
        View::Tcp(address) => {
            let local = Local {
                transport: Transport::Tcp,
                address: *address,
            };
            let options = ListenOptions {
                leg: LegOptions {
                    keepalive: None,
                    user_timeout: None,
                },
                defer_accept: false,
                freebind,
            };
            let sockets = listen::bind(local, 1, &options)?.sockets;
            let streams = sockets.into_iter().find_map(|socket| match socket {
                Listening::Stream(listener) => Some(listener),
                Listening::Datagram(_) => None,
            });
            let listener = streams.ok_or_else(|| io::Error::other("no socket"))?;
            TcpListener::from_std(listener).map(Socket::Tcp)
        }
    }
}
