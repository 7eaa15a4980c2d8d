//! Sessions that are answered once and then only held.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::agenda::turn;
use super::client::{Client, is, message};
use super::record::{Record, Trouble};
use super::talk::PAUSE;
use super::{Doors, pick};
use crate::scenario::Idle;

/// Sessions that are opened at the same time: fewer than any accept queue holds.
const OPENING_MAX: usize = 64;

const MESSAGE_BYTES: u32 = 16;

pub(super) fn begin(
    plan: &Idle,
    Doors { addresses, tls }: Doors<'_>,
    record: Arc<Record>,
) -> io::Result<()> {
    let hall = Rc::new(Hall {
        turns: Semaphore::new(OPENING_MAX),
        message: message(MESSAGE_BYTES),
        wanted: plan.sessions.into(),
        record,
        tls: tls.cloned(),
    });
    for number in 0..plan.sessions {
        let (hall, address) = (Rc::clone(&hall), pick(addresses, number)?);
        let opening = turn(plan.rest.0, number, plan.sessions);
        let pause = plan.rest.0.max(PAUSE);
        spawn_local(async move {
            if !opening.is_zero() {
                sleep(opening).await;
            }
            loop {
                let trouble = hall.hold(address, number).await;
                hall.record.trouble(trouble);
                sleep(pause).await;
            }
        });
    }
    Ok(())
}

/// What all sessions share.
#[derive(Debug)]
struct Hall {
    turns: Semaphore,
    message: Rc<[u8]>,
    wanted: u64,
    record: Arc<Record>,
    tls: Option<Arc<ClientConfig>>,
}

impl Hall {
    /// One session, until it ends.
    async fn hold(&self, address: SocketAddr, number: u32) -> Trouble {
        let Ok(turn) = self.turns.acquire().await else {
            // Nobody closes the semaphore.
            return pending().await;
        };
        let mut client = match Client::connect(address, number, self.tls.as_ref()).await {
            Ok(client) => client,
            Err(trouble) => return trouble,
        };
        if let Err(trouble) = client.ask(&self.message).await {
            return trouble;
        }
        drop(turn);
        let _standing = self.record.stand();
        self.record.count(1);
        if self.record.standing() == self.wanted {
            self.record.settle();
        }
        // Nothing was asked, so whatever comes is wrong.
        let trouble = client.listen_on(|_| is(false)).await;
        self.record.lost(client.node());
        trouble
    }
}
