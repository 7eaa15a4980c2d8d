//! One request and its response.
//!
//! A request is sent to another node where nothing of it can have been carried out: its line took none of it, or it is
//! idempotent, has no body, and was not answered. Everything else is answered 502, once: the client knows what it
//! asked for.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::affinity::{self, Ground};
use super::body::{Broken, Guarded, Patient, RequestBody, ResponseBody};
use super::heads;
use super::lines::{Bond, Line, connect};
use super::page::Failing;
use super::upgrade::Tunnel;
use super::visit::Visit;
use crate::clock::Moment;
use crate::pool::select::{Choice, Why};
use crate::relay::Policy;
use crate::relay::life::Undialled;
use crate::relay::placing::{Failure, Placing};
use crate::relay::report::Report;
use crate::snapshot::Endpoint;
use crate::telemetry::outcome::Outcome;

/// Answers one request. An error makes a client of HTTP/2 come again by HTTP/1.1.
pub(super) async fn exchange(
    visit: Rc<Visit>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, h2::Error> {
    if request.version() == Version::HTTP_2 && heads::authenticates_connection(request.headers()) {
        return Err(again_by_http_1());
    }
    let guard = visit.seen.begin();
    let begun = Moment::now();
    let (method, version) = (request.method().clone(), request.version());
    let path: String = request.uri().path().chars().take(PATH_SHOWN).collect();
    let turn = visit.lines.turn().await;
    let policy = visit.policy_now();
    let (mut node, mut line) = (None, None);
    let answer = match Exchange::read(&visit, &policy, request) {
        Ok(exchange) => exchange.run(&mut node).await,
        Err(failing) => Err(failing),
    };
    let failing = answer.as_ref().err().copied();
    let listener = &policy.listener.state;
    let mut response = match answer {
        Ok((response, came_by)) => {
            line = came_by;
            response.map(Either::Left)
        }
        Err(failing) => failing.page(&listener.name).map(Either::Right),
    };
    if visit.is_closing() && version != Version::HTTP_2 {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    listener.slot(visit.context.worker).count_response(status);
    if visit.is_logged() {
        let (listener, partner) = (&*listener.name, visit.partner().unwrap_or("-"));
        let node = node.as_deref().unwrap_or("-");
        let outcome = failing.map_or("answered", Failing::label);
        let took = Moment::now().since(begun).as_secs_f64();
        tracing::info!(
            target: "pinfold::request",
            listener, partner, client = %visit.client, node, %method, path, status, took, outcome,
            "request"
        );
    }
    if version == Version::HTTP_2 && heads::authenticates_connection(response.headers()) {
        return Err(again_by_http_1());
    }
    let line = line.map(|line| (line, turn));
    Ok(response.map(|body| Guarded::new(body, visit, guard, line)))
}

/// Whoever authenticates a connection must have it to itself (RFC 9113 section 8.5 and `HTTP_1_1_REQUIRED`).
fn again_by_http_1() -> h2::Error {
    h2::Error::from(h2::Reason::HTTP_1_1_REQUIRED)
}

/// A request on its way.
struct Exchange<'a> {
    visit: &'a Visit,
    policy: &'a Rc<Policy>,
    ground: Ground<'a>,
    head: Parts,
    /// Gone once a node has had some of it.
    body: Option<RequestBody>,
    /// Whether it may be sent once more after a node has had it.
    may_run_twice: bool,
    upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// The node that the client's cookie names.
    named: Option<usize>,
}

/// A response, and the line that it comes by, if that is of use afterwards.
type Answered = (Response<Incoming>, Option<Line>);

/// What became of one attempt.
enum Attempt {
    Answered(Response<Incoming>),
    /// The line was of no use, and another attempt may be made.
    Again,
    Failed(Failing),
}

impl<'a> Exchange<'a> {
    fn read(
        visit: &'a Visit,
        policy: &'a Rc<Policy>,
        mut request: Request<Incoming>,
    ) -> Result<Self, Failing> {
        let Some(terms) = policy.listener.http() else {
            return Err(Failing::NoNode);
        };
        if request.method() == Method::CONNECT {
            return Err(Failing::Tunnel);
        }
        let version = request.version();
        if version != Version::HTTP_2 && visit.seen.is_ambiguous() {
            return Err(Failing::Ambiguous);
        }
        let on_upgrade = hyper::upgrade::on(&mut request);
        let (mut head, body) = request.into_parts();
        let target = heads::target(&head.uri, version, &mut head.headers);
        head.uri = target.ok_or(Failing::Ambiguous)?;
        let protocol = heads::take_off_hop(&mut head.headers);
        let protocol = protocol.filter(heads::may_upgrade_to);
        let ground = Ground {
            cookie: terms.cookie.as_deref(),
            listener: &policy.listener,
            key: &visit.context.key,
        };
        let named = affinity::named(ground, &head.headers);
        heads::forward(&mut head.headers, version, visit.client.ip());
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let has_body = !body.is_end_stream();
        let has_trailers = version == Version::HTTP_2
            && has_body
            && heads::make_room_for_trailers(&mut head.headers);
        let patience = terms.request_timeout;
        Ok(Self {
            visit,
            policy,
            ground,
            may_run_twice: heads::is_idempotent(&head.method) && !has_body,
            head,
            body: Some(match has_body {
                true => Either::Left(Patient::new(body, patience, has_trailers)),
                false => Either::Right(Empty::new()),
            }),
            upgrade: protocol.map(|protocol| (protocol, on_upgrade)),
            named,
        })
    }

    /// Finds a node that answers, whose name is left in `served_by`: its response, and the line that it comes by.
    async fn run(mut self, served_by: &mut Option<Arc<str>>) -> Result<Answered, Failing> {
        let visit = self.visit;
        let listener = &self.policy.listener;
        let mut placing = Placing::new(&visit.context, self.policy, visit.claimant());
        placing.take_turns();
        let tied = self.tied();
        if let Some(index) = tied.or(self.named) {
            placing.prefer(index);
        }
        // Whoever has authenticated a line goes on with it, also on a node that drains.
        let mut kept = tied.and_then(|index| {
            let seat = listener.nodes.get(index)?;
            let line = visit.lines.take(seat.endpoint.number)?;
            let why = Why::Pinned;
            Some((Choice { index, why }, line))
        });
        loop {
            let (choice, kept) = match kept.take() {
                Some((choice, line)) => (choice, Some(line)),
                None => match placing.choose() {
                    Some(choice) => (choice, None),
                    None => break,
                },
            };
            let Some(seat) = listener.nodes.get(choice.index) else {
                break;
            };
            let endpoint = &seat.endpoint;
            *served_by = Some(Arc::clone(&endpoint.node));
            let kept = kept.or_else(|| visit.lines.take(endpoint.number));
            let was_kept = kept.is_some();
            let line = match kept {
                Some(line) => Ok(line),
                None => connect(visit, self.policy, endpoint).await,
            };
            let mut line = match line {
                Ok(line) => line,
                Err(Undialled::Failed(how)) => {
                    placing.failed(&choice, how);
                    continue;
                }
                Err(Undialled::Over(outcome)) => return Err(failing_of(outcome)),
            };
            // One that is to be upgraded ends as a line with its answer.
            let bond = line.bond.upgrade();
            match self.attempt(&mut line).await {
                Attempt::Answered(response) => {
                    self.settle(&placing, &choice, endpoint, was_kept);
                    return self.pass_on(response, (line, bond), &choice, endpoint);
                }
                // The node may have closed it for idleness at the very moment: a new one tells.
                Attempt::Again if was_kept => {}
                Attempt::Again => {
                    let client = visit.client.ip();
                    let reports = &visit.context.reports;
                    reports.send(Report::SessionReset(endpoint.number, client));
                    placing.failed(&choice, Failure::Refused);
                }
                Attempt::Failed(failing) => return Err(failing),
            }
        }
        *served_by = None;
        Err(match placing.has_tried() {
            true => Failing::DialFailed,
            false => Failing::NoNode,
        })
    }

    /// Where the client has authenticated its connection.
    fn tied(&self) -> Option<usize> {
        let number = self.visit.lines.tied_to()?;
        let mut nodes = self.policy.listener.nodes.iter();
        nodes.position(|seat| seat.endpoint.number == number)
    }

    async fn attempt(&mut self, line: &mut Line) -> Attempt {
        // Its last response has ended, and its task may not know yet.
        if line.sender.ready().await.is_err() {
            return Attempt::Again;
        }
        let Some(body) = self.body.take() else {
            return Attempt::Failed(Failing::Lost);
        };
        let request = Request::from_parts(self.head_to_send(), body);
        match line.sender.try_send_request(request).await {
            Ok(response) => Attempt::Answered(response),
            Err(mut failed) => {
                if let Some(request) = failed.take_message() {
                    self.body = Some(request.into_body());
                    return Attempt::Again;
                }
                // Once: a request that makes nodes fail must not meet all of them.
                if std::mem::take(&mut self.may_run_twice) {
                    self.body = Some(Either::Right(Empty::new()));
                    return Attempt::Again;
                }
                Attempt::Failed(match is_slow(failed.error()) {
                    true => Failing::Slow,
                    false => Failing::Lost,
                })
            }
        }
    }

    fn head_to_send(&self) -> Parts {
        let mut head = self.head.clone();
        if let Some((protocol, _)) = &self.upgrade {
            heads::ask_upgrade(&mut head.headers, protocol.clone());
        }
        head
    }

    /// A node has answered: the pin is made or moved, and held while the client is there.
    fn settle(&self, placing: &Placing, choice: &Choice, endpoint: &Endpoint, was_kept: bool) {
        let now = Moment::now();
        let context = &self.visit.context;
        endpoint.slot(context.worker).hear(context.sessions.now());
        if !was_kept {
            endpoint.pace.recovery().serve(now);
            self.visit.hold(placing.answered(choice, endpoint, now));
        }
    }

    /// The node's response, as the client gets it.
    fn pass_on(
        self,
        mut response: Response<Incoming>,
        (line, bond): (Line, Option<Rc<Bond>>),
        choice: &Choice,
        endpoint: &Endpoint,
    ) -> Result<Answered, Failing> {
        let visit = self.visit;
        let version = response.version();
        let node_side = hyper::upgrade::on(&mut response);
        // It comes by another connection, which may be of another version.
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        heads::frame_once(headers);
        let protocol = heads::take_off_hop(headers);
        heads::via(headers, version);
        affinity::set(self.ground, headers, self.named, choice.index);
        let is_authenticating = heads::authenticates_connection(headers)
            || heads::authenticates_connection(&self.head.headers);
        if is_authenticating {
            visit.lines.tie_to(endpoint.number);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, Some(line)));
        }
        let (Some((_, client_side)), Some(protocol), Some(bond)) = (self.upgrade, protocol, bond)
        else {
            return Err(Failing::Lost);
        };
        heads::ask_upgrade(response.headers_mut(), protocol);
        visit.dig(Tunnel {
            bond,
            client: client_side,
            node: node_side,
        });
        Ok((response, None))
    }
}

/// What is told of a request whose session has ended so before there was a line.
fn failing_of(outcome: Outcome) -> Failing {
    if outcome == Outcome::RefusedPace {
        return Failing::Paced;
    }
    Failing::Ours
}

/// Whether a request failed because its body did not come.
fn is_slow(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(Broken::Slow)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Characters of a path in the log.
const PATH_SHOWN: usize = 200;
