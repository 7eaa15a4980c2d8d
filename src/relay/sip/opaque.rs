//! A connection that is not looked at any more: its bytes pass as those of any other session.

use std::pin::pin;

use tokio::io::AsyncWriteExt;

use super::line::Line;
use super::{Visit, outcome_of_failure};
use crate::net::options::reset_on_close;
use crate::relay::life::Life;
use crate::relay::pump::{End, FirstBytes, Leg, Pump, Side};
use crate::relay::session::outcome_of;
use crate::telemetry::outcome::Outcome;

impl Visit<'_> {
    /// What was kept of both sides goes on as bytes that nobody looks at, and the session ends with its node.
    pub(super) async fn go_opaque(self, line: Option<Line>, why: &str) -> Outcome {
        let Self {
            life,
            mut client,
            up,
            talk,
            mut hold,
            turn,
            ..
        } = self;
        let Some(line) = line else {
            reset_on_close(client.socket());
            return Outcome::NoNode;
        };
        life.seat.mark_rehoming(false);
        talk.slot().count_opaque();
        tell_opaque(life, why);
        let mut owed = talk.to_client.into_unsent();
        owed.extend(line.down.into_kept());
        {
            let mut owing = pin!(async {
                client.write_all(&owed).await?;
                client.flush().await
            });
            loop {
                match life.seat.guard(owing.as_mut()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => return outcome_of_failure(Side::Client, &error),
                    // As later on, not every interrupt ends it.
                    Err(interrupt)
                        if life.goes_on(&mut hold, &End::Interrupted(interrupt, None)) => {}
                    Err(interrupt) => return outcome_of(interrupt),
                }
            }
        }
        let finished = up.has_finished;
        let mut bytes = line.to_node.into_unsent();
        bytes.extend(up.into_kept());
        let first = FirstBytes { bytes, finished };
        let meter = life.account.meter(&line.endpoint);
        let (gear, config) = (&life.context().gear, &life.policy().listener.config);
        let legs = (client, line.leg);
        let mut pump = Pump::new(gear, life.seat, meter, legs, first, 0, &config.fin_timeout);
        let mut unsettled = line.unsettled;
        loop {
            let end = match &unsettled {
                Some(_) => pump.until_answered().await,
                None => Some(pump.until_ended().await),
            };
            match (end, unsettled.take()) {
                (Some(end), how) => {
                    if !life.goes_on(&mut hold, &end) {
                        return life.finish(end, pump.into_parts());
                    }
                    unsettled = how;
                }
                (None, Some((placing, choice))) => {
                    hold = life.settle(&placing, &choice, &line.endpoint, turn);
                }
                (None, None) => {}
            }
        }
    }
}

fn tell_opaque(life: Life<'_>, why: &str) {
    if let Some(suppressed) = life.context().refusals.allow() {
        let (listener, client) = (&*life.policy().listener.state.name, life.account.client());
        let partner = life.account.partner();
        let partner = partner.as_ref().map(|partner| &*partner.name);
        tracing::warn!(
            listener,
            partner,
            %client,
            why,
            suppressed,
            remedy = "from here on it is relayed unread, and ends with its node",
            "sip-opaque"
        );
    }
}
