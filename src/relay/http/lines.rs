//! Connections of one client with nodes.
//!
//! A line is bound to its endpoint as a session is: it takes a place among the descriptors of the process, counts among
//! the node's sessions and ends when the node is found dead, drained or disabled. It serves one request at a time. When
//! its response has ended it is kept for the next request, for less than a minute: a node that closes idle connections
//! must not meet a request with it, and a node that drains is to be empty soon.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;

use super::body::RequestBody;
use super::held::Reading;
use super::visit::Visit;
use crate::config::model::OnNodeDown;
use crate::net::options::LegOptions;
use crate::relay::Policy;
use crate::relay::life::Undialled;
use crate::relay::placing::Failure;
use crate::relay::pump::Leg;
use crate::relay::session::{Interrupt, Seat};
use crate::snapshot::{Endpoint, Place};
use crate::telemetry::outcome::Outcome;
use crate::tls::Terms;

/// The lines of one client that wait for a request, and whether it is tied to one node.
#[derive(Debug)]
pub(super) struct Lines {
    idle: RefCell<Vec<Line>>,
    /// For requests that are under way at once.
    turns: Arc<Semaphore>,
    /// Number of the endpoint with which the client has authenticated its connection; 0: none.
    tied_to: Cell<u32>,
}

/// A connection with a node, ready for a request.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sender: http1::SendRequest<RequestBody>,
    endpoint: Arc<Endpoint>,
    pub(super) bond: Weak<Bond>,
    /// What its node has said and nobody has taken.
    pub(super) reading: Rc<Reading>,
}

/// What binds a line to its endpoint, as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Bond {
    seat: Seat,
    endpoint: Arc<Endpoint>,
    worker: usize,
    on_node_down: OnNodeDown,
    _place: Place,
}

impl Bond {
    fn new(visit: &Visit, policy: &Policy, endpoint: &Arc<Endpoint>, place: Place) -> Self {
        let listener = &policy.listener;
        let seat = visit.context.sessions.admit(listener.state.number);
        seat.bind(endpoint.number);
        let worker = visit.context.worker;
        endpoint.slot(worker).sessions.add(1);
        Self {
            seat,
            endpoint: Arc::clone(endpoint),
            worker,
            on_node_down: listener.config.on_node_down,
            _place: place,
        }
    }

    /// Waits for `future`, unless the node must be left first.
    pub(super) async fn guard<F: Future>(&self, future: F) -> Result<F::Output, Interrupt> {
        let mut future = pin!(future);
        loop {
            let result = self.seat.guard(future.as_mut()).await;
            match result {
                Err(Interrupt::Named) => {}
                Err(Interrupt::NodeDown) if self.on_node_down == OnNodeDown::Leave => {
                    self.seat.go_on_regardless();
                }
                result => return result,
            }
        }
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        self.endpoint.slot(self.worker).sessions.subtract(1);
    }
}

impl Lines {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            idle: RefCell::new(Vec::new()),
            turns: Arc::new(Semaphore::new(LINES_MAX as usize)),
            tied_to: Cell::new(0),
        }
    }

    /// Waits until one more request may have a line.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// The endpoint that the client's connection is tied to.
    pub(super) fn tied_to(&self) -> Option<u32> {
        Some(self.tied_to.get()).filter(|number| *number > 0)
    }

    /// The client has authenticated its connection with `endpoint`: nobody else may have its requests.
    pub(super) fn tie_to(&self, endpoint: u32) {
        self.tied_to.set(endpoint);
    }

    /// A line to `endpoint` that has no request.
    pub(super) fn take(&self, endpoint: u32) -> Option<Line> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|line| !line.sender.is_closed());
        let mut lines = idle.iter();
        let at = lines.position(|line| line.endpoint.number == endpoint)?;
        let line = idle.swap_remove(at);
        if let Some(bond) = line.bond.upgrade() {
            bond.seat.arm(None);
        }
        Some(line)
    }

    /// The response that came by `line` has ended. It is kept for the next request unless its node is to be emptied;
    /// whoever has authenticated it has it for as long as it lasts.
    pub(super) fn keep(&self, line: Line) {
        let number = line.endpoint.number;
        let is_tied = self.tied_to() == Some(number);
        let is_welcome = is_tied || line.endpoint.standing().keeps_pinned();
        let mut idle = self.idle.borrow_mut();
        if line.sender.is_closed() || !is_welcome || idle.len() >= KEPT_MAX {
            return;
        }
        if let Some(bond) = line.bond.upgrade() {
            bond.seat.arm(Some(KEPT).filter(|_| !is_tied));
            idle.push(line);
        }
    }
}

/// A new line to `endpoint`.
pub(super) async fn connect(
    visit: &Visit,
    policy: &Policy,
    endpoint: &Arc<Endpoint>,
) -> Result<Line, Undialled> {
    let Some(place) = visit.context.capacity.enter() else {
        return Err(Undialled::Over(Outcome::Shortage));
    };
    let bond = Rc::new(Bond::new(visit, policy, endpoint, place));
    let approach = visit.approach(policy, &bond.seat);
    approach
        .keep_pace(endpoint)
        .await
        .map_err(Undialled::Over)?;
    let termination = policy.listener.termination.as_ref();
    let nodes = termination.and_then(|terms| terms.nodes.as_ref());
    let leg = approach
        .connect(endpoint, nodes, &Terms::default(), &visit.header)
        .await?;
    // While it has a request, its client's deadlines are the only ones.
    bond.seat.arm(None);
    // What it needs only once it lasts: a line does. One that refuses is about to fail by itself.
    let _ = LegOptions::from(&policy.listener.config).apply_lasting(leg.socket());
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX);
    let reading = Rc::<Reading>::default();
    let leg = reading.of(leg);
    let shaken = builder.handshake(TokioIo::new(leg)).await;
    let (sender, connection) = shaken.map_err(|_| Undialled::Failed(Failure::Refused))?;
    let line = Line {
        sender,
        endpoint: Arc::clone(endpoint),
        bond: Rc::downgrade(&bond),
        reading: Rc::clone(&reading),
    };
    let context = Rc::clone(&visit.context);
    spawn_local(async move {
        let gear = &context.gear;
        let mut connection = pin!(connection.with_upgrades());
        let connection = poll_fn(|context| {
            reading.look_at_memory(gear);
            let polled = connection.as_mut().poll(context);
            reading.count(gear);
            polled
        });
        // Whoever waits for an answer is told by the end of the connection.
        if let Ok(Err(error)) = bond.guard(connection).await {
            tracing::debug!(node = %bond.endpoint.node, %error, "http-line-failed");
        }
    });
    Ok(line)
}

/// The largest head of a response that is taken from a node, and what is read of a body at once.
pub(super) const BUFFER_MAX: usize = 64 * 1024;
/// Lines with a request of one client: each takes a descriptor, and HTTP/2 may ask for a hundred things at once.
pub(super) const LINES_MAX: u32 = 16;
/// Lines of one client that wait for its next requests.
const KEPT_MAX: usize = 4;
/// Below the 75 s after which nginx closes an idle connection, and the 120 s of IIS.
const KEPT: Duration = Duration::from_secs(55);
