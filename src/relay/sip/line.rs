//! The connection with a node, and how a client gets one, also when its node is gone.
//!
//! A session goes by the nodes that its listener has by then, not by those of the day when it began.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::side::{Inbound, Outbound};
use super::{RETRY_AFTER, Visit};
use crate::clock::Moment;
use crate::net::options::LegOptions;
use crate::pool::select::Choice;
use crate::relay::Policy;
use crate::relay::life::{Approach, Undialled};
use crate::relay::names::Today;
use crate::relay::placing::{Claimant, Placing};
use crate::relay::pump::Leg;
use crate::relay::terminated::NodeStream;
use crate::snapshot::Endpoint;
use crate::telemetry::outcome::Outcome;
use crate::tls::Terms;

/// A client's connection with its node.
pub(super) struct Line {
    pub(super) leg: NodeStream,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) down: Inbound,
    pub(super) to_node: Outbound,
    /// By what it was chosen, until the node has said something.
    pub(super) unsettled: Option<(Placing, Choice)>,
    /// The node has said something.
    pub(super) has_spoken: bool,
    /// It knows that its client sends no more.
    pub(super) is_finished: bool,
}

impl Line {
    fn new(leg: NodeStream, endpoint: &Arc<Endpoint>, how: (Placing, Choice)) -> Self {
        Self {
            leg,
            endpoint: Arc::clone(endpoint),
            down: Inbound::new(u64::MAX),
            to_node: Outbound::default(),
            unsettled: Some(how),
            has_spoken: false,
            is_finished: false,
        }
    }
}

impl Visit<'_> {
    /// A connection with a node; `None` where none can be had now. The node that the session has `left` is not asked
    /// again. An error ends the session.
    pub(super) async fn find_node(&mut self, left: Option<u32>) -> Result<Option<Line>, Outcome> {
        // A dial may take its time; the client is told before it. Whether that has failed is seen when it is read.
        let _ = poll_fn(|context| Poll::Ready(self.poll_tell(context))).await;
        loop {
            let policy = self.policy_of_today();
            match self.find_by(&policy, left).await {
                Ok(line) => {
                    self.failed_at = None;
                    if line.is_none() {
                        self.failed_at = Some(Moment::now());
                        self.life.account.leave(self.life.seat);
                    }
                    self.life.seat.arm(policy.listener.config.idle_timeout);
                    return Ok(line);
                }
                // Stopped, or its listener is gone.
                Err(outcome @ (Outcome::Stopped | Outcome::Removed)) => return Err(outcome),
                // It was named, or its pin was moved, meanwhile: that node is asked.
                Err(_) => {
                    self.life.take_name(&mut self.hold, true);
                    self.renew();
                }
            }
        }
    }

    /// Whether nodes are asked for a request: where none was to be had, clients are told to wait so long, and those
    /// that do not must not make Pinfold dial for each word.
    pub(super) fn may_ask_again(&self) -> bool {
        let wait = Duration::from_secs(RETRY_AFTER.into());
        let is_early = |failed: Moment| Moment::now().since(failed) < wait;
        !self.failed_at.is_some_and(is_early)
    }

    async fn find_by(
        &self,
        policy: &Rc<Policy>,
        left: Option<u32>,
    ) -> Result<Option<Line>, Outcome> {
        let life = self.life;
        let listener = &policy.listener;
        let partner = life.account.partner();
        let claimant = Claimant {
            client: life.account.client().ip(),
            partner: partner.as_ref(),
            looks_legacy: life.seat.looks_legacy(),
        };
        let mut placing = Placing::new(life.context(), policy, claimant);
        let mut nodes = listener.nodes.iter();
        if let Some(at) = left.and_then(|left| nodes.position(|node| node.endpoint.number == left))
        {
            placing.pass_over(at);
        }
        let approach = Approach {
            policy,
            ..life.approach()
        };
        let termination = listener.termination.as_ref();
        let terms = termination.and_then(|termination| termination.nodes.as_ref());
        while let Some(choice) = placing.choose() {
            let Some(node) = listener.nodes.get(choice.index) else {
                break;
            };
            let endpoint = &node.endpoint;
            match approach.keep_pace(endpoint).await {
                Ok(()) => {}
                Err(Outcome::RefusedPace) => return Ok(None),
                Err(outcome) => return Err(outcome),
            }
            life.account.bind(life.seat, endpoint);
            match approach
                .connect(endpoint, terms, &Terms::default(), &self.header)
                .await
            {
                Ok(leg) => {
                    // What it needs only once it lasts: it does. One that refuses is about to fail by itself.
                    let _ = LegOptions::from(&listener.config).apply_lasting(leg.socket());
                    return Ok(Some(Line::new(leg, endpoint, (placing, choice))));
                }
                Err(Undialled::Failed(how)) => placing.failed(&choice, how),
                Err(Undialled::Over(Outcome::Shortage)) => return Ok(None),
                Err(Undialled::Over(outcome)) => return Err(outcome),
            }
        }
        Ok(None)
    }

    /// The policy by which a node is found now. One that does not end clients' TLS to speak SIP any more says nothing of
    /// how nodes are spoken to, and what is within must not go out in clear.
    fn policy_of_today(&self) -> Rc<Policy> {
        let own = self.life.policy();
        match self.life.context().names.today(own) {
            Today::Changed(policy) if policy.listener.sip().is_some() => Rc::new(policy),
            Today::Changed(_) | Today::Same | Today::Gone => Rc::clone(own),
        }
    }

    /// Its node has answered: the pin is made or moved, and whoever waits for the partner is told.
    pub(super) fn settle(&mut self, line: &mut Line) {
        if let Some((placing, choice)) = line.unsettled.take() {
            let settled = self
                .life
                .settle(&placing, &choice, &line.endpoint, self.turn);
            self.hold = settled;
            self.renew();
        }
    }
}
