//! Bodies on their way.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::observed::InFlight;

/// What a node gets of a request.
pub(super) type RequestBody = Either<Patient, Empty<Bytes>>;

/// What a client gets.
pub(super) type ResponseBody = Guarded<Either<Incoming, Full<Bytes>>>;

/// A client's body, of which each part must come within a time.
#[derive(Debug)]
pub(super) struct Patient {
    inner: Incoming,
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Patient {
    pub(super) fn new(inner: Incoming, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            alarm: Box::pin(sleep(patience)),
        }
    }
}

/// A client's body does not come.
#[derive(Debug)]
pub(super) enum Broken {
    /// No part of it for `request_timeout`.
    Slow,
    /// The connection with the client has failed.
    Failed(hyper::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => formatter.write_str("the client's body came too slowly"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            let next = Instant::now() + self.patience;
            self.alarm.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::Failed)));
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(Broken::Slow)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body; its request is under way until the body has ended.
#[derive(Debug)]
pub(super) struct Guarded<B> {
    inner: B,
    _guard: InFlight,
}

impl<B> Guarded<B> {
    pub(super) fn new(inner: B, guard: InFlight) -> Self {
        Self {
            inner,
            _guard: guard,
        }
    }
}

impl<B: Body + Unpin> Body for Guarded<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
