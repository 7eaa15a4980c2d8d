//! Connections of one client with nodes.
//!
//! A line is bound to its endpoint as a session is: it counts among the node's sessions and ends when the node is
//! found dead, drained or disabled. It serves one request at a time, and is kept for the next.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::body::RequestBody;
use super::visit::Visit;
use crate::net::options::LegOptions;
use crate::relay::life::Undialled;
use crate::relay::placing::Failure;
use crate::relay::pump::Leg;
use crate::relay::session::Seat;
use crate::snapshot::Endpoint;

/// The lines of one client that wait for a request, and whether it is tied to one node.
#[derive(Debug, Default)]
pub(super) struct Lines {
    idle: RefCell<Vec<Line>>,
    /// Number of the endpoint with which the client has authenticated its connection; 0: none.
    tied_to: Cell<u32>,
}

/// A connection with a node, ready for a request.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sender: http1::SendRequest<RequestBody>,
    endpoint: u32,
    pub(super) bond: Weak<Bond>,
}

/// What binds a line to its endpoint, as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Bond {
    pub(super) seat: Seat,
    endpoint: Arc<Endpoint>,
    worker: usize,
}

impl Bond {
    fn new(visit: &Visit, endpoint: &Arc<Endpoint>) -> Self {
        let seat = visit
            .context
            .sessions
            .admit(visit.policy.listener.state.number);
        seat.bind(endpoint.number);
        let worker = visit.context.worker;
        endpoint.slot(worker).sessions.add(1);
        Self {
            seat,
            endpoint: Arc::clone(endpoint),
            worker,
        }
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        self.endpoint.slot(self.worker).sessions.subtract(1);
    }
}

impl Lines {
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
        let at = idle
            .iter()
            .position(|line| line.endpoint == endpoint && line.sender.is_ready())?;
        Some(idle.swap_remove(at))
    }

    /// Keeps a line for the next request; its last response may still be on its way.
    pub(super) fn keep(&self, line: Line) {
        if !line.sender.is_closed() {
            self.idle.borrow_mut().push(line);
        }
    }
}

/// A new line to `endpoint`.
pub(super) async fn connect(visit: &Visit, endpoint: &Arc<Endpoint>) -> Result<Line, Undialled> {
    let bond = Rc::new(Bond::new(visit, endpoint));
    let approach = visit.approach(&bond.seat);
    approach
        .keep_pace(endpoint)
        .await
        .map_err(Undialled::Over)?;
    let nodes = visit.termination().and_then(|terms| terms.nodes.as_ref());
    let leg = approach.connect(endpoint, nodes, &visit.header).await?;
    // Its client's deadlines are the only ones from here on.
    bond.seat.arm(None);
    // What it needs only once it lasts: a line does.
    let config = &visit.policy.listener.config;
    // One that refuses them is about to fail by itself.
    let _ = LegOptions::from(config).apply_lasting(leg.socket());
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_HEAD_MAX);
    let shaken = builder.handshake(TokioIo::new(leg)).await;
    let (sender, connection) = shaken.map_err(|_| Undialled::Failed(Failure::Refused))?;
    let line = Line {
        sender,
        endpoint: endpoint.number,
        bond: Rc::downgrade(&bond),
    };
    let connection = connection.with_upgrades();
    spawn_local(async move {
        // Whoever waits for an answer is told by the end of the connection.
        match bond.seat.guard(connection).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::debug!(node = %bond.endpoint.node, %error, "http-line-failed")
            }
        }
    });
    Ok(line)
}

/// The largest head of a response that is taken from a node.
const ANSWER_HEAD_MAX: usize = 256 * 1024;
