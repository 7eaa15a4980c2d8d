//! More connections than there is room for.
//!
//! Counts those that are accepted and answered; the others are troubles, each by its kind.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::timeout;

use super::agenda::period;
use super::client::{Client, hang_up, is, message};
use super::pace::Pace;
use super::pick;
use super::record::{Record, Trouble};
use super::wire::Wire;
use crate::scenario::Flood;

/// Who is not answered by then counts as held off in silence.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that wait for their answers; what exceeds them is not sent, or this machine would
/// run out of descriptors before the balancer does.
const WAITING_MAX: u32 = 4_096;

const MESSAGE_BYTES: u32 = 16;

pub(super) fn begin(
    plan: &Flood,
    addresses: &Rc<[SocketAddr]>,
    record: Arc<Record>,
) -> io::Result<()> {
    let crowd = Rc::new(Crowd {
        addresses: Rc::clone(addresses),
        message: message(MESSAGE_BYTES),
        held: RefCell::default(),
        held_max: plan.held as usize,
        waiting: Cell::new(0),
        record,
    });
    crowd.record.settle();
    spawn_local(crowd.press(Pace::new()?, plan.rate));
    Ok(())
}

#[derive(Debug)]
struct Crowd {
    addresses: Rc<[SocketAddr]>,
    message: Rc<[u8]>,
    held: RefCell<VecDeque<(u32, Rc<Wire>)>>,
    held_max: usize,
    waiting: Cell<u32>,
    record: Arc<Record>,
}

impl Crowd {
    async fn press(self: Rc<Self>, pace: Pace, rate: f64) {
        let between = period(rate);
        let mut due = Instant::now() + between;
        let mut number = 0_u32;
        while pace.until(due).await.is_ok() {
            let now = Instant::now();
            while due <= now {
                if self.waiting.get() < WAITING_MAX {
                    self.record.begun(due, now);
                    self.waiting.set(self.waiting.get() + 1);
                    spawn_local(Rc::clone(&self).come(number, due));
                } else {
                    self.record.trouble(Trouble::Unsent);
                }
                number = number.wrapping_add(1);
                due += between;
            }
        }
        self.record.trouble(Trouble::Ours);
    }

    async fn come(self: Rc<Self>, number: u32, due: Instant) {
        let question = self.record.ask(due);
        match timeout(PATIENCE, self.enter(number)).await {
            Ok(Ok(client)) => {
                question.done();
                spawn_local(Rc::clone(&self).hold(number, client));
            }
            Ok(Err(trouble)) => self.record.trouble(trouble),
            Err(_) => self.record.trouble(Trouble::Silent),
        }
        self.waiting.set(self.waiting.get() - 1);
    }

    async fn enter(&self, number: u32) -> Result<Client, Trouble> {
        let address = pick(&self.addresses, number).map_err(|error| Trouble::of(&error))?;
        let mut client = Client::connect(address, number, None).await?;
        client.ask(&self.message).await?;
        Ok(client)
    }

    /// Holds a connection until it ends, or until it is the oldest of too many.
    async fn hold(self: Rc<Self>, number: u32, mut client: Client) {
        let oldest = {
            let mut held = self.held.borrow_mut();
            held.push_back((number, Rc::clone(client.stream())));
            let is_full = held.len() > self.held_max;
            let oldest = is_full.then(|| held.pop_front()).flatten();
            self.record.set_standing(held.len() as u64);
            oldest
        };
        if let Some((_, stream)) = oldest {
            hang_up(&stream);
        }
        // Nothing was asked, so whatever comes is wrong.
        let trouble = client.listen_on(|_| is(false)).await;
        let mut held = self.held.borrow_mut();
        if let Some(at) = held.iter().position(|(known, _)| *known == number) {
            held.remove(at);
            self.record.set_standing(held.len() as u64);
            self.record.trouble(trouble);
        }
    }
}
