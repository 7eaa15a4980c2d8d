//! Connections of the admin API: accepted, bounded, answered once.
//!
//! The API shares control's thread, so nothing here blocks, and a client that is slow or hostile
//! costs one of a few dozen places for a limited time. One request for each connection: a limit on
//! the life of the connection is then a limit on the request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::asker::Asker;
use super::refusal::Refusal;
use super::{Socket, guard, routes};
use crate::control::Shared;

/// Accepts for ever.
pub(super) async fn accept(socket: Socket, shared: Arc<Shared>) {
    let gate = Gate {
        router: routes::router(Arc::clone(&shared)),
        shared,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    match socket {
        Socket::Unix(listener, _) => gate.accept_unix(listener).await,
        Socket::Tcp(listener) => gate.accept_tcp(listener).await,
    }
}

struct Gate {
    router: Router,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

impl Gate {
    async fn accept_unix(self, listener: UnixListener) {
        loop {
            let Some(place) = self.place().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(credentials) => self.spawn(stream, Asker::local(&credentials), place),
                    Err(error) => tracing::debug!(%error, "an admin client without credentials"),
                },
                Err(error) => rest(&error).await,
            }
        }
    }

    async fn accept_tcp(self, listener: TcpListener) {
        let port = listener.local_addr().map_or(0, |address| address.port());
        loop {
            let Some(place) = self.place().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, peer)) => self.spawn(stream, Asker::Tcp(peer, port), place),
                Err(error) => rest(&error).await,
            }
        }
    }

    /// A place for one more connection; who comes while there is none waits in the kernel's queue.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn spawn<S>(&self, stream: S, asker: Asker, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, shared) = (self.router.clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                answer(router.clone(), Arc::clone(&shared), asker.clone(), request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an admin client went away"),
                Err(_) => tracing::debug!("an admin client was too slow"),
            }
        });
    }
}

/// Admits the request, and hands it to its route.
async fn answer(
    router: Router,
    shared: Arc<Shared>,
    asker: Asker,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Asker::Tcp(_, port) = asker {
        let (method, headers) = (request.method(), request.headers());
        if let Err(error) = guard::admit(method, headers, port, shared.token.as_deref()) {
            return Ok(Refusal::forbidden(&error).into());
        }
    }
    request.extensions_mut().insert(asker);
    TowerToHyperService::new(router).call(request).await
}

/// Out of descriptors or memory: trying again at once would only burn the thread.
async fn rest(error: &std::io::Error) {
    tracing::warn!(%error, "the admin API cannot accept");
    sleep(ACCEPT_PAUSE).await;
}

/// Enough for every tool that watches, few enough to mean nothing beside the sessions.
const CONNECTIONS_MAX: usize = 48;
/// Local clients send a head at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// A reload of the largest configuration fits with room to spare.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 64;
/// Of a body, what is held at once; how long it may be is the route's.
const HEAD_MAX: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
