//! A session whose node is gone, and that goes on with another one.

use std::io;
use std::time::Duration;

use super::ending::Ending;
use super::line::Line;
use super::{Visit, outcome_of_failure};
use crate::clock::Moment;
use crate::config::model::OnNodeDown;
use crate::net::options::reset_on_close;
use crate::relay::pump::{Leg, Side};
use crate::relay::report::Report;
use crate::telemetry::outcome::{Blame, Outcome};

/// Another node is looked for at once, unless one was found so shortly before: then only when there is something for
/// it. Nodes that let go of every connection would otherwise be dialled without an end.
const CALM: Duration = Duration::from_secs(1);

impl Visit<'_> {
    /// The node has finished, or its connection has failed.
    pub(super) async fn node_gone(
        &mut self,
        line: &mut Option<Line>,
        error: Option<io::Error>,
    ) -> Result<(), Ending> {
        let outcome = error.as_ref().map_or(Outcome::NodeClosed, |error| {
            outcome_of_failure(Side::Node, error)
        });
        if outcome == Outcome::Shortage {
            return Err(Ending::reset(outcome));
        }
        if self.up.has_finished && error.is_none() {
            // So has the node, and what it has not answered it will not answer.
            self.talk.lose_node(false);
            return Err(Ending::in_order(Outcome::ClientClosed));
        }
        if let Some(line) = line.as_ref().filter(|_| error.is_some()) {
            let client = self.life.account.client().ip();
            let reports = &self.life.context().reports;
            reports.send(Report::SessionReset(line.endpoint.number, client));
        }
        self.lose(line, outcome, false).await
    }

    /// Lets go of the node, and looks for another one: not the same where that `is_judged`.
    pub(super) async fn lose(
        &mut self,
        line: &mut Option<Line>,
        outcome: Outcome,
        is_judged: bool,
    ) -> Result<(), Ending> {
        let Some(lost) = line.take() else {
            return Ok(());
        };
        let life = self.life;
        if outcome != Outcome::NodeClosed {
            reset_on_close(lost.leg.socket());
        }
        if outcome.blame() == Blame::Node || outcome == Outcome::NodeClosed {
            life.account.tell_lost(life.seat, outcome);
        }
        if lost.down.is_within_body() {
            // Nobody has the rest of that message.
            let on_node_down = life.policy().listener.config.on_node_down;
            return Err(match on_node_down == OnNodeDown::Reset {
                true => Ending::reset(outcome),
                false => Ending::in_order(outcome),
            });
        }
        let answered = self.talk.lose_node(self.up.is_within_body());
        if self.up.has_finished {
            // It ends with its node: another one has nothing to hear from it.
            return Err(Ending::in_order(outcome));
        }
        life.account.leave(life.seat);
        self.has_news = self.up.has_kept();
        let now = Moment::now();
        let is_calm = self.rehomed_at.is_none_or(|last| now.since(last) >= CALM);
        if is_judged || lost.has_spoken && is_calm {
            let left = is_judged.then_some(lost.endpoint.number);
            let found = self.find_node(left).await.map_err(Ending::reset)?;
            *line = found;
        }
        let from = &*lost.endpoint.node;
        let Some(line) = line else {
            self.tell_rehomed(from, None, answered, outcome);
            return Ok(());
        };
        self.rehomed_at = Some(now);
        // Its connection is its answer: a client that has nothing to say is with it all the same.
        self.settle(line);
        self.talk.slot().count_rehomed();
        self.tell_rehomed(from, Some(&*line.endpoint.node), answered, outcome);
        Ok(())
    }

    fn tell_rehomed(&self, from: &str, to: Option<&str>, answered: usize, outcome: Outcome) {
        let account = self.life.account;
        let wanted = self.life.context().log_sessions.get();
        if !wanted.wants(account.is_partner()) {
            return;
        }
        let listener = &*self.life.policy().listener.state.name;
        let partner = account.partner();
        let partner = partner.as_ref().map_or("-", |partner| &*partner.name);
        let (to, why) = (to.unwrap_or("-"), outcome.label());
        tracing::info!(
            target: "pinfold::session",
            listener, partner, client = %account.client(), from, to, why, answered,
            "session-rehomed"
        );
    }
}
