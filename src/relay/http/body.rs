//! Bodies on their way.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::held::{Part, Queue};
use super::lines::Line;
use super::observed::InFlight;
use super::visit::Visit;

/// What a node gets of a request.
pub(super) type RequestBody = Either<Patient, Empty<Bytes>>;

/// What a client gets.
pub(super) type ResponseBody = Guarded<Either<Incoming, Full<Bytes>>>;

/// A client's body, of which each part must come within a time.
#[derive(Debug)]
pub(super) struct Patient {
    inner: Incoming,
    patience: Duration,
    /// While a part is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    /// It is sent on in chunks, behind which its trailers have a place.
    has_trailers: bool,
}

impl Patient {
    pub(super) const fn new(inner: Incoming, patience: Duration, has_trailers: bool) -> Self {
        Self {
            inner,
            patience,
            alarm: None,
            has_trailers,
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
            self.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::Failed)));
        }
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(Broken::Slow)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.has_trailers {
            true => SizeHint::default(),
            false => self.inner.size_hint(),
        }
    }
}

/// A line that is lent to a response until it has ended, and the turn that it takes.
type Lent = (Line, Option<OwnedSemaphorePermit>);

/// A response's body; its request is under way until the body has ended, and so is the line that it comes by.
#[derive(Debug)]
pub(super) struct Guarded<B: Body> {
    inner: B,
    has_ended: bool,
    visit: Rc<Visit>,
    line: Option<Lent>,
    /// What its reader has not got.
    queue: Rc<Queue>,
    _guard: InFlight,
}

impl<B: Body> Guarded<B> {
    pub(super) fn new(inner: B, visit: Rc<Visit>, guard: InFlight, line: Option<Lent>) -> Self {
        Self {
            inner,
            has_ended: false,
            visit,
            line,
            queue: Rc::default(),
            _guard: guard,
        }
    }
}

impl<B: Body> Drop for Guarded<B> {
    fn drop(&mut self) {
        let has_ended = self.has_ended || self.inner.is_end_stream();
        if let Some((line, _turn)) = self.line.take().filter(|_| has_ended) {
            line.reading.take_all(&self.visit.context.gear);
            self.visit.lines.keep(line);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Guarded<B> {
    type Data = Part;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Part>, B::Error>>> {
        let is_scarce = self.visit.look_at_memory();
        if is_scarce {
            ready!(self.queue.poll_empty(context));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let (gear, queue) = (&self.visit.context.gear, &self.queue);
        let reading = self.line.as_ref().map(|(line, _)| &*line.reading);
        if let (Poll::Pending, Some(reading)) = (&polled, reading) {
            reading.take_all(gear);
        }
        let frame = ready!(polled);
        let held = |bytes: Bytes| {
            if let Some(reading) = reading {
                reading.take(bytes.len(), gear);
            }
            Part::new(bytes, is_scarce, gear, queue)
        };
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(held)));
        self.has_ended |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
