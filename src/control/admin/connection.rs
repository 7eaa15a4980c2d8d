//! Connections of the admin API: accepted, bounded, answered once.
//!
//! The API shares control's thread, so nothing here blocks, and a client that is slow or hostile
//! costs one of a few dozen places for a limited time, and gives it up for the next one if it has not asked
//! anything yet. One request for each connection: a limit on the life of the connection is then a limit on
//! the request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::asker::Asker;
use super::guard::Forbidden;
use super::refusal::Refusal;
use super::{Socket, guard, routes};
use crate::control::Shared;
use crate::telemetry::log::Limiter;

/// What can be had at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Realm {
    /// All of the admin API.
    Everything,
    /// All that can be read of it.
    Reading,
    /// Whether clients are served, and figures, for those whom `view_from` names.
    Readiness,
}

/// One socket, with room of its own: nobody at another one can take it.
pub(super) struct Gate {
    realm: Realm,
    router: Router,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    silent: Arc<Silent>,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, realm: Realm) -> Self {
        let state = Arc::clone(&shared);
        let (router, places) = match realm {
            Realm::Everything => (routes::router(state), CONNECTIONS_MAX),
            Realm::Reading => (routes::router(state), VIEW_CONNECTIONS_MAX),
            Realm::Readiness => (routes::readiness(state), VIEW_CONNECTIONS_MAX),
        };
        Self {
            realm,
            router,
            shared,
            places: Arc::new(Semaphore::new(places)),
            silent: Arc::default(),
        }
    }

    /// Accepts for ever.
    pub(super) async fn accept(self, socket: Socket) {
        match socket {
            Socket::Unix(listener, _) => self.accept_unix(listener).await,
            Socket::Tcp(listener) => self.accept_tcp(listener).await,
        }
    }

    async fn accept_unix(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(credentials) => self.seat(stream, Asker::local(&credentials)).await,
                    Err(error) => tracing::debug!(%error, "an admin client without credentials"),
                },
                Err(error) => rest(&error).await,
            }
        }
    }

    async fn accept_tcp(self, listener: TcpListener) {
        let port = listener.local_addr().map_or(0, |address| address.port());
        let strangers = Limiter::default();
        loop {
            match listener.accept().await {
                Ok((_, peer)) if !self.admits(peer.ip(), &strangers) => {}
                Ok((stream, peer)) => self.seat(stream, Asker::Tcp(peer, port)).await,
                Err(error) => rest(&error).await,
            }
        }
    }

    /// Whether somebody may connect; who may not is counted, and told.
    fn admits(&self, ip: IpAddr, strangers: &Limiter) -> bool {
        let ip = ip.to_canonical();
        let is_admitted = match self.realm {
            Realm::Everything | Realm::Reading => true,
            Realm::Readiness => {
                let snapshot = self.shared.snapshot.load();
                let from = &snapshot.config.server.view_from;
                guard::may_look(ip, from)
            }
        };
        if !is_admitted {
            self.shared.views.refused.fetch_add(1, Relaxed);
            if let Some(suppressed) = strangers.allow() {
                tracing::warn!(client = %ip, suppressed, "view-refused: view_from does not name this client");
            }
        }
        is_admitted
    }

    /// Serves a client on a task of its own, once it has a place. Where all are taken, whoever has been
    /// silent for longest gives up its own; where all have asked something, the client waits.
    async fn seat<S>(&self, stream: S, asker: Asker)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let places = || Arc::clone(&self.places);
        if let Ok(place) = places().try_acquire_owned() {
            return self.spawn(stream, asker, place);
        }
        self.silent.dismiss_oldest();
        if let Ok(place) = places().acquire_owned().await {
            self.spawn(stream, asker, place);
        }
    }

    fn spawn<S>(&self, stream: S, asker: Asker, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, shared) = (self.router.clone(), Arc::clone(&self.shared));
        let realm = self.realm;
        let (number, dismissed) = self.silent.enter();
        let silent = Arc::clone(&self.silent);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                silent.leave(number);
                let admitted = admit(realm, &asker, &shared, &request);
                answer(router.clone(), admitted, asker.clone(), request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_MAX)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                served = timeout(CONNECTION_TIMEOUT, connection) => match served {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an admin client went away"),
                    Err(_) => tracing::debug!("an admin client was too slow"),
                },
                Ok(()) = dismissed => tracing::debug!("a silent admin client gave its place to another"),
            }
            silent.leave(number);
        });
    }
}

/// Clients that have not asked anything yet, the oldest first.
#[derive(Debug, Default)]
struct Silent(Mutex<(u64, BTreeMap<u64, oneshot::Sender<()>>)>);

impl Silent {
    /// A client comes; by what it leaves again, and what tells it to go.
    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (tell, dismissed) = oneshot::channel();
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.0 += 1;
        let number = silent.0;
        silent.1.insert(number, tell);
        (number, dismissed)
    }

    /// It has asked something, or is gone. Dropping its sender dismisses nobody.
    fn leave(&self, number: u64) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.1.remove(&number);
    }

    fn dismiss_oldest(&self) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tell)) = silent.1.pop_first() {
            // It may be going by itself.
            let _ = tell.send(());
        }
    }
}

/// Whether a request may go on to its route.
fn admit(
    realm: Realm,
    asker: &Asker,
    shared: &Shared,
    request: &Request<Incoming>,
) -> Result<(), Forbidden> {
    let (method, headers) = (request.method(), request.headers());
    match (realm, asker) {
        (Realm::Everything, Asker::Local(_)) => Ok(()),
        (Realm::Everything, Asker::Tcp(_, port)) => {
            guard::admit(method, headers, *port, shared.token.as_deref())
        }
        (Realm::Reading | Realm::Readiness, _) => {
            guard::only_read(method, headers, request.uri().path())
        }
    }
}

/// Hands the request to its route, if it was admitted.
async fn answer(
    router: Router,
    admitted: Result<(), Forbidden>,
    asker: Asker,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Err(error) = admitted {
        return Ok(Refusal::forbidden(&error).into());
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
/// Of each address of `view`, of which there are few: monitoring asks one thing at a time.
const VIEW_CONNECTIONS_MAX: usize = 16;
/// Local clients send a head at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// A reload of the largest configuration fits with room to spare.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 64;
/// Of a body, what is held at once; how long it may be is the route's.
const HEAD_MAX: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
