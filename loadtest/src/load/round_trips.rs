//! Messages on kept connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::agenda::{Agenda, period, turn};
use super::client::{Client, message};
use super::record::{Record, Trouble};
use super::talk::{Deed, PAUSE, Talk};
use super::{Doors, pick};
use crate::scenario::RoundTrips;

pub(super) fn begin(plan: &RoundTrips, doors: Doors<'_>, record: Arc<Record>) -> io::Result<()> {
    match plan.rate {
        Some(rate) => begin_in_time(plan, rate, doors, record),
        None => begin_in_step(plan, doors, &record),
    }
}

/// Each connection asks again when it has been answered.
fn begin_in_step(
    plan: &RoundTrips,
    Doors { addresses, tls }: Doors<'_>,
    record: &Arc<Record>,
) -> io::Result<()> {
    let message = message(plan.bytes);
    for number in 0..plan.connections {
        let address = pick(addresses, number)?;
        let (record, message) = (Arc::clone(record), Rc::clone(&message));
        let (wanted, tls) = (plan.connections.into(), tls.cloned());
        spawn_local(async move {
            loop {
                let trouble =
                    live((address, tls.as_ref()), number, &message, &record, wanted).await;
                record.trouble(trouble);
                sleep(PAUSE).await;
            }
        });
    }
    Ok(())
}

/// Messages come at an even rate, the connections in turn.
fn begin_in_time(
    plan: &RoundTrips,
    rate: f64,
    doors: Doors<'_>,
    record: Arc<Record>,
) -> io::Result<()> {
    let message = (message(plan.bytes), plan.rest);
    let talk = Talk::new(plan.connections, doors, message, record)?;
    let between = period(rate);
    let each = between * plan.connections;
    let now = Instant::now();
    let start = now + PAUSE * 5;
    let mut agenda = Agenda::default();
    for number in 0..plan.connections {
        let opening = turn(plan.rest.0, number, plan.connections);
        agenda.enter(now + opening, (number, Deed::Open));
        agenda.enter(start + between * number, (number, Deed::Message));
    }
    spawn_local(talk.keep(agenda, move |agenda, due, entry| {
        if entry.1 == Deed::Message {
            agenda.enter(due + each, entry);
        }
    }));
    Ok(())
}

/// One connection from its beginning to its end.
async fn live(
    door: (SocketAddr, Option<&Arc<ClientConfig>>),
    number: u32,
    message: &[u8],
    record: &Arc<Record>,
    wanted: u64,
) -> Trouble {
    let stands = Client::stand(door, number, message, record, wanted).await;
    let (mut client, _standing) = match stands {
        Ok(stands) => stands,
        Err(trouble) => return trouble,
    };
    loop {
        let question = record.ask(Instant::now());
        if let Err(trouble) = client.ask(message).await {
            record.lost(client.node());
            return trouble;
        }
        question.done();
    }
}
