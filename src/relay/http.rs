//! HTTP inside TLS that ends here: each request to a node of its own choosing, over connections that belong to one
//! client.
//!
//! Owns the life of a client's connection: what it may send and how slowly, what passes, and why it ends. An
//! `exchange` is one request and its response, `lines` are the connections with nodes, `heads` says what is changed
//! on the way. Connections with nodes are never shared between clients: what a connection has authenticated (NTLM,
//! Negotiate) would be another client's. A client's session stands and falls with no node; its lines do.
//!
//! What waits for a slow reader is counted in the worker's memory (`held`). What waits for a node that is slow to take a
//! body is not: hyper wants the parts of requests to be `Send`, and what they would count in belongs to one thread.
//!
//! hyper frames both sides, so that nothing of a request's framing reaches a node as the client wrote it.
//!
//! Sources: RFC 9110 (7.6 forwarding), RFC 9112 (6.3 framing), RFC 9113, domain.md 1.5.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};

use self::exchange::exchange;
use self::held::Waiting;
use self::lines::LINES_MAX;
use self::observed::{Observed, Seen};
use self::visit::Visit;
use super::life::Life;
use super::session::{Interrupt, outcome_of};
use super::terminated::ClientStream;
use crate::clock::Moment;
use crate::config::model;
use crate::telemetry::outcome::Outcome;

mod affinity;
mod body;
mod exchange;
mod heads;
mod held;
mod lines;
mod observed;
mod page;
mod upgrade;
mod visit;

/// Serves the requests of one client until its connection ends.
pub(super) async fn serve(
    life: Life<'_>,
    terms: &model::Http,
    client: ClientStream,
    header: Vec<u8>,
) -> Outcome {
    let is_http_2 = client.get_ref().1.alpn_protocol() == Some(b"h2");
    let seen = Arc::<Seen>::default();
    let visit = Rc::new(Visit::new(life, header, Arc::clone(&seen)));
    let service = {
        let visit = Rc::clone(&visit);
        service_fn(move |request| exchange(Rc::clone(&visit), request))
    };
    let observed = TokioIo::new(Observed::new(client, Arc::clone(&seen), !is_http_2));
    let drive = Drive {
        life,
        visit: &visit,
        patience: terms.request_timeout,
    };
    if is_http_2 {
        let mut builder = http2::Builder::new(OnThisThread);
        builder.timer(TokioTimer::new());
        builder.max_concurrent_streams(STREAMS_MAX);
        builder.max_header_list_size(HEAD_MAX);
        builder.max_send_buf_size(SEND_MAX);
        // All requests together: one whose node does not read must not hold up the others.
        builder.initial_stream_window_size(WINDOW);
        builder.initial_connection_window_size(WINDOW * LINES_MAX);
        let connection = builder.serve_connection(observed, service);
        let shut = http2::Connection::graceful_shutdown;
        return drive.until_ended(connection, shut).await;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    // Its own deadline would also end a connection that is idle between requests.
    builder.header_read_timeout(None);
    builder.max_buf_size(HEAD_MAX as usize);
    builder.half_close(false);
    let connection = builder.serve_connection(observed, service).with_upgrades();
    let outcome = drive
        .until_ended(connection, http1::UpgradeableConnection::graceful_shutdown)
        .await;
    match visit.take_tunnel() {
        Some(tunnel) => {
            seen.become_tunnel();
            drive.until_ended(tunnel.carry(), |_| {}).await
        }
        None => outcome,
    }
}

/// The largest head of a request, in bytes.
const HEAD_MAX: u32 = 64 * 1024;
/// Requests of one connection at a time: fewer would be refused to clients that do not know the limit yet (RFC 9113
/// section 6.5.2).
const STREAMS_MAX: u32 = 100;
/// What of one request or response of HTTP/2 is taken before its receiver has taken more.
const WINDOW: u32 = 64 * 1024;
const SEND_MAX: usize = 32 * 1024;

/// What a client's connection is held to.
#[derive(Clone, Copy)]
struct Drive<'a> {
    life: Life<'a>,
    visit: &'a Visit,
    /// How long the head of a request may take.
    patience: Duration,
}

impl Drive<'_> {
    /// Moves the connection on until it ends, or the session is interrupted.
    async fn until_ended<F, E>(self, connection: F, shut: impl Fn(Pin<&mut F>)) -> Outcome
    where
        F: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let config = &self.life.policy().listener.config;
        self.life.seat.arm(config.idle_timeout);
        let mut connection = pin!(connection);
        let mut alarm = pin!(sleep(self.patience));
        let mut is_shut = false;
        let mut below = Waiting::default();
        poll_fn(|context| {
            while let Poll::Ready(interrupt) = self.life.seat.poll_interrupt(context) {
                // Who it is concerns the next session; its requests find their nodes one by one.
                if interrupt == Interrupt::Named {
                    continue;
                }
                // What has passed since the last look is known now.
                if interrupt == Interrupt::Deadline && self.account() {
                    self.life.seat.go_on_regardless();
                    continue;
                }
                return Poll::Ready(outcome_of(interrupt));
            }
            self.visit.look_at_memory();
            let polled = connection.as_mut().poll(context);
            self.account();
            below.are(self.visit.seen.below(), &self.visit.context.gear);
            match polled {
                Poll::Ready(Ok(())) => return Poll::Ready(Outcome::ClientClosed),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(client = %self.life.account.client(), %error, "http-connection-failed");
                    return Poll::Ready(Outcome::ClientReset);
                }
                Poll::Pending => {}
            }
            if self.visit.is_closing() && !std::mem::replace(&mut is_shut, true) {
                shut(connection.as_mut());
                context.waker().wake_by_ref();
            }
            let Some(begun) = self.visit.seen.head_begun() else {
                return Poll::Pending;
            };
            let left = (begun + self.patience).since(Moment::now());
            if left.is_zero() {
                return Poll::Ready(Outcome::FirstBytesTimeout);
            }
            let deadline = Instant::now() + left;
            if alarm.is_elapsed() || alarm.deadline() > deadline + SLACK {
                alarm.as_mut().reset(deadline);
            }
            match alarm.as_mut().poll(context) {
                Poll::Ready(()) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Counts what has passed since the last look; whether anything has.
    fn account(self) -> bool {
        let (up, down) = self.visit.seen.take_passed();
        let has_passed = up > 0 || down > 0;
        if has_passed {
            self.life.seat.mark_active();
            self.life.account.count_bytes(up, down);
        }
        has_passed
    }
}

/// An alarm may come so much late.
const SLACK: Duration = Duration::from_millis(100);

/// Runs what hyper has to run on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
